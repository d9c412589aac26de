"""The drill's own network: each way to fail does what it says."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from tests.drill.balancer import Balancer
from tests.drill.pgwire import Messages
from tests.drill.proxy import Proxy
from tests.drill.waiting import until
from tests.drill.wire import HOST, Exchange, LostError


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An HTTP server that knows one answer."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789")
    await writer.drain()
    writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    server = await asyncio.start_server(_answer, HOST, 0)
    proxy = Proxy(server.sockets[0].getsockname()[1])
    await proxy.open()
    yield proxy
    await proxy.close()
    server.close()


async def _ask(proxy: Proxy) -> bytes:
    return await (await (await Exchange.send(proxy.port, "GET", "/")).head()).read()


async def _has_link(proxy: Proxy) -> bool:
    return bool(proxy.links)


class TestProxy:
    async def test_carries(self, proxy: Proxy) -> None:
        assert await _ask(proxy) == b"0123456789"

    async def test_delays(self, proxy: Proxy) -> None:
        proxy.latency = 0.1
        started = time.monotonic()
        await _ask(proxy)
        assert time.monotonic() - started >= 0.2

    async def test_refuses_and_comes_back(self, proxy: Proxy) -> None:
        proxy.refuse()
        with pytest.raises(LostError):
            await _ask(proxy)
        await proxy.restore()
        assert await _ask(proxy) == b"0123456789"

    @pytest.mark.parametrize("number", [0, 10, 45])
    async def test_cuts_after_a_byte(self, proxy: Proxy, number: int) -> None:
        proxy.cut_after = number
        with pytest.raises(LostError):
            await _ask(proxy)
        assert proxy.landed == 1

    async def test_pauses_and_resumes(self, proxy: Proxy) -> None:
        proxy.pause()
        asking = asyncio.create_task(_ask(proxy))
        done, _ = await asyncio.wait([asking], timeout=0.1)
        assert not done
        proxy.resume()
        assert await asking == b"0123456789"

    async def test_swallows(self, proxy: Proxy) -> None:
        proxy.dropping = True
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_ask(proxy), 0.1)

    async def test_throttles(self, proxy: Proxy) -> None:
        proxy.rate = 40  # bytes a second, and the response has 48
        exchange = await Exchange.send(proxy.port, "GET", "/")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(exchange.head(), 0.5)

    @pytest.mark.parametrize("way", [Proxy.reset, Proxy.half_close])
    async def test_breaks_connections(self, proxy: Proxy, way: Callable[[Proxy], None]) -> None:
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        writer.write(b"GET / HTTP/1.1\r\n")
        await until(lambda: _has_link(proxy), seconds=1, what="the proxy has its connection", every=0)
        way(proxy)
        with pytest.raises(ConnectionResetError) if way is Proxy.reset else pytest.raises(asyncio.IncompleteReadError):
            await reader.readexactly(1)
        writer.close()


class TestBalancer:
    async def test_says_so_when_nobody_is_there(self, proxy: Proxy) -> None:
        proxy.refuse()
        balancer = Balancer([proxy.port])
        await balancer.open()
        exchange = await (await Exchange.send(balancer.port, "GET", "/")).head()
        await exchange.read()
        assert (exchange.status, exchange.headers["x-balancer"]) == (503, "refused")
        await balancer.close()


class TestMessages:
    @pytest.mark.parametrize("size", [1, 3, 1000])
    def test_are_cut_wherever_packets_end(self, size: int) -> None:
        startup = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
        query = b"Q" + (12).to_bytes(4, "big") + b"COMMIT;\0"
        data = startup + startup[:4] + (196608).to_bytes(4, "big") + query + query
        messages = Messages(starts_untyped=True)
        found = [found for start in range(0, len(data), size) for found in messages.feed(data[start : start + size])]
        assert [kind for kind, _ in found] == ["ssl", "startup", "Q", "Q"]
        assert found[-1] == ("Q", query)
