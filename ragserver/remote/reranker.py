"""How well passages answer a question, by a cross-encoder: vLLM, llama.cpp, Jina, Cohere; TEI has its own route."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from pydantic import BaseModel, FiniteFloat, RootModel

from ragserver.config import RerankScores, RerankStyle
from ragserver.remote.batches import ask_shortened, batches
from ragserver.remote.endpoint import Endpoint, RemoteError

# Question and passage go through the model together, which has 8192 tokens for both (bge-reranker-v2-m3).
_QUESTION_CHARS: Final = 2000
_PASSAGE_CHARS: Final = 6000
_ROUNDING: Final = 1e-3  # half-precision models come out a little over 1


class _JinaScore(BaseModel):
    index: int
    relevance_score: FiniteFloat


class _JinaScores(BaseModel):
    results: list[_JinaScore]


class _TeiScore(BaseModel):
    index: int
    score: FiniteFloat


class _TeiScores(RootModel[list[_TeiScore]]):
    pass


class Reranker:
    """One reranker; `style` is its route, `scores` what its numbers are."""

    def __init__(self, endpoint: Endpoint, model: str, style: RerankStyle, scores: RerankScores, batch: int) -> None:
        self.model = model
        self._endpoint = endpoint
        self._style = style
        self._scores = scores
        self._batch = batch

    async def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return for each text, in their order, how well it answers the question, from 0 to 1.

        Raises:
            RemoteError: some or all are not to be had.
        """
        ask = partial(self._ask, question[:_QUESTION_CHARS])
        found: list[float] = []
        for part in batches(texts, self._batch):
            found += await ask_shortened(ask, part, _PASSAGE_CHARS)
        return [self._probability(score) for score in found]

    async def _ask(self, question: str, texts: list[str]) -> list[float]:
        ask = self._ask_tei if self._style == "tei" else self._ask_jina
        scores = sorted(await ask(question, texts))
        if [index for index, _ in scores] != list(range(len(texts))):
            raise RemoteError(f"{len(scores)} scores for {len(texts)} texts, or their indexes are wrong")
        return [score for _, score in scores]

    async def _ask_jina(self, question: str, texts: list[str]) -> list[tuple[int, float]]:
        body: dict[str, Any] = {"model": self.model, "query": question, "documents": texts, "top_n": len(texts)}
        reply = await self._endpoint.post("/rerank", body, _JinaScores)
        return [(one.index, one.relevance_score) for one in reply.results]

    async def _ask_tei(self, question: str, texts: list[str]) -> list[tuple[int, float]]:
        body: dict[str, Any] = {"query": question, "texts": texts, "truncate": True, "raw_scores": False}
        reply = await self._endpoint.post("/rerank", body, _TeiScores)
        return [(one.index, one.score) for one in reply.root]

    def _probability(self, score: float) -> float:
        # Not guessed from the numbers: logits that all happen to lie between 0 and 1 would be taken as they are.
        if self._scores == "logit":
            return (1 + math.tanh(score / 2)) / 2  # the logistic function, which does not overflow in this form
        if not -_ROUNDING <= score <= 1 + _ROUNDING:
            raise RemoteError(f"a score is {score:g}; if the server returns raw scores, set RAG_RERANK_SCORES=logit")
        return min(max(score, 0.0), 1.0)
