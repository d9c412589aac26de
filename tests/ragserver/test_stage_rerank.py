"""Stage 3 with a remote model: the order of the passages, and how sure it is that they answer."""

from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragserver.config import Settings
from ragserver.opening import open_pipeline
from ragserver.remote.models import open_models
from tests.ragserver.conftest import Serve, ready
from tests.ragserver.models import FakeModels, faults
from tests.ragserver.models.wire import Asked, Fault, Wire
from tests.ragserver.questions import ask

FLOUR = "Which flour?"  # a word of each passage
HALF = "polish the goldfish bowl with flour"


def settings_of(models: FakeModels, bakery: Path, dialect: str = "vllm", **more: object) -> dict[str, object]:
    return {"rag_docs_dir": bakery, "rag_rerank_url": models.url(dialect), "rag_timeout_s": 6, **more}


def scoring(**scores: float) -> Fault:
    """The score of a passage by a word that is in it; 0.01 for the others."""

    async def play(asked: Asked, wire: Wire, _good: faults.Good) -> None:
        found = [
            next((score for word, score in scores.items() if word in text), 0.01) for text in asked.body["documents"]
        ]
        results = [{"index": k, "relevance_score": score} for k, score in enumerate(found)]
        await faults.reply({"results": results})(asked, wire, _good)

    return play


def documents(body: dict[str, Any]) -> list[str]:
    return [source["document"] for source in body["sources"]]


async def confidence(client: httpx.AsyncClient, question: str) -> str:
    found: str = (await ask(client, question))["metadata"]["confidence"]
    return found


class TestWithoutTheStage:
    async def test_the_reranker_does_not_judge_what_it_did_not_rank(self, bakery: Path, models: FakeModels) -> None:
        settings = Settings(rag_db=bakery.parent / "index.db", **settings_of(models, bakery))  # type: ignore[arg-type]
        async with open_models(settings) as opened_models:
            opened = await open_pipeline(settings, opened_models)
            with closing(opened.store):
                found = await opened.search.with_stages(frozenset()).find("Who won the cup in 1998?")

        assert found.confidence == "none"
        assert models.asked("rerank") == []


class TestOrder:
    async def test_is_the_reranker_s(self, serve: Serve, bakery: Path, models: FakeModels) -> None:
        models.faults["rerank"] = scoring(yeast=0.9, stone=0.6, starter=0.3)
        async with serve(**settings_of(models, bakery)) as client:
            body = await ask(client, FLOUR)

        assert documents(body) == ["yeast.md", "oven.md", "sourdough.md"]
        assert [source["score"] for source in body["sources"]] == [0.9, 0.6, 0.3]
        assert body["metadata"]["degraded"] == []

    async def test_raw_scores_are_made_probabilities(self, serve: Serve, bakery: Path, models: FakeModels) -> None:
        models.faults["rerank"] = scoring(yeast=-2.0, stone=3.0, starter=-9.0)
        async with serve(**settings_of(models, bakery, "llamacpp", rag_rerank_scores="logit")) as client:
            body = await ask(client, FLOUR)

        assert documents(body) == ["oven.md", "yeast.md", "sourdough.md"]
        assert [source["score"] for source in body["sources"]] == [0.9526, 0.1192, 0.0001]
        assert body["metadata"]["confidence"] == "high"

    async def test_raw_scores_taken_for_probabilities_are_no_scores(
        self, serve: Serve, bakery: Path, models: FakeModels, caplog: pytest.LogCaptureFixture
    ) -> None:
        models.faults["rerank"] = scoring(yeast=-2.0, stone=3.0)
        async with serve(**settings_of(models, bakery, "llamacpp")) as client:
            body = await ask(client, FLOUR)

        assert body["metadata"]["degraded"] == ["rerank"]
        assert "RAG_RERANK_SCORES=logit" in caplog.text

    async def test_question_and_passages_are_what_is_sent(self, serve: Serve, bakery: Path, models: FakeModels) -> None:
        before = [{"role": "user", "content": "How do I feed a starter?"}, {"role": "assistant", "content": "Daily."}]
        async with serve(**settings_of(models, bakery, rag_rerank_n=1)) as client:
            await ask(client, "And why?", chat_history=before)

        (asked,) = models.asked("rerank")
        assert asked["query"] == "And why?\nHow do I feed a starter?"
        assert asked["documents"] == ["Sourdough\n\nFeed the starter with flour every morning."]

    async def test_scores_of_nothing_leave_the_closest_passage_to_be_quoted(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        models.faults["rerank"] = scoring(yeast=0.0, stone=0.0, starter=0.0)
        async with serve(**settings_of(models, bakery)) as client:
            body = await ask(client, "feed the starter")

        assert body["metadata"]["confidence"] == "low"
        assert "[1]" in body["answer"]
        assert {source["score"] for source in body["sources"]} == {0.0}

    async def test_nothing_found_is_nothing_to_ask(self, serve: Serve, tmp_path: Path, models: FakeModels) -> None:
        (tmp_path / "empty").mkdir()
        async with serve(**settings_of(models, tmp_path / "empty")) as client:
            assert await confidence(client, FLOUR) == "none"

        assert models.asked("rerank") == []

    async def test_fails_and_the_local_one_serves(self, serve: Serve, bakery: Path, models: FakeModels) -> None:
        async with serve(rag_docs_dir=bakery) as client:
            local = await ask(client, "feed the starter")
        models.faults["rerank"] = faults.RESET
        async with serve(**settings_of(models, bakery)) as client:
            body = await ask(client, "feed the starter")

        assert body["metadata"]["degraded"] == ["rerank"]
        assert body["sources"] == local["sources"]


class TestConfidence:
    @pytest.mark.parametrize(("score", "expected"), [(0.31, ("high", "high")), (0.29, ("none", "low"))])
    async def test_is_the_reranker_s_and_where_it_doubts_that_of_the_words(
        self, serve: Serve, bakery: Path, models: FakeModels, score: float, expected: tuple[str, str]
    ) -> None:
        models.faults["rerank"] = scoring(yeast=score)
        async with serve(**settings_of(models, bakery)) as client:
            half, whole = await ask(client, HALF), await ask(client, FLOUR)

        assert (half["metadata"]["confidence"], whole["metadata"]["confidence"]) == expected
        assert bool(half["sources"]) == (expected[0] != "none")
        assert whole["sources"][0]["document"] == "yeast.md"

    async def test_its_threshold_is_the_operator_s(self, serve: Serve, bakery: Path, models: FakeModels) -> None:
        models.faults["rerank"] = scoring(yeast=0.31)
        async with serve(**settings_of(models, bakery, rag_rerank_min=0.32)) as client:
            assert await confidence(client, HALF) == "none"

    async def test_is_that_of_the_words_while_it_fails(self, serve: Serve, bakery: Path, models: FakeModels) -> None:
        models.faults["rerank"] = faults.status(503)
        async with serve(**settings_of(models, bakery)) as client:
            assert await confidence(client, HALF) == "none"
            assert await confidence(client, FLOUR) == "high"

    async def test_health_names_the_model(self, serve: Serve, bakery: Path, models: FakeModels) -> None:
        async with serve(**settings_of(models, bakery, rag_rerank_model="a-reranker")) as client:
            health = await ready(client)

        assert health["models"] == {"rerank": "a-reranker"}
        assert health["embedded"] is None
