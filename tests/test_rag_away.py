"""A RAG server that cannot be reached: tried again before anything is sent, and left alone while it is away."""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from app.core.errors import RagError, RagStatusError, RagTimeoutError, RagUnavailableError
from app.services.circuit_breaker import CircuitBreaker
from app.services.rag_client import RagClient
from app.services.rag_transport import AiohttpTransport
from tests.rag import GOOD, FakeRag


class CountingTransport(AiohttpTransport):
    """Our transport, with a count of its requests."""

    requests = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        return await super().handle_async_request(request)


@pytest.fixture
def transport() -> CountingTransport:
    return CountingTransport()


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def ask(client: RagClient, question: str = "hi") -> str:
    return (await client.ask(question, user_id=1, chat_history=[], session_id=1)).text


class TestConnecting:
    async def test_refused_connection_is_tried_three_times_without_a_line_of_the_librarys(
        self, transport: CountingTransport, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        client = RagClient(f"http://127.0.0.1:{closed_port()}", transport=transport)
        caplog.set_level(logging.INFO)
        started = time.perf_counter()
        with pytest.raises(RagUnavailableError, match="Connection failed: "):
            await ask(client)
        # Two waits, of 0.1 s and 0.2 s at least and 0.3 s and 0.4 s at most.
        assert 0.29 < time.perf_counter() - started < 1.2
        assert transport.requests == 3
        assert (caplog.messages, capsys.readouterr().out) == ([], "")
        await client.close()

    async def test_server_that_is_there_at_the_second_try_answers(self) -> None:
        port, late = closed_port(), FakeRag()

        class LateTransport(CountingTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                if self.requests == 1:
                    await late.start(port)
                return await super().handle_async_request(request)

        client = RagClient(f"http://127.0.0.1:{port}", transport=LateTransport())
        assert await ask(client) == GOOD["answer"]
        assert len(late.journal) == late.connections == 1
        await client.close()
        await late.stop()

    async def test_deadline_holds_for_all_tries_together(self, transport: CountingTransport) -> None:
        client = RagClient(f"http://127.0.0.1:{closed_port()}", transport=transport, deadline_seconds=0.05)
        with pytest.raises(RagTimeoutError):
            await ask(client)
        assert transport.requests == 1
        await client.close()

    @pytest.mark.parametrize(
        "fault", ["reset:accept", "reset:head", "reset:body", "junk", "status:503", "status:500", "slow:1"]
    )
    async def test_what_was_sent_is_never_sent_again(
        self, own_rag: FakeRag, transport: CountingTransport, fault: str
    ) -> None:
        client = RagClient(own_rag.url, transport=transport, deadline_seconds=0.5)
        with pytest.raises(RagError):
            await ask(client, fault)
        assert len(own_rag.journal) == own_rag.connections == transport.requests == 1
        await client.close()

    @pytest.mark.parametrize("url", ["http://xn--zzzzzzz9", "http://127.0.0.1:99999", "ftp://127.0.0.1"])
    async def test_address_that_cannot_be_is_not_tried_again(self, transport: CountingTransport, url: str) -> None:
        client = RagClient(url, transport=transport)
        with pytest.raises(RagError):
            await ask(client)
        assert transport.requests <= 1
        await client.close()


class TestAway:
    """The breaker at work; what it counts itself is in test_circuit_breaker.py."""

    @pytest.fixture
    def now(self) -> list[float]:
        return [1000.0]

    @pytest.fixture
    async def client(self, own_rag: FakeRag, now: list[float]) -> AsyncIterator[RagClient]:
        client = RagClient(own_rag.url, breaker=CircuitBreaker(lambda: now[0]), deadline_seconds=0.3)
        yield client
        await client.close()

    async def fail(self, client: RagClient, *questions: str) -> None:
        for question in questions:
            with pytest.raises(RagError):
                await ask(client, question)

    async def test_after_ten_proxy_errors_in_a_row_nobody_is_asked(self, client: RagClient, own_rag: FakeRag) -> None:
        await self.fail(client, *["status:502", "status:503", "status:504"] * 3, "status:503")
        for _ in range(5):
            with pytest.raises(RagUnavailableError, match="the RAG server is away; not asked again before"):
                await ask(client)
        assert len(own_rag.journal) == 10

    @pytest.mark.parametrize("life", ["hi", "status:500", "status:404", "status:429", "status:302", "body:html"])
    async def test_any_other_answer_is_a_sign_of_life(self, client: RagClient, own_rag: FakeRag, life: str) -> None:
        for _ in range(3):
            await self.fail(client, *["status:503"] * 9)
            await (self.fail(client, life) if life != "hi" else ask(client))
        assert await ask(client) == GOOD["answer"]

    async def test_time_outs_resets_and_cancellations_say_nothing(self, client: RagClient, own_rag: FakeRag) -> None:
        await self.fail(client, *["status:503"] * 9)
        await self.fail(client, *["reset:accept", "reset:head", "junk"] * 4, "slow:1")
        asking = asyncio.create_task(ask(client, "slow:1"))
        await own_rag.until_waiting(2)
        asking.cancel()
        await asyncio.wait({asking})
        await self.fail(client, "status:503")
        with pytest.raises(RagUnavailableError, match="not asked again"):
            await ask(client)

    async def test_one_of_twenty_asks_and_its_answer_lets_all_through(
        self, client: RagClient, own_rag: FakeRag, now: list[float]
    ) -> None:
        await self.fail(client, *["status:503"] * 10)
        now[0] += 1.01
        outcomes = await asyncio.gather(*(ask(client) for _ in range(20)), return_exceptions=True)
        assert sum(outcome == GOOD["answer"] for outcome in outcomes) == 1
        assert sum(isinstance(outcome, RagUnavailableError) for outcome in outcomes) == 19
        assert len(own_rag.journal) == 11
        assert await asyncio.gather(*(ask(client) for _ in range(20))) == [GOOD["answer"]] * 20

    async def test_probe_that_hangs_does_not_hold_up_the_next(
        self, client: RagClient, own_rag: FakeRag, now: list[float]
    ) -> None:
        await self.fail(client, *["status:503"] * 10)
        now[0] += 1.01
        hanging = asyncio.create_task(ask(client, "gated:probe"))
        await own_rag.until_streaming("probe")
        now[0] += 1.01
        assert await ask(client) == GOOD["answer"]
        own_rag.release("probe")
        await hanging

    async def test_probe_is_one_connection_and_no_retry(self, now: list[float], transport: CountingTransport) -> None:
        client = RagClient(
            f"http://127.0.0.1:{closed_port()}", transport=transport, breaker=CircuitBreaker(lambda: now[0])
        )
        await self.fail(client, *["hi"] * 6)
        assert transport.requests == 10
        now[0] += 1.01
        with pytest.raises(RagUnavailableError, match="Connection failed"):
            await ask(client)
        assert transport.requests == 11
        await client.close()

    async def test_check_asks_whatever_was_before(self, client: RagClient, own_rag: FakeRag) -> None:
        await self.fail(client, *["status:503"] * 10)
        await client.check()
        assert len(own_rag.journal) == 11
        with pytest.raises(RagUnavailableError):
            await ask(client)

    async def test_proxy_error_keeps_its_name_until_then(self, client: RagClient) -> None:
        with pytest.raises(RagStatusError):
            await ask(client, "status:503")
