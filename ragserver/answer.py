"""The words of an answer: quoted from the passages that were found, each with the number of its source."""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ragserver import tokens
from ragserver.contract import Confidence
from ragserver.evidence import Scale
from ragserver.findings import Findings
from ragserver.reranking import Hit
from ragserver.tokens import Language
from ragserver.units import Unit

# Chosen by eye on the packaged notes: long enough to say it, short enough to be read in a chat.
_FIRST_LENGTH = 600
_FURTHER_LENGTH = 320
_BLOCK_ALLOWANCE = 2  # what comes next as a list or an example may take this many times the length
_FURTHER_QUALITY = 0.75
_FURTHER_SCORE = 0.7
_LEAST_SCORE = 0.5
_QUALITY_WEIGHT = 0.5
_FIT_WEIGHT = 0.3
_MOST_PASSAGES: dict[Confidence, int] = {"high": 2, "low": 3, "none": 0}
_CODE_LIKE = 0.12
_CODE_PENALTY = 0.3
_CODE_SYMBOLS = frozenset("{}[]()=<>+*/%_|\\;@")
_OPENING: dict[tuple[Language, Confidence], tuple[str, ...]] = {
    ("ko", "high"): ("문서에서 찾은 내용입니다.",),
    ("ko", "low"): ("질문에 꼭 맞는 설명은 찾지 못했습니다.", "문서에서 가장 가까운 내용은 다음과 같습니다."),
    ("ko", "none"): (
        "이 질문에 대한 내용은 가지고 있는 문서에서 찾을 수 없습니다.",
        "다른 말로 바꾸어 묻거나 조금 더 구체적으로 질문해 주세요.",
    ),
    ("en", "high"): ("Here is what the documents say.",),
    ("en", "low"): ("The documents have no exact answer to this.", "The closest passages are:"),
    ("en", "none"): (
        "I could not find anything about this in the documents.",
        "Try other words, or ask about something more specific.",
    ),
}
_AS_IT_STANDS: dict[Language, str] = {  # behind the first sentence
    "ko": "영어로 된 문서라서 원문을 그대로 옮깁니다.",
    "en": "They are in Korean and quoted as they stand.",
}


@dataclass(frozen=True, slots=True)
class _Passage:
    """What may be quoted of one hit: the unit that fits the question best, and those behind it."""

    number: int
    hit: Hit
    units: Sequence[Unit]
    quality: float
    fit: float

    @property
    def worth(self) -> float:
        """How well it answers: by its rank, by what it says, and by how much its heading is what was asked."""
        return self.hit.score + _QUALITY_WEIGHT * self.quality + _FIT_WEIGHT * self.fit


def compose(found: Findings) -> str:
    """Return the extractive answer in Markdown; `[n]` cites the n-th hit."""
    passages = _worth_quoting(found)[: _MOST_PASSAGES[found.confidence]]
    opening = list(_OPENING[found.language, found.confidence])
    if passages and passages[0].hit.chunk.language != found.language:
        opening.insert(1, _AS_IT_STANDS[found.language])
    lengths = [_FIRST_LENGTH] + [_FURTHER_LENGTH] * len(passages)
    return "\n\n".join([" ".join(opening), *map(_render, passages, lengths)])


def _worth_quoting(found: Findings) -> list[_Passage]:
    """Return the passage that answers best, and those that come close to it, both as a hit and in what they say.

    All are in one language: what follows in the other as a rule says the same again.
    """
    asked = frozenset(tokens.tokens(found.question))
    near = [(number, hit) for number, hit in enumerate(found.hits, start=1) if hit.score >= _LEAST_SCORE]
    read = [_passage(number, hit, found.scale, asked) for number, hit in near]
    read.sort(key=lambda passage: -passage.worth)
    close = [
        passage
        for passage in read[1:]
        if passage.hit.chunk.language == read[0].hit.chunk.language
        and passage.hit.score >= _FURTHER_SCORE
        and passage.quality >= _FURTHER_QUALITY * read[0].quality
    ]
    return [*read[:1], *close]


def _passage(number: int, hit: Hit, scale: Scale, asked: AbstractSet[str]) -> _Passage:
    """Find the unit that fits best."""
    covered = scale.coverages(hit.chunk)
    found = [unit for unit, _ in covered]
    qualities = [coverage - _penalty(unit) for unit, coverage in covered]
    best = qualities.index(max(qualities))
    start = best - 1 if best and found[best].kind != "prose" and found[best - 1].kind == "prose" else best
    return _Passage(number, hit, found[start:], qualities[best], _fit(frozenset(tokens.tokens(hit.chunk.title)), asked))


def _fit(heading: AbstractSet[str], asked: AbstractSet[str]) -> float:
    """Return how much a heading says just what was asked, from 0 to 1 (F1 of their tokens)."""
    return 2 * len(heading & asked) / (len(heading) + len(asked)) if heading else 0.0


def _penalty(unit: Unit) -> float:
    symbols = sum(char in _CODE_SYMBOLS for char in unit.text)
    code_like = unit.kind == "code" or symbols > _CODE_LIKE * len(unit.text)
    return _CODE_PENALTY if code_like else 0.0


def _within(found: Iterable[Unit], length: int) -> Iterator[Unit]:
    """Yield the first unit and those after it that fit; what a colon announces is not left behind."""
    used = 0
    announced = True
    for unit in found:
        allowed = length if unit.kind == "prose" else length * _BLOCK_ALLOWANCE
        if used + len(unit.text) > allowed and not announced:
            return
        yield unit
        used += len(unit.text)
        announced = unit.kind == "prose" and unit.text.endswith(":")


def _render(passage: _Passage, length: int) -> str:
    heading = passage.hit.chunk.heading
    quoted = list(_within(passage.units, length))
    paragraphs: list[str] = [f"**{heading}**"] if heading else []
    cite = f"[{passage.number}]"
    last = -1
    for unit in quoted:
        if unit.paragraph == last:
            paragraphs[-1] = f"{paragraphs[-1].removesuffix(cite)}{unit.text} {cite}"
        else:
            paragraphs.append(f"{unit.text} {cite}" if unit.kind == "prose" else unit.text)
        last = unit.paragraph
    if all(unit.kind != "prose" for unit in quoted):
        paragraphs.append(cite)
    return "\n\n".join(paragraphs)
