"""What becomes of a call when the server, or the way to it, is not as it should be."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from ragserver.config import Settings
from ragserver.remote.embeddings import Embeddings
from ragserver.remote.endpoint import RemoteError
from ragserver.remote.models import Models, open_models
from tests.ragserver.models import FakeModels, faults

KEY = "sk-secret-of-ours"
SHORT_S = 0.3  # a third of it is what embeddings get


@pytest_asyncio.fixture
async def server() -> AsyncGenerator[FakeModels, None]:
    async with FakeModels() as server:
        yield server


@asynccontextmanager
async def embeddings_at(url: str, **more: object) -> AsyncGenerator[Embeddings, None]:
    chosen: dict[str, Any] = {"rag_embed_url": url, "rag_embed_key": KEY, "rag_timeout_s": 6, **more}
    async with open_models(Settings(**chosen)) as models:
        assert models.embeddings
        yield models.embeddings


BROKEN_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
FAULTS = {
    "redirect": (faults.status(307, None, "Location: http://169.254.169.254/"), "HTTP 307"),
    "no content": (faults.raw(b"HTTP/1.1 204 X\r\n\r\n"), "HTTP 204"),
    "HTML with 200": (faults.body(faults.HTML, "text/html"), "Invalid JSON"),
    "half JSON": (faults.body('{"data": ['), "Invalid JSON"),
    "no JSON": (faults.body(b""), "Invalid JSON"),
    "deep JSON": (faults.body("[" * 100_000), "Invalid JSON"),
    "not UTF-8": (faults.body(b'{"data": "\xff\xfe"}'), "Invalid JSON"),
    "an error with 200": (faults.reply({"error": {"message": "no"}}), "not the reply it should be: data: Field"),
    "said to be gzip": (faults.body(b"no gzip", "text/html", 200, "Content-Encoding: gzip"), "broken reply"),
    "cut in the body": (faults.raw(BROKEN_HEAD + b"Content-Length: 99\r\n\r\n{"), "broken reply"),
    "reset in the body": (faults.raw(BROKEN_HEAD + b"Content-Length: 99\r\n\r\n{", "reset"), "broken reply"),
    "silent in the body": (faults.raw(BROKEN_HEAD + b"Content-Length: 99\r\n\r\n{", "hang"), "no answer for 0.1 s"),
    "dripping body": (faults.dripping(BROKEN_HEAD + b"Content-Length: 99999\r\n\r\n", b" "), "no answer for 0.1 s"),
    "dripping head": (faults.dripping(BROKEN_HEAD, b"X: y\r\n"), "no answer for 0.1 s"),
    "silent": (faults.silent, "no answer for 0.1 s"),
    "reset": (faults.RESET, "connection lost"),
    "closed": (faults.raw(b""), "connection lost: Server disconnected"),
    "half a head": (faults.raw(BROKEN_HEAD), "connection lost"),
    "another protocol": (faults.raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "connection lost"),
}


class TestFaults:
    @pytest.mark.parametrize("fault", FAULTS)
    async def test_are_errors_that_say_whose_they_are(self, server: FakeModels, fault: str) -> None:
        server.faults["embeddings"], text = FAULTS[fault]
        url = server.url("vllm")
        # A machine under load is slow; only where silence is the fault is it waited for.
        async with embeddings_at(url, rag_timeout_s=SHORT_S if text.startswith("no answer") else 6) as embeddings:
            with pytest.raises(RemoteError) as caught:
                await embeddings.embed(["text"])
            assert str(caught.value).startswith(f"{url}/embeddings: ")
            assert text in str(caught.value)
        await server.until_closed()

    @pytest.mark.parametrize("code", [400, 401, 402, 403, 404, 405, 409, 413, 418, 422, 424, 429, 500, 502, 503, 529])
    async def test_statuses_are_errors_with_the_words_of_the_server(self, server: FakeModels, code: int) -> None:
        said = {"error": {"message": f"no\nsuch   key: {KEY}", "input": "secret question"}}
        server.faults["embeddings"] = faults.status(code, said)
        async with embeddings_at(server.url("vllm")) as embeddings:
            with pytest.raises(RemoteError, match=rf"embeddings: HTTP {code}: no such key: \*\*\*$"):
                await embeddings.embed(["text"])

    @pytest.mark.parametrize(
        ("payload", "text"),
        [
            ({"message": "Inference failed", "type": "backend"}, ": Inference failed"),
            ({"error": "Model is overloaded", "error_type": "overloaded"}, ": Model is overloaded"),
            ({"object": "error", "message": "x" * 1000}, f": {'x' * 198}"),
            ({"detail": [{"input": "secret question"}]}, ""),
            ({"error": ["secret question"]}, ""),
            (["secret question"], ""),
            (None, ""),
        ],
    )
    async def test_the_words_of_the_server_are_found_where_servers_put_them(
        self, server: FakeModels, payload: object, text: str
    ) -> None:
        server.faults["embeddings"] = faults.status(403, payload)
        async with embeddings_at(server.url("vllm")) as embeddings:
            with pytest.raises(RemoteError) as caught:
                await embeddings.embed(["text"])
        assert str(caught.value).endswith(f"/embeddings: HTTP 403{text}")

    async def test_an_error_may_itself_be_broken(self, server: FakeModels) -> None:
        head = b"HTTP/1.1 403 X\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        server.faults["embeddings"] = faults.raw(head)
        async with embeddings_at(server.url("vllm")) as embeddings:
            with pytest.raises(RemoteError, match=r"HTTP 403$"):
                await embeddings.embed(["text"])

    async def test_a_reply_that_is_too_large_is_not_read_to_its_end(self, server: FakeModels) -> None:
        server.faults["embeddings"] = faults.body(b" " * (32 * 1024 * 1024 + 1))
        async with embeddings_at(server.url("vllm")) as embeddings:
            with pytest.raises(RemoteError, match="broken reply: more than 33554432 bytes"):
                await embeddings.embed(["text"])
            await server.until_closed()

    async def test_nobody_listens(self) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            async with embeddings_at(f"http://127.0.0.1:{closed.getsockname()[1]}") as embeddings:
                with pytest.raises(RemoteError, match="cannot connect"):
                    await embeddings.embed(["text"])

    async def test_no_such_host(self) -> None:
        async with embeddings_at("http://models.invalid/v1") as embeddings:
            with pytest.raises(RemoteError, match=r"^http://models\.invalid/v1/embeddings: cannot connect"):
                await embeddings.embed(["text"])

    async def test_a_host_that_takes_no_connection(self) -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            address = full.getsockname()
            with socket.create_connection(address), socket.socket() as waiting:
                waiting.setblocking(False)  # noqa: FBT003 - the standard library's
                waiting.connect_ex(address)
                async with embeddings_at(f"http://127.0.0.1:{address[1]}", rag_timeout_s=SHORT_S) as embeddings:
                    with pytest.raises(RemoteError, match=r"no answer for 0\.1 s"):
                        await embeddings.embed(["text"])

    async def test_a_question_that_nobody_waits_for_any_more_is_taken_back(self, server: FakeModels) -> None:
        server.faults["embeddings"] = faults.silent
        async with embeddings_at(server.url("vllm")) as embeddings:
            asking = asyncio.create_task(embeddings.embed(["text"]))
            await server.until(lambda: bool(server.journal))
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await server.until_closed()
            server.faults.clear()
            assert len(await embeddings.embed(["text"])) == 1


class TestConnections:
    async def test_are_used_again(self, server: FakeModels) -> None:
        async with embeddings_at(server.url("vllm")) as embeddings:
            for _ in range(3):
                await embeddings.embed(["text"])

        assert server.connections == 1

    async def test_one_that_was_closed_while_idle_is_replaced(self, server: FakeModels) -> None:
        server.faults["embeddings"] = faults.closes_when_idle
        async with embeddings_at(server.url("vllm")) as embeddings:
            rows = [await embeddings.embed(["text"]) for _ in range(3)]

        assert len(np.concatenate(rows)) == 3
        assert server.connections == 3

    async def test_are_tried_twice_and_no_more(self, server: FakeModels) -> None:
        server.faults["embeddings"] = faults.RESET
        async with embeddings_at(server.url("vllm")) as embeddings:
            with pytest.raises(RemoteError, match="connection lost"):
                await embeddings.embed(["text"])

        assert server.connections == 2

    async def test_to_this_machine_go_past_the_proxy(self, server: FakeModels, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
        for url in (server.url("vllm"), server.url("vllm").replace("127.0.0.1", "localhost")):
            async with embeddings_at(url) as embeddings:
                assert len(await embeddings.embed(["text"])) == 1
        async with embeddings_at("http://models.invalid/v1") as embeddings:
            with pytest.raises(RemoteError, match="cannot connect"):
                await embeddings.embed(["text"])

    async def test_are_not_opened_before_something_is_asked(self, server: FakeModels) -> None:
        chosen: dict[str, Any] = server.settings()
        async with open_models(Settings(**chosen)) as models:
            assert models.embeddings
            assert models.reranker
            assert models.language_model

        assert server.connections == 0

    async def test_without_an_address_there_is_no_model(self) -> None:
        async with open_models(Settings()) as models:
            assert models == Models()

    async def test_a_model_is_used_where_its_address_is_set(self, server: FakeModels) -> None:
        chosen: dict[str, Any] = {"rag_llm_url": server.url("openai")}
        async with open_models(Settings(**chosen)) as models:
            assert (models.embeddings, models.reranker) == (None, None)
            assert models.language_model

    async def test_an_address_may_end_with_a_slash(self, server: FakeModels) -> None:
        async with embeddings_at(f"{server.url('vllm')}/") as embeddings:
            assert len(await embeddings.embed(["text"])) == 1
