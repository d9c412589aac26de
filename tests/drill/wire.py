"""One HTTP request over a connection of its own, which a drill can break exactly where it wants."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Self

HOST = "127.0.0.1"
SMALL_SEGMENT = 536
LINGER_ZERO = struct.pack("ii", 1, 0)


class LostError(ConnectionError):
    """The connection ended before the response did."""


class Exchange:
    """A request that was sent, and its response as it comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.status = 0
        self.headers: dict[str, str] = {}

    @classmethod
    async def send(
        cls,
        port: int,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        receive_buffer: int | None = None,
    ) -> Self:
        """Connect and send; the response is still to come."""
        reader, writer = await _connect(port, receive_buffer)
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}:{port}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode() + content)
            await writer.drain()
        except OSError as exc:
            writer.transport.abort()
            raise LostError(str(exc)) from exc
        return cls(reader, writer)

    async def head(self) -> Self:
        """Return when status and headers are there."""
        with self._whole("no response"):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return self

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body in the pieces in which it came."""
        with self._whole("the response broke off"):
            if "chunked" in self.headers.get("transfer-encoding", ""):
                while size := int(await self._reader.readuntil(b"\r\n"), 16):
                    yield (await self._reader.readexactly(size + 2))[:-2]
            else:
                yield await self._reader.readexactly(int(self.headers.get("content-length", 0)))
        self.close()

    @contextmanager
    def _whole(self, problem: str) -> Iterator[None]:
        """Whatever ends the block early, be it a time-out, leaves no open connection behind."""
        try:
            yield
        except (asyncio.IncompleteReadError, OSError, ValueError) as exc:
            self.reset()
            raise LostError(problem) from exc
        except BaseException:
            if not self._writer.is_closing():
                self.reset()
            raise

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([chunk async for chunk in self.chunks()])

    async def json(self) -> dict[str, Any]:
        """The whole body, as the object that it is."""
        content: dict[str, Any] = json.loads(await self.read())
        return content

    async def trickle(self, rate: int) -> None:
        """Read so many bytes a second, of whatever comes, until the connection ends; none at all when it is 0."""
        with suppress(OSError):
            while rate:
                if not await self._reader.read(rate):
                    return
                await asyncio.sleep(1)

    def reset(self) -> None:
        """Break the connection: the other side gets a RST."""
        reset(self._writer)

    def close(self) -> None:
        """Hang up: the other side gets a FIN."""
        self._writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a RST: linger 0, and what is still unsent is thrown away."""
    if not writer.transport.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
    writer.transport.abort()


async def _connect(port: int, receive_buffer: int | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        if receive_buffer is None:
            return await asyncio.open_connection(HOST, port)
        narrow = socket.socket()
        narrow.setblocking(False)  # noqa: FBT003 - the socket module's own signature
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        # Loopback's segments of 64 kB let the server's kernel take megabytes for somebody who reads nothing.
        narrow.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_SEGMENT)
        await asyncio.get_running_loop().sock_connect(narrow, (HOST, port))
        return await asyncio.open_connection(sock=narrow, limit=receive_buffer)
    except OSError as exc:
        raise LostError(str(exc)) from exc
