"""Stage 2: the passages that may answer, found by their words, by translated words, and by nearness."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ragserver.chunks import Chunk
from ragserver.question import Concept, Question, tokens_of, translated_tokens_of
from ragserver.store import Store
from ragserver.tokens import Language
from ragserver.vectors import Floats

_RANK_OFFSET = 60  # k of reciprocal rank fusion (Cormack, Clarke, Büttcher 2009)
_LOCAL_NEARNESS_WEIGHT = 0.5
_TRANSLATED_WEIGHT = 0.8
_CONTEXT_WEIGHT = 0.7  # of what the concepts of the question before find
_OTHER: Final[dict[Language, Language]] = {"ko": "en", "en": "ko"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk of the pool: how well its words match, from 0 to 1 within one question, and its cosine."""

    chunk: Chunk
    lexical: float
    cosine: float


class Retriever:
    """Finds the pool of candidates in one index.

    Args:
        store: The index.
        candidates: How many passages each way of searching may bring.
        pool: How many of them are left when they are fused.
    """

    def __init__(self, store: Store, candidates: int, pool: int) -> None:
        self._store = store
        self._candidates = candidates
        self._pool = pool

    def find(self, asked: Question, cosines: Floats | None, *, is_remote: bool = False) -> list[Candidate]:
        """Return the pool for a question; `cosines` are those of all chunks, None where there is no vector.

        Those of a remote model have as much to say as the words, local ones half as much.
        """
        words = self._by_words(asked)
        nearness = 1.0 if is_remote else _LOCAL_NEARNESS_WEIGHT
        rows = _fused([(_ranked(words), 1.0), (self._nearest(cosines), nearness)])[: self._pool]
        chunks = self._store.read(rows)
        near = {row: float(cosines[row - 1]) for row in rows} if cosines is not None else {}
        return [Candidate(chunks[row], words.get(row, 0.0), near.get(row, 0.0)) for row in rows]

    def _by_words(self, asked: Question) -> dict[int, float]:
        scores: defaultdict[int, float] = defaultdict(float)
        for concepts, weight in ((asked.concepts, 1.0), (asked.context, _CONTEXT_WEIGHT)):
            for row, score in self._matched(concepts, asked.language).items():
                scores[row] += weight * score
        return _scaled(scores, max(scores.values(), default=0.0) or 1.0)

    def _matched(self, concepts: Sequence[Concept], language: Language) -> dict[int, float]:
        """Search for the words in all documents, and for their translations in those of the other language.

        Each is measured against what a passage would score that says it all. Of a passage that matches in both, the
        better counts: who says a thing in both languages does not say it twice.
        """
        own, translated = tokens_of(concepts), translated_tokens_of(concepts)
        rarities = self._store.rarities(own | translated)
        found = _scaled(
            self._store.search(own, self._candidates),
            self._said_once(([concept.tokens] for concept in concepts), rarities),
        )
        theirs = _scaled(
            self._store.search(translated, self._candidates, _OTHER[language]),
            self._said_once((concept.translations or [concept.tokens] for concept in concepts), rarities),
        )
        rows = found.keys() | theirs.keys()
        return {row: max(found.get(row, 0.0), _TRANSLATED_WEIGHT * theirs.get(row, 0.0)) for row in rows}

    def _said_once(self, things: Iterable[Sequence[Sequence[str]]], rarities: Mapping[str, float]) -> float:
        """Return about what a passage scores that says each thing once, in the one of its ways that counts the most.

        What no passage says counts like the rarest word.
        """
        unknown = self._store.rarity(0)
        return sum(max(sum(rarities.get(token, 0.0) for token in way) for way in ways) or unknown for ways in things)

    def _nearest(self, cosines: Floats | None) -> list[int]:
        if cosines is None:
            return []
        count = min(self._candidates, len(cosines))
        nearest = np.argpartition(-cosines, count - 1)[:count] if count else np.array([], np.int64)
        return [int(at) + 1 for at in nearest[np.argsort(-cosines[nearest], kind="stable")]]


def _scaled(scores: Mapping[int, float], unit: float) -> dict[int, float]:
    return {row: score / unit for row, score in scores.items()}


def _ranked(scores: Mapping[int, float]) -> list[int]:
    return sorted(scores, key=lambda row: (-scores[row], row))


def _fused(rankings: Iterable[tuple[Sequence[int], float]]) -> list[int]:
    """Return the rows of several rankings, each with its weight, by the sum of their reciprocal ranks."""
    scores: defaultdict[int, float] = defaultdict(float)
    for ranking, weight in rankings:
        for rank, row in enumerate(ranking, start=1):
            scores[row] += weight / (_RANK_OFFSET + rank)
    return _ranked(scores)
