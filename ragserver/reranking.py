"""Stage 3: the order of the candidates, and one passage a section."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ragserver.chunks import Chunk
from ragserver.retrieval import Candidate
from ragserver.tokens import Language

_LEXICAL_SHARE = 0.5
_OTHER_LANGUAGE = 0.7


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found; `score` orders those of one question, from 0 to 1."""

    chunk: Chunk
    score: float


def by_mixture(candidates: Sequence[Candidate], language: Language) -> list[float]:
    """Return the local scores: the match of the words with the nearness, less for what is in the other language."""
    most = max((candidate.lexical for candidate in candidates), default=0.0) or 1.0
    return [_mixture(one, most) * (1 if one.chunk.language == language else _OTHER_LANGUAGE) for one in candidates]


def _mixture(candidate: Candidate, most: float) -> float:
    return _LEXICAL_SHARE * candidate.lexical / most + (1 - _LEXICAL_SHARE) * max(candidate.cosine, 0.0)


def as_they_are(candidates: Sequence[Candidate]) -> list[float]:
    """Return scores that leave the order of the pool as it is."""
    return [1 / rank for rank, _ in enumerate(candidates, start=1)]


def ranked(candidates: Sequence[Candidate], scores: Iterable[float]) -> list[Hit]:
    """Return the candidates by these scores, best first."""
    hits = [Hit(one.chunk, score) for one, score in zip(candidates, scores, strict=True)]
    return sorted(hits, key=lambda hit: -hit.score)


def best_of_sections(hits: Iterable[Hit]) -> list[Hit]:
    """Return the best passage of each section, so that five sources are five places to read."""
    sections: dict[tuple[str, str], Hit] = {}
    for hit in hits:
        sections.setdefault((hit.chunk.document, hit.chunk.heading), hit)
    return list(sections.values())


def relative(hits: Sequence[Hit]) -> list[Hit]:
    """Return the hits with their scores in proportion to the best one's, which is 1; all 1 where all are 0."""
    most = max((hit.score for hit in hits), default=0.0)
    return [replace(hit, score=hit.score / most if most else 1.0) for hit in hits]
