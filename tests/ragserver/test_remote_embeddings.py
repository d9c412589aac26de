"""Vectors from an embedding server: what is asked for, and what is not taken for vectors."""

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from ragserver.config import Settings
from ragserver.remote.embeddings import Embeddings
from ragserver.remote.endpoint import FailedError, RefusedError, RemoteError
from ragserver.remote.models import open_models
from tests.ragserver.models import FakeModels, dialects, faults

OUT_OF_MEMORY = faults.status(500, {"error": {"message": "CUDA out of memory"}})
TEXTS = ["리스트는 바꿀 수 있다", "튜플은 바꿀 수 없다", "git rebase rewrites history"]


@pytest_asyncio.fixture
async def server() -> AsyncGenerator[FakeModels, None]:
    async with FakeModels() as server:
        yield server


@asynccontextmanager
async def embeddings_of(server: FakeModels, dialect: str = "vllm", **more: object) -> AsyncGenerator[Embeddings, None]:
    chosen: dict[str, Any] = {**server.settings(dialect), **more}
    async with open_models(Settings(**chosen)) as models:
        assert models.embeddings
        yield models.embeddings


def vectors(*rows: object) -> dict[str, Any]:
    return {"data": [{"index": k, "embedding": row} for k, row in enumerate(rows)]}


class TestVectors:
    @pytest.mark.parametrize("dialect", ["vllm", "tei", "openai", "llamacpp", "ollama"])
    async def test_have_length_1_and_are_near_where_texts_are_alike(self, server: FakeModels, dialect: str) -> None:
        async with embeddings_of(server, dialect, rag_embed_key="sk-test") as embeddings:
            rows = await embeddings.embed(TEXTS)

        assert rows.dtype == np.float32
        assert rows.shape == (3, dialects.WIDTH)
        assert np.linalg.norm(rows, axis=1) == pytest.approx(1)
        assert rows[0] @ rows[1] > rows[0] @ rows[2]

    async def test_come_in_the_order_of_the_texts(self, server: FakeModels) -> None:
        data = [{"index": 1, "embedding": [0, 2]}, {"index": 2, "embedding": [3, 4]}, {"index": 0, "embedding": [5, 0]}]
        server.faults["embeddings"] = faults.reply({"data": data})
        async with embeddings_of(server) as embeddings:
            rows = await embeddings.embed(TEXTS)

        assert rows == pytest.approx(np.array([[1, 0], [0, 1], [0.6, 0.8]]))

    async def test_of_no_texts_are_none_and_cost_nothing(self, server: FakeModels) -> None:
        async with embeddings_of(server) as embeddings:
            rows = await embeddings.embed([])

        assert rows.shape == (0, 0)
        assert not server.journal

    async def test_of_many_texts_are_asked_for_32_at_a_time(self, server: FakeModels) -> None:
        texts = [f"text {number}" for number in range(70)]
        async with embeddings_of(server, "tei") as embeddings:
            rows = await embeddings.embed(texts)
            (last,) = await embeddings.embed(texts[-1:])

        assert [len(body["input"]) for body in server.asked("embeddings")] == [32, 32, 6, 1]
        assert rows.shape == (70, dialects.WIDTH)
        assert rows[-1] == pytest.approx(last)

    async def test_are_asked_for_as_every_server_understands(self, server: FakeModels) -> None:
        async with embeddings_of(server, rag_embed_key="sk-1", rag_llm_key="sk-2", rag_rerank_key="sk-3") as embeddings:
            await embeddings.embed(TEXTS)

        (asked,) = server.journal
        assert asked.body == {"model": "BAAI/bge-m3", "input": TEXTS, "encoding_format": "float"}
        assert asked.headers["authorization"] == "Bearer sk-1"

    async def test_are_asked_for_without_a_key_where_none_is_set(self, server: FakeModels) -> None:
        async with embeddings_of(server, rag_llm_key="sk-2", rag_embed_model="other") as embeddings:
            await embeddings.embed(TEXTS)

        (asked,) = server.journal
        assert "authorization" not in asked.headers
        assert asked.body["model"] == embeddings.model == "other"


class TestLongTexts:
    async def test_are_cut_to_what_the_model_can_take(self, server: FakeModels) -> None:
        async with embeddings_of(server) as embeddings:
            rows = await embeddings.embed(["가나다" * 5000, "short"])

        assert [len(text) for text in server.asked("embeddings")[0]["input"]] == [8000, 5]
        assert len(rows) == 2

    @pytest.mark.parametrize("dialect", ["vllm", "tei", "llamacpp"])
    async def test_are_cut_further_when_the_server_refuses_them(
        self, server: FakeModels, dialect: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        server.most_tokens = 512
        long = "".join(f"{number} " for number in range(400))[:1200]
        async with embeddings_of(server, dialect) as embeddings:
            rows = await embeddings.embed([long, "short"])

        lengths = [[len(text) for text in body["input"]] for body in server.asked("embeddings")]
        assert lengths == [[1200, 5], [600, 5], [300, 5]]
        assert server.asked("embeddings")[-1]["input"][0] == long[:300]
        assert len(rows) == 2
        warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert "cut to 300 characters" in warned[-1]
        assert "512 tokens" in warned[-1] or "too large to process" in warned[-1]

    async def test_are_given_up_when_not_even_their_beginning_is_taken(self, server: FakeModels) -> None:
        server.most_tokens = 10
        async with embeddings_of(server) as embeddings:
            with pytest.raises(RefusedError, match="HTTP 400: This model's maximum context length is 10 tokens"):
                await embeddings.embed(["long " * 300])

        assert len(server.journal) == 3

    async def test_are_not_cut_because_the_server_failed_once(self, server: FakeModels) -> None:
        server.faults["embeddings"] = faults.first(1, OUT_OF_MEMORY)
        async with embeddings_of(server) as embeddings:
            (row,) = await embeddings.embed(["long " * 300])
            (same,) = await embeddings.embed(["long " * 300])

        assert [len(body["input"][0]) for body in server.asked("embeddings")] == [1500] * 3
        assert row == pytest.approx(same)

    async def test_are_not_cut_when_the_server_fails_for_another_reason(self, server: FakeModels) -> None:
        server.faults["embeddings"] = OUT_OF_MEMORY
        async with embeddings_of(server) as embeddings:
            with pytest.raises(FailedError, match="CUDA out of memory"):
                await embeddings.embed(["long " * 300])

        assert [len(body["input"][0]) for body in server.asked("embeddings")] == [1500] * 2


NO_VECTORS = {
    "too few": vectors([1.0], [2.0]),
    "too many": vectors([1.0], [2.0], [3.0], [4.0]),
    "none": {"data": []},
    "no data": {"object": "list"},
    "null": {"data": None},
    "a list": [[1.0], [2.0], [3.0]],
    "TEI's own shape": {"embeddings": [[1.0], [2.0], [3.0]]},
    "an index twice": {"data": [{"index": k, "embedding": [1.0]} for k in (0, 1, 1)]},
    "indexes from 1": {"data": [{"index": k, "embedding": [1.0]} for k in (1, 2, 3)]},
    "no index": {"data": [{"embedding": [1.0]}] * 3},
    "an index as text": {"data": [{"index": str(k), "embedding": [1.0]} for k in range(3)]},
    "base64": vectors("AACAPw==", "AACAPw==", "AACAPw=="),
    "numbers as text": vectors(["1"], ["2"], ["3"]),
    "null in a vector": vectors([1.0], [None], [3.0]),
    "true in a vector": vectors([1.0], [True], [3.0]),
    "nested": vectors([[1.0]], [[2.0]], [[3.0]]),
    "one shorter": vectors([1.0, 2.0], [1.0], [3.0, 4.0]),
    "no numbers": vectors([], [], []),
    "zero": vectors([1.0, 0.0], [0.0, 0.0], [0.0, 1.0]),
    "nearly zero": vectors([1.0, 0.0], [1e-300, 0.0], [0.0, 1.0]),
    "NaN": vectors([1.0], [float("nan")], [3.0]),
    "infinite": vectors([1.0], [float("inf")], [3.0]),
    "too large to square": vectors([1.0], [1e300], [3.0]),
}


class TestNoVectors:
    @pytest.mark.parametrize("wrong", NO_VECTORS)
    async def test_are_an_error(self, server: FakeModels, wrong: str) -> None:
        server.faults["embeddings"] = faults.reply(NO_VECTORS[wrong])
        async with embeddings_of(server) as embeddings:
            with pytest.raises(RemoteError):
                await embeddings.embed(TEXTS)
            server.faults.clear()
            assert len(await embeddings.embed(TEXTS)) == 3

    async def test_nor_is_a_number_beyond_all_bounds(self, server: FakeModels) -> None:
        server.faults["embeddings"] = faults.body(json.dumps(vectors([1.0])).replace("1.0", "1e999"))
        async with embeddings_of(server) as embeddings:
            with pytest.raises(RemoteError, match="finite number"):
                await embeddings.embed(TEXTS[:1])

    async def test_nor_batches_that_differ_in_dimension(self, server: FakeModels) -> None:
        server.faults["embeddings"] = faults.first(1, faults.reply(vectors([1.0, 2.0])))
        async with embeddings_of(server, rag_http_batch=1) as embeddings:
            with pytest.raises(RemoteError, match="different dimensions"):
                await embeddings.embed(TEXTS)
