"""A TCP proxy for one hop, with the ways in which a network fails."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tests.drill.wire import HOST, reset

CHUNK = 64 * 1024
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class CutError(Exception):
    """A fault says that this connection ends here."""


class Link:
    """One connection through the proxy: what the client sends goes up, what the server sends goes down."""

    def __init__(self, proxy: "Proxy", client: Streams, server: Streams) -> None:
        self.proxy = proxy
        self._client, self._server = client, server
        self._down_left = proxy.cut_after

    async def run(self) -> None:
        """Carry bytes until both sides have ended, or one broke."""
        pumps = [
            asyncio.create_task(self._pump(self._client[0], self._server[1], self.up)),
            asyncio.create_task(self._pump(self._server[0], self._client[1], self.down)),
        ]
        try:
            await asyncio.gather(*pumps)
        except (OSError, CutError):
            self.reset()
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for _, writer in (self._client, self._server):
                writer.close()

    async def up(self, data: bytes) -> bytes:
        """What of the client's bytes goes on to the server."""
        return data

    async def down(self, data: bytes) -> bytes:
        """What of the server's bytes goes on to the client."""
        if self._down_left is None:
            return data
        passed = data[: self._down_left]
        self._down_left -= len(passed)
        if len(passed) < len(data) or self._down_left == 0:
            self._client[1].write(passed)
            self.proxy.landed += 1
            raise CutError
        return passed

    def reset(self) -> None:
        """Break the connection on both sides."""
        for _, writer in (self._client, self._server):
            reset(writer)

    def half_close(self) -> None:
        """Tell the client that the server has ended, and keep taking what it sends."""
        self._client[1].write_eof()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, filtered: Callable[[bytes], Awaitable[bytes]]
    ) -> None:
        proxy = self.proxy
        while data := await reader.read(proxy.rate or CHUNK):
            if proxy.rate:
                await asyncio.sleep(1)
            if proxy.latency:
                await asyncio.sleep(proxy.latency)
            await proxy.flow.wait()
            if not proxy.dropping:
                writer.write(await filtered(data))
                await writer.drain()
        with suppress(OSError):
            writer.write_eof()


class Proxy:
    """Listens on a port of loopback, and carries connections to another one."""

    def __init__(self, target: int, *, link: type[Link] = Link) -> None:
        self.target = target
        self.port = 0
        self.landed = 0
        self.latency = 0.0
        self.rate: int | None = None
        """Bytes a second in each direction, if they are limited."""
        self.cut_after: int | None = None
        """Connections made from now on break after so many bytes of the server's."""
        self.dropping = False
        """A black hole: what comes in vanishes, for good."""
        self.flow = asyncio.Event()
        self.flow.set()
        self._link = link
        self.links: dict[Link, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen; on the same port as before, if there was one."""
        self._server = await asyncio.start_server(self._serve, HOST, self.port, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Listen no more: new connections are refused, those that are there break."""
        if self._server:
            self._server.close()
            self._server = None
        self.reset()

    def pause(self) -> None:
        """Carry nothing until `resume`; bytes wait, as they do in a network that comes back."""
        self.flow.clear()

    def resume(self) -> None:
        """Carry again."""
        self.flow.set()

    async def restore(self) -> None:
        """Carry everything again, as at the beginning."""
        self.latency, self.rate, self.cut_after, self.dropping = 0.0, None, None, False
        self.resume()
        if self._server is None:
            await self.open()

    def reset(self) -> None:
        """Break every connection."""
        self.landed += len(self.links)
        for link in self.links:
            link.reset()

    def half_close(self) -> None:
        """End the server's side of every connection."""
        self.landed += len(self.links)
        for link in self.links:
            link.half_close()

    async def close(self) -> None:
        """End everything."""
        self.refuse()
        tasks = list(self.links.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server = await asyncio.open_connection(HOST, self.target)
        except OSError:
            reset(writer)
            return
        link = self._link(self, (reader, writer), server)
        task = asyncio.current_task()
        assert task is not None
        self.links[link] = task
        try:
            await link.run()
        except asyncio.CancelledError:
            link.reset()  # the proxy closes
        finally:
            del self.links[link]
