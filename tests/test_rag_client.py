"""The RAG client by itself: behind respx for what it sends, and its own transport against real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import respx

from app.core.errors import (
    RagNotConfiguredError,
    RagResetError,
    RagTimeoutError,
    RagUnavailableError,
)
from app.services.rag_client import RagClient
from app.services.rag_transport import AiohttpTransport
from tests.rag import GOOD, METADATA, SOURCES, FakeRag

BASE = "https://pod-8080.proxy.runpod.net"


@pytest.fixture
async def client() -> AsyncIterator[RagClient]:
    rag_client = RagClient(f"{BASE}/", api_key="key")
    yield rag_client
    await rag_client.close()


@pytest.fixture
def upstream() -> Iterator[respx.MockRouter]:
    """respx in the place of any transport; its default mode would miss ours."""
    with respx.mock(using="httpx") as router:
        yield router


class TestCall:
    async def test_question_goes_to_the_contracts_address(self, client: RagClient, upstream: respx.MockRouter) -> None:
        route = upstream.post(f"{BASE}/api/v1/chat").respond(json=GOOD)
        answer = await client.ask("질문", user_id=7, chat_history=[], session_id=9)
        assert (answer.text, answer.sources, answer.metadata) == (GOOD["answer"], SOURCES, METADATA)
        assert answer.response_time >= 0
        request = route.calls.last.request
        assert request.content == '{"question":"질문","user_id":7,"chat_history":[],"session_id":9}'.encode()
        assert request.headers["authorization"] == "Bearer key"

    async def test_check_is_the_contracts_probe(self, client: RagClient, upstream: respx.MockRouter) -> None:
        route = upstream.post(f"{BASE}/api/v1/chat").respond(json=GOOD)
        await client.check()
        assert route.calls.last.request.content == b'{"question":"test"}'

    @pytest.mark.parametrize(
        ("raised", "expected"),
        [
            (httpx.ConnectTimeout("x"), RagUnavailableError),
            (httpx.ConnectError("x"), RagUnavailableError),
            (httpx.ReadTimeout("x"), RagTimeoutError),
            (httpx.ReadError("x"), RagResetError),
            (httpx.WriteError("x"), RagResetError),
            (httpx.RemoteProtocolError("x"), RagResetError),
        ],
    )
    async def test_errors_of_httpx_do_not_leave_it(
        self, client: RagClient, upstream: respx.MockRouter, raised: Exception, expected: type[Exception]
    ) -> None:
        upstream.post(f"{BASE}/api/v1/chat").mock(side_effect=raised)
        with pytest.raises(expected):
            await client.check()

    async def test_client_without_a_url_says_so(self) -> None:
        client = RagClient(None)
        with pytest.raises(RagNotConfiguredError):
            await client.check()
        await client.close()


class TestTransport:
    async def test_unknown_host_is_a_connect_error(self) -> None:
        async with httpx.AsyncClient(transport=AiohttpTransport()) as http:
            with pytest.raises(httpx.ConnectError):
                await http.get("http://no-such-host.invalid/")

    async def test_tls_to_a_plain_port_never_connects(self, rag: FakeRag) -> None:
        async with httpx.AsyncClient(transport=AiohttpTransport(), timeout=0.3) as http:
            with pytest.raises((httpx.ConnectError, httpx.ConnectTimeout)):
                await http.get(rag.url.replace("http://", "https://"))

    async def test_silence_is_a_read_timeout(self, rag: FakeRag) -> None:
        async with httpx.AsyncClient(transport=AiohttpTransport(), timeout=0.2) as http:
            with pytest.raises(httpx.ReadTimeout):
                await http.post(rag.url, json={"question": "slow:2"})

    @pytest.mark.parametrize("after", ["accept", "head", "body"])
    async def test_connection_lost_after_the_question_never_looks_like_a_failed_connect(
        self, rag: FakeRag, after: str
    ) -> None:
        async with httpx.AsyncClient(transport=AiohttpTransport()) as http:
            with pytest.raises(httpx.TransportError) as caught:
                await http.post(rag.url, json={"question": f"reset:{after}"})
        assert not isinstance(caught.value, httpx.ConnectError | httpx.ConnectTimeout)

    async def test_kept_connection_that_breaks_never_looks_like_a_failed_connect(self, rag: FakeRag) -> None:
        async with httpx.AsyncClient(transport=AiohttpTransport()) as http:
            await http.post(rag.url, json={"question": "hi"})
            with pytest.raises(httpx.TransportError) as caught:
                await http.post(rag.url, json={"question": "reset:accept"})
        assert rag.connections == 1
        assert not isinstance(caught.value, httpx.ConnectError | httpx.ConnectTimeout)
        assert len(rag.journal) == 2

    async def test_server_that_takes_no_connection_is_a_connect_timeout(self) -> None:
        with socket.socket() as full, socket.socket() as first:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            first.connect(full.getsockname())
            async with httpx.AsyncClient(transport=AiohttpTransport(), timeout=0.2) as http:
                with pytest.raises(httpx.ConnectTimeout):
                    await http.get(f"http://127.0.0.1:{full.getsockname()[1]}/")

    async def test_answers_keep_status_headers_and_bytes(self, rag: FakeRag) -> None:
        async with httpx.AsyncClient(transport=AiohttpTransport()) as http:
            response = await http.post(rag.url, json={"question": "status:418"})
        assert (response.status_code, response.headers["location"]) == (418, "http://169.254.169.254/")
        assert response.json() == {"detail": "secret of the upstream"}

    async def test_environment_proxies_are_not_used(self, rag: FakeRag, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        client = RagClient(rag.url)
        await client.check()
        await client.close()

    async def test_two_hundred_calls_wait_at_once(self, rag: FakeRag) -> None:
        client = RagClient(rag.url)
        asking = [
            asyncio.create_task(client.ask("slow:0.5", user_id=1, chat_history=[], session_id=1)) for _ in range(200)
        ]
        async with asyncio.timeout(5):
            await rag.until_waiting(200)
            answers = await asyncio.gather(*asking)
        assert len(answers) == 200
        await client.close()
