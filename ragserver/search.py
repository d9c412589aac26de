"""Stages 1 to 4: from a question to the passages that may answer it, and how sure that is."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from ragserver import nearness, question, reranking
from ragserver.clock import Clock
from ragserver.config import Settings
from ragserver.contract import Confidence, Fallback, Utterance
from ragserver.embedded import Embedded
from ragserver.evidence import Scale
from ragserver.findings import Findings
from ragserver.glossary import Glossary
from ragserver.question import Question
from ragserver.remote.endpoint import RemoteError
from ragserver.remote.reranker import Reranker
from ragserver.reranking import Hit
from ragserver.retrieval import Candidate, Retriever
from ragserver.store import Store, text_of
from ragserver.vectors import Floats

_logger = logging.getLogger(__name__)
ALL_STAGES: Final = frozenset({"glossary", "vectors", "rerank", "sections"})
_JUDGED = 3  # the best passages that evidence is sought in


@dataclass(slots=True)
class _Course:
    """How one search goes: what it takes, and what it has to do without."""

    clock: Clock
    degraded: list[Fallback]

    def fall_back(self, stage: Fallback, reason: RemoteError) -> None:
        _logger.warning("Stage %s falls back to its local form: %s", stage, reason)
        self.degraded.append(stage)


class Search:
    """Finds passages in one index.

    Args:
        store: The index.
        settings: How many passages, and the thresholds.
        glossary: The translations of words.
        embedded: The chunks as a remote model sees them, where there is one.
        reranker: The remote reranker, where there is one.
        stages: Less than all, to see what each of them adds.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a pipeline, named above
        self,
        store: Store,
        settings: Settings,
        glossary: Glossary,
        embedded: Embedded | None = None,
        reranker: Reranker | None = None,
        stages: frozenset[str] = ALL_STAGES,
    ) -> None:
        self._store = store
        self._settings = settings
        self._glossary = glossary if "glossary" in stages else Glossary()
        self._embedded = embedded
        self._reranker = reranker if "rerank" in stages else None
        self._stages = stages
        self._retriever = Retriever(store, settings.rag_candidates, settings.rag_rerank_n)

    def with_stages(self, stages: frozenset[str]) -> Self:
        """Return the same with these stages only."""
        parts = (self._store, self._settings, self._glossary, self._embedded, self._reranker)
        return type(self)(*parts, stages)

    async def find(self, text: str, history: Sequence[Utterance] = (), clock: Clock | None = None) -> Findings:
        """Return what was found for a question; `history` is what was said before it, oldest first."""
        course = _Course(clock or Clock(), [])
        lap = course.clock.lap
        asked = question.parse(text, history, self._glossary)
        with lap("embed"):
            cosines = await self._cosines(asked, course)
        with lap("retrieve"):
            is_embedded = self._embedded is not None and "embed" not in course.degraded
            candidates = self._retriever.find(asked, cosines, is_remote=is_embedded)
        with lap("rerank"):
            hits = await self._reranked(asked, candidates, course)
        with lap("filter"):
            scale = Scale.of(asked.concepts + asked.context, self._store)
            evidence = self._evidence(asked, scale, hits)
            is_remote = self._reranker is not None and "rerank" not in course.degraded and bool(hits)
            confidence, certainty = self._judged(hits, evidence, is_remote=is_remote)
        kept = reranking.relative(hits[: self._settings.rag_top_k])
        return Findings(text, history, asked.language, kept, scale, certainty, confidence, course.degraded)

    async def _cosines(self, asked: Question, course: _Course) -> Floats | None:
        if "vectors" not in self._stages:
            return None
        if self._embedded:
            try:
                return await self._embedded.cosines(asked.text)
            except RemoteError as exc:
                course.fall_back("embed", exc)
        return nearness.local(asked, self._store)

    async def _reranked(self, asked: Question, candidates: list[Candidate], course: _Course) -> list[Hit]:
        hits = reranking.ranked(candidates, await self._scores(asked, candidates, course))
        return reranking.best_of_sections(hits) if "sections" in self._stages else hits

    async def _scores(self, asked: Question, candidates: list[Candidate], course: _Course) -> list[float]:
        if "rerank" not in self._stages:
            return reranking.as_they_are(candidates)
        if self._reranker and candidates:
            chunks = [candidate.chunk for candidate in candidates]
            try:
                return await self._reranker.score(asked.text, [text_of(one.heading, one.content) for one in chunks])
            except RemoteError as exc:
                course.fall_back("rerank", exc)
        return reranking.by_mixture(candidates, asked.language)

    def _evidence(self, asked: Question, scale: Scale, hits: Sequence[Hit]) -> float:
        """Return how well the words are covered; what was asked before, of something else, is no reason to doubt."""
        best = [hit.chunk for hit in hits[:_JUDGED]]
        scales = [scale, Scale.of(asked.concepts, self._store)] if asked.context else [scale]
        return max(one.evidence(best) for one in scales)

    def _judged(self, hits: Sequence[Hit], evidence: float, *, is_remote: bool) -> tuple[Confidence, float]:
        """Return the confidence, and the number from 0 to 1 behind it.

        A reranker that read question and passage knows better than the words; where it doubts, they may still say that
        something near is there.
        """
        settings = self._settings
        certainty, sure = (
            (hits[0].score, settings.rag_rerank_min) if is_remote else (evidence, settings.rag_sure_evidence)
        )
        if certainty >= sure:
            return "high", certainty
        return ("low" if evidence >= settings.rag_min_evidence else "none"), certainty
