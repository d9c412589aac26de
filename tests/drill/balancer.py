"""A round-robin balancer: asks each replica for its readiness, and never sends a request twice by guessing."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress

from tests.drill.wire import HOST, Exchange, LostError, reset

HEALTH_SECONDS = 0.2
HEALTH_TIMEOUT_SECONDS = 2
CHUNK = 64 * 1024
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Balancer:
    """Carries each request to one ready replica, and its response back as it comes."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = list(ports)
        self.ready: set[int] = set()
        self.port = 0
        self.refused = 0
        """Requests that found no replica."""
        self.moved = 0
        """Requests that went on to another replica, because the first did not take them."""
        self._turn = 0
        self._requests: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._checks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Listen, and watch the replicas."""
        self._server = await asyncio.start_server(self._serve, HOST, self.port, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]
        self._checks = [asyncio.create_task(self._watch(port)) for port in self._ports]

    async def close(self) -> None:
        """End everything."""
        if self._server:
            self._server.close()
        tasks = [*self._checks, *self._requests]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, port: int) -> None:
        while True:
            try:
                async with asyncio.timeout(HEALTH_TIMEOUT_SECONDS):
                    check = await (await Exchange.send(port, "GET", "/health/ready")).head()
                    check.close()
                    is_ready = check.status == 200
            except (LostError, TimeoutError):
                is_ready = False
            (self.ready.add if is_ready else self.ready.discard)(port)
            await asyncio.sleep(HEALTH_SECONDS)

    def _order(self) -> list[int]:
        """The ready replicas, the next in turn first; all of them when none is known to be ready."""
        self._turn += 1
        start = self._turn % len(self._ports)
        ports = self._ports[start:] + self._ports[:start]
        return [port for port in ports if port in self.ready] or ports

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._requests.add(task)
        try:
            await self._carry(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            reset(writer)
        finally:
            self._requests.discard(task)
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        request = head + await reader.readexactly(int(length[1]) if length else 0)
        ports = self._order()
        for number, port in enumerate(ports):
            with suppress(ConnectionRefusedError):
                server = await asyncio.open_connection(HOST, port)
                server[1].write(request)
                if await self._answer((reader, writer), server, is_last=number == len(ports) - 1):
                    return
            self.moved += 1
            self.ready.discard(port)
        self.refused += 1
        writer.write(b"HTTP/1.1 503 No replica\r\nContent-Length: 2\r\nX-Balancer: refused\r\n\r\n{}")
        await writer.drain()

    async def _answer(self, client: Streams, server: Streams, *, is_last: bool) -> bool:
        """Carry the response, as long as the client stays; False when the replica refused because it shuts down."""
        gone = asyncio.create_task(_until_gone(client[0]))
        response = asyncio.create_task(_respond(server, client[1], is_last=is_last))
        try:
            await asyncio.wait((gone, response), return_when=asyncio.FIRST_COMPLETED)
            if not response.done():
                (server[1].close if gone.result() else lambda: reset(server[1]))()
                return True
            return response.result()
        finally:
            for task in (gone, response):
                task.cancel()
            await asyncio.gather(gone, response, return_exceptions=True)
            server[1].close()


async def _until_gone(reader: asyncio.StreamReader) -> bool:
    """Return when the client has ended its side: True for a FIN, False for a RST."""
    try:
        while await reader.read(CHUNK):
            pass
    except OSError:
        return False
    return True


async def _respond(server: Streams, client: asyncio.StreamWriter, *, is_last: bool) -> bool:
    head = await server[0].readuntil(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 503") and not is_last:
        body = await server[0].read(CHUNK)
        if b'"shutting_down"' in body:
            return False
        head += body
    client.write(head)
    while data := await server[0].read(CHUNK):
        client.write(data)
        await client.drain()
    return True
