"""One connection of the fake model server, and what travels over it."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True)
class Asked:
    """One request; `stage` is "embeddings", "rerank" or "chat"."""

    dialect: str
    stage: str
    headers: dict[str, str]
    body: dict[str, Any]


class Wire:
    """A connection; `asked` counts its requests."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked = 0
        self._reader = reader
        self._writer = writer

    async def next(self) -> Asked:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        self.asked += 1
        _, dialect, *path = first.split(" ")[1].split("/")
        stage = "chat" if path[-1] == "completions" else path[-1]
        return Asked(dialect, stage, headers, json.loads(body))

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def respond(
        self, status: int, body: bytes, media_type: str = "application/json", headers: Iterable[str] = ()
    ) -> None:
        head = [f"HTTP/1.1 {status} X", f"Content-Type: {media_type}", f"Content-Length: {len(body)}", *headers]
        await self.send("\r\n".join([*head, "\r\n"]).encode() + body)

    async def begin_events(self, media_type: str = EVENT_STREAM) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
        await self.send(head.encode())

    async def event(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))
        # The peer runs in this very loop: it reads this packet before the next is written.
        await asyncio.sleep(0)

    async def end_events(self) -> None:
        await self.send(b"0\r\n\r\n")

    def abort(self) -> None:
        """Reset the connection."""
        self._writer.transport.abort()

    def close(self) -> None:
        self._writer.close()

    async def until_gone(self) -> None:
        """Return when the peer has closed the connection."""
        with suppress(ConnectionError):
            await self._reader.read(1)


Fault = Callable[[Asked, Wire, Callable[[], Awaitable[None]]], Awaitable[None]]
