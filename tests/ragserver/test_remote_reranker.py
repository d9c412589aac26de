"""Scores from a reranking server, in both of the routes that there are."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from ragserver.config import Settings
from ragserver.remote.endpoint import RemoteError
from ragserver.remote.models import open_models
from ragserver.remote.reranker import Reranker
from tests.ragserver.models import FakeModels, dialects, faults

QUESTION = "튜플은 바꿀 수 있나요"
TEXTS = ["git rebase rewrites history", "튜플은 바꿀 수 없다", "리스트는 바꿀 수 있다"]
RELEVANCES = [dialects.relevance(QUESTION, text) for text in TEXTS]


@pytest_asyncio.fixture
async def server() -> AsyncGenerator[FakeModels, None]:
    async with FakeModels() as server:
        yield server


@asynccontextmanager
async def reranker_of(server: FakeModels, dialect: str = "vllm", **more: object) -> AsyncGenerator[Reranker, None]:
    chosen: dict[str, Any] = {**server.settings(dialect), **more}
    async with open_models(Settings(**chosen)) as models:
        assert models.reranker
        yield models.reranker


class TestScores:
    @pytest.mark.parametrize(
        ("dialect", "style", "scores"),
        [("vllm", "jina", "prob"), ("llamacpp", "jina", "logit"), ("tei", "tei", "prob"), ("cohere", "jina", "prob")],
    )
    async def test_are_from_0_to_1_in_the_order_of_the_texts(
        self, server: FakeModels, dialect: str, style: str, scores: str
    ) -> None:
        async with reranker_of(server, dialect, rag_rerank_style=style, rag_rerank_scores=scores) as reranker:
            assert await reranker.score(QUESTION, TEXTS) == pytest.approx(RELEVANCES)

    async def test_of_no_texts_are_none_and_cost_nothing(self, server: FakeModels) -> None:
        async with reranker_of(server) as reranker:
            assert await reranker.score(QUESTION, []) == []

        assert not server.journal

    @pytest.mark.parametrize(("dialect", "style"), [("vllm", "jina"), ("tei", "tei")])
    async def test_of_many_texts_are_asked_for_32_at_a_time(self, server: FakeModels, dialect: str, style: str) -> None:
        async with reranker_of(server, dialect, rag_rerank_style=style) as reranker:
            scores = await reranker.score(QUESTION, TEXTS * 13)

        assert [len(body["texts" if style == "tei" else "documents"]) for body in server.asked("rerank")] == [32, 7]
        assert scores == pytest.approx(RELEVANCES * 13)

    async def test_are_asked_for_all_of_them_on_the_route_of_jina(self, server: FakeModels) -> None:
        async with reranker_of(server, rag_rerank_key="sk-3", rag_embed_key="sk-1") as reranker:
            await reranker.score(QUESTION, TEXTS)

        (asked,) = server.journal
        assert asked.body == {
            "model": "BAAI/bge-reranker-v2-m3",
            "query": QUESTION,
            "documents": TEXTS,
            "top_n": 3,
        }
        assert asked.headers["authorization"] == "Bearer sk-3"

    async def test_are_asked_for_as_probabilities_of_cut_texts_on_the_route_of_tei(self, server: FakeModels) -> None:
        async with reranker_of(server, "tei", rag_rerank_style="tei") as reranker:
            await reranker.score(QUESTION, TEXTS)

        (body,) = server.asked("rerank")
        assert body == {"query": QUESTION, "texts": TEXTS, "truncate": True, "raw_scores": False}

    async def test_extreme_logits_are_sure_and_no_overflow(self, server: FakeModels) -> None:
        results = [{"index": k, "relevance_score": score} for k, score in enumerate([-1e6, 0, 1e6])]
        server.faults["rerank"] = faults.reply({"results": results})
        async with reranker_of(server, rag_rerank_scores="logit") as reranker:
            assert await reranker.score(QUESTION, TEXTS) == [0.0, 0.5, 1.0]

    async def test_a_little_over_1_is_1(self, server: FakeModels) -> None:
        results = [{"index": k, "relevance_score": score} for k, score in enumerate([-0.0001, 1, 1.0001])]
        server.faults["rerank"] = faults.reply({"results": results})
        async with reranker_of(server) as reranker:
            assert await reranker.score(QUESTION, TEXTS) == [0.0, 1.0, 1.0]

    async def test_raw_scores_are_an_error_that_names_the_setting(self, server: FakeModels) -> None:
        async with reranker_of(server, "llamacpp") as reranker:
            with pytest.raises(RemoteError, match="set RAG_RERANK_SCORES=logit"):
                await reranker.score(QUESTION, TEXTS)

    async def test_long_questions_and_texts_are_cut(self, server: FakeModels) -> None:
        async with reranker_of(server) as reranker:
            await reranker.score("why " * 2000, ["because " * 2000, "so"])

        (body,) = server.asked("rerank")
        assert (len(body["query"]), [len(text) for text in body["documents"]]) == (2000, [6000, 2])

    @pytest.mark.parametrize("dialect", ["vllm", "llamacpp"])
    async def test_texts_are_cut_further_when_the_server_refuses_them(self, server: FakeModels, dialect: str) -> None:
        server.most_tokens = 400
        async with reranker_of(server, dialect, rag_rerank_scores="logit") as reranker:
            assert len(await reranker.score(QUESTION, ["long " * 200, "short"])) == 2

        assert [len(body["documents"][0]) for body in server.asked("rerank")] == [1000, 500, 250]


NO_SCORES = {
    "too few": {"results": [{"index": k, "relevance_score": 0.5} for k in range(2)]},
    "too many": {"results": [{"index": k, "relevance_score": 0.5} for k in range(4)]},
    "an index twice": {"results": [{"index": k, "relevance_score": 0.5} for k in (0, 1, 2, 2)]},
    "a negative index": {"results": [{"index": k, "relevance_score": 0.5} for k in (-1, 0, 1)]},
    "text": {"results": [{"index": k, "relevance_score": "0.5"} for k in range(3)]},
    "null": {"results": [{"index": k, "relevance_score": None} for k in range(3)]},
    "NaN": {"results": [{"index": k, "relevance_score": float("nan")} for k in range(3)]},
    "infinite": {"results": [{"index": k, "relevance_score": float("inf")} for k in range(3)]},
    "the other route's": [{"index": k, "score": 0.5} for k in range(3)],
    "no results": {"id": "1"},
    "an error": {"error": "no model"},
}


class TestNoScores:
    @pytest.mark.parametrize("wrong", NO_SCORES)
    @pytest.mark.parametrize("scores", ["prob", "logit"])
    async def test_are_an_error(self, server: FakeModels, wrong: str, scores: str) -> None:
        server.faults["rerank"] = faults.reply(NO_SCORES[wrong])
        async with reranker_of(server, rag_rerank_scores=scores) as reranker:
            with pytest.raises(RemoteError):
                await reranker.score(QUESTION, TEXTS)

    async def test_nor_are_jinas_on_the_route_of_tei(self, server: FakeModels) -> None:
        server.faults["rerank"] = faults.reply({"results": [{"index": 0, "relevance_score": 0.5}]})
        async with reranker_of(server, "tei", rag_rerank_style="tei") as reranker:
            with pytest.raises(RemoteError, match="not the reply it should be"):
                await reranker.score(QUESTION, TEXTS[:1])

    async def test_nor_is_a_server_that_has_no_reranker(self, server: FakeModels) -> None:
        async with reranker_of(server, "ollama") as reranker:
            with pytest.raises(RemoteError, match=r"/ollama/v1/rerank: HTTP 404$"):
                await reranker.score(QUESTION, TEXTS)
