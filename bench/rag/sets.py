"""Which questions are asked over which documents: those that documents.py makes, and those that people wrote."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from documents import QUESTIONS as MADE

from ragserver.chunks import Chunk
from ragserver.evaluation import questions
from ragserver.evaluation.questions import Case

WRITTEN = Path(__file__).resolve().parent / "questions"
LARGEST = "python-en-all"
FOLDERS = ("python-en", LARGEST, "debian-ko", "debian-en", "debian-mixed")
HIDDEN, OPEN, FOLLOWED, OFF_TOPIC = "FAQ, hidden", "written", "follow-ups", "off topic"
_LANGUAGES = ("ko", "en")


@dataclass(frozen=True, slots=True)
class Set:
    """Questions of one sort over one folder; `languages` is theirs, an arrow, and that of the documents."""

    folder: str
    sort: str
    languages: str
    cases: Sequence[Case]

    @property
    def name(self) -> str:
        """What a file about it is called."""
        return f"{self.folder}--{self.sort}--{self.languages}".replace(", ", "-").replace(" ", "-").replace("→", "to")


def sets(folder: str, half: str, passages: Sequence[Chunk]) -> Iterator[Set]:
    """Yield the sets of one half over a folder.

    Raises:
        QuestionsError: a section that should answer is not in the folder.
    """
    subject, _, documents = folder.partition("-")
    over = documents.removesuffix("-all")
    for language in _LANGUAGES:
        languages = f"{language} → {over}"
        yield Set(folder, HIDDEN, languages, _hidden(subject, over, language, half, passages))
        yield Set(folder, OPEN, languages, _written(subject, over, language, half, passages))
    if folder == "python-en":
        yield Set(folder, FOLLOWED, f"both → {over}", _checked(WRITTEN / f"follow-ups-{half}.jsonl", passages))
    for language in _LANGUAGES:
        off_topic = _checked(WRITTEN / f"off-topic-{language}-{half}.jsonl", passages)
        yield Set(folder, OFF_TOPIC, f"{language} → {over}", off_topic)


def _hidden(subject: str, over: str, language: str, half: str, passages: Sequence[Chunk]) -> list[Case]:
    """Return the questions of an FAQ; those of Python's, which is there in English only, also in Korean wordings."""
    if subject == "debian":
        return _checked(MADE / f"debian-{over}-faq-{language}-{half}.jsonl", passages)
    english = _checked(MADE / f"python-en-faq-en-{half}.jsonl", passages)
    if language == "en":
        return english
    lines = (WRITTEN / "python-faq-ko.jsonl").read_text("utf-8").splitlines()
    korean = {pair["english"]: pair["question"] for pair in map(json.loads, lines)}
    return [replace(case, question=korean[case.question]) for case in english]


def _written(subject: str, over: str, language: str, half: str, passages: Sequence[Chunk]) -> list[Case]:
    """Return the questions written for sections; where both languages are mixed, a section is there in one of them."""
    if subject == "python":
        return _checked(WRITTEN / f"python-{language}-{half}.jsonl", passages)
    if over != "mixed":
        return _checked(WRITTEN / f"debian-{language}-{over}-{half}.jsonl", passages)
    either = [WRITTEN / f"debian-{language}-{found_in}-{half}.jsonl" for found_in in _LANGUAGES]
    return list(_joined([case for path in either for case in questions.read(path)], passages))


def _joined(cases: Iterable[Case], passages: Sequence[Chunk]) -> Iterator[Case]:
    """Yield each question once, with those of its sections that are there."""
    by_question: dict[str, Case] = {}
    for case in cases:
        other = by_question.setdefault(case.question, replace(case, gold=()))
        gold = tuple(one for one in case.gold if any(map(one.holds, passages)))
        by_question[case.question] = replace(other, gold=other.gold + gold)
    return (case for case in by_question.values() if case.gold)


def _checked(path: Path, passages: Sequence[Chunk]) -> list[Case]:
    cases = questions.read(path)
    questions.check(path, cases, passages)
    return cases
