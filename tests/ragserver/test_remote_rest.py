"""A server that is away is left alone for a while, and one that only refuses is not."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from ragserver.config import Settings
from ragserver.remote.embeddings import Embeddings
from ragserver.remote.endpoint import Endpoint, RefusedError, RemoteError
from ragserver.remote.models import open_models
from tests.ragserver.models import FakeModels, faults


@pytest_asyncio.fixture
async def server() -> AsyncGenerator[FakeModels, None]:
    async with FakeModels() as server:
        yield server


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest_asyncio.fixture
async def client() -> AsyncGenerator[httpx.AsyncClient, None]:
    async with httpx.AsyncClient(trust_env=False, timeout=None) as client:  # noqa: S113 - the endpoint has deadlines
        yield client


AWAY = {
    "silent": faults.silent,
    "reset": faults.RESET,
    "429": faults.status(429),
    "502": faults.status(502),
    "503": faults.status(503),
    "529": faults.status(529),
}
THERE = {"400": 400, "401": 401, "404": 404, "413": 413, "422": 422, "500": 500}


class TestRest:
    @pytest.mark.parametrize("fault", AWAY)
    async def test_a_server_that_is_away_is_left_alone_for_a_while(
        self, server: FakeModels, client: httpx.AsyncClient, fault: str
    ) -> None:
        clock = Clock()
        embeddings = Embeddings(Endpoint(client, server.url("vllm"), None, 0.1, clock), "m", 32)
        server.faults["embeddings"] = AWAY[fault]
        with pytest.raises(RemoteError):
            await embeddings.embed(["text"])
        asked = len(server.journal)

        server.faults.clear()
        for _ in range(3):
            clock.now += 3
            with pytest.raises(RemoteError, match="embeddings: resting"):
                await embeddings.embed(["text"])
        assert len(server.journal) == asked

        clock.now += 3
        assert len(await embeddings.embed(["text"])) == 1

    @pytest.mark.parametrize("code", THERE)
    async def test_a_server_that_refuses_one_question_gets_the_next(
        self, server: FakeModels, client: httpx.AsyncClient, code: str
    ) -> None:
        embeddings = Embeddings(Endpoint(client, server.url("vllm"), None, 5), "m", 32)
        server.faults["embeddings"] = faults.first(2 if code == "500" else 1, faults.status(THERE[code]))
        with pytest.raises(RemoteError):
            await embeddings.embed(["text"])

        assert len(await embeddings.embed(["text"])) == 1

    async def test_refusals_of_an_input_are_told_from_others(
        self, server: FakeModels, client: httpx.AsyncClient
    ) -> None:
        embeddings = Embeddings(Endpoint(client, server.url("vllm"), None, 5), "m", 32)
        server.faults["embeddings"] = faults.status(422)
        with pytest.raises(RefusedError):
            await embeddings.embed(["text"])
        server.faults["embeddings"] = faults.status(401)
        with pytest.raises(RemoteError) as caught:
            await embeddings.embed(["text"])
        assert not isinstance(caught.value, RefusedError)

    @pytest.mark.parametrize(("asked", "rest_s"), [("2", 2), ("3600", 60), ("Wed, 21 Oct 2026 07:28:00 GMT", 10)])
    async def test_lasts_as_long_as_the_server_asks_within_reason(
        self, server: FakeModels, client: httpx.AsyncClient, asked: str, rest_s: float
    ) -> None:
        clock = Clock()
        embeddings = Embeddings(Endpoint(client, server.url("vllm"), None, 5, clock), "m", 32)
        server.faults["embeddings"] = faults.first(1, faults.status(429, None, f"Retry-After: {asked}"))
        with pytest.raises(RemoteError, match="HTTP 429"):
            await embeddings.embed(["text"])

        clock.now += rest_s - 0.01
        with pytest.raises(RemoteError, match="resting"):
            await embeddings.embed(["text"])
        clock.now += 0.01
        assert len(await embeddings.embed(["text"])) == 1

    async def test_ends_with_one_probe(self, server: FakeModels, client: httpx.AsyncClient) -> None:
        clock = Clock()
        embeddings = Embeddings(Endpoint(client, server.url("vllm"), None, 0.2, clock), "m", 32)
        server.faults["embeddings"] = faults.silent
        with pytest.raises(RemoteError, match="no answer"):
            await embeddings.embed(["text"])

        clock.now += 10
        errors = await asyncio.gather(*(embeddings.embed(["text"]) for _ in range(5)), return_exceptions=True)

        assert ["no answer" in str(error) for error in errors] == [True, False, False, False, False]
        assert len(server.journal) == 2

    async def test_a_probe_that_is_given_up_leaves_the_next_call_to_be_one(
        self, server: FakeModels, client: httpx.AsyncClient
    ) -> None:
        clock = Clock()
        embeddings = Embeddings(Endpoint(client, server.url("vllm"), None, 5, clock), "m", 32)
        server.faults["embeddings"] = faults.status(503)
        with pytest.raises(RemoteError):
            await embeddings.embed(["text"])
        clock.now += 10
        server.faults["embeddings"] = gate = faults.Gate()
        probe = asyncio.create_task(embeddings.embed(["text"]))
        await gate.reached.wait()
        probe.cancel()
        await asyncio.wait([probe])
        del server.faults["embeddings"]

        assert len(await embeddings.embed(["text"])) == 1

    async def test_is_each_servers_own(self, server: FakeModels) -> None:
        server.faults["rerank"] = faults.status(503)
        chosen: dict[str, Any] = server.settings()
        async with open_models(Settings(**chosen)) as models:
            assert models.embeddings
            assert models.reranker
            with pytest.raises(RemoteError, match="HTTP 503"):
                await models.reranker.score("?", ["text"])
            with pytest.raises(RemoteError, match="resting"):
                await models.reranker.score("?", ["text"])
            assert len(await models.embeddings.embed(["text"])) == 1
