"""Every way in which a model's server goes wrong, to be set as `server.faults[stage]`."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from tests.ragserver.models.dialects import chunk
from tests.ragserver.models.wire import Asked, Fault, Wire

Good = Callable[[], Awaitable[None]]
HTML = "<html><body>504 Gateway Time-out</body></html>"


def status(code: int, payload: object = None, *headers: str) -> Fault:
    """An error with a status, and a body if there is one."""
    return body(
        json.dumps(payload) if payload else HTML, "application/json" if payload else "text/html", code, *headers
    )


def body(content: str | bytes, media_type: str = "application/json", code: int = 200, *headers: str) -> Fault:
    """A whole answer, as it is."""

    async def play(_asked: Asked, wire: Wire, _good: Good) -> None:
        await wire.respond(code, content.encode() if isinstance(content, str) else content, media_type, headers)

    return play


def raw(content: bytes, then: Literal["close", "reset", "hang"] = "close") -> Fault:
    """Bytes as they are, in place of an answer."""

    async def play(_asked: Asked, wire: Wire, _good: Good) -> None:
        await wire.send(content)
        if then == "hang":
            await wire.until_gone()
        elif then == "reset":
            wire.abort()
        wire.close()
        raise ConnectionResetError

    return play


def events(*data: bytes, then: Literal["end", "hang", "cut"] = "end") -> Fault:
    """A stream of these events."""

    async def play(_asked: Asked, wire: Wire, _good: Good) -> None:
        await wire.begin_events()
        for one in data:
            await wire.event(one)
        if then == "end":
            await wire.end_events()
            return
        if then == "hang":
            await wire.until_gone()
        wire.close()
        raise ConnectionResetError

    return play


def dripping(head: bytes, drop: bytes) -> Fault:
    """Drops after the head, without an end."""

    async def play(_asked: Asked, wire: Wire, _good: Good) -> None:
        await wire.send(head)
        while True:
            await wire.send(drop)
            await asyncio.sleep(0.01)

    return play


def dripping_events(drop: bytes) -> Fault:
    """A stream that goes on and on without an event."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return dripping(head, b"%x\r\n%b\r\n" % (len(drop), drop))


def slow_events(*data: bytes, pause_s: float) -> Fault:
    """A stream that takes its time for each event."""

    async def play(_asked: Asked, wire: Wire, _good: Good) -> None:
        await wire.begin_events()
        for one in data:
            await asyncio.sleep(pause_s)
            await wire.event(one)
        await wire.end_events()

    return play


def first(number: int, fault: Fault) -> Fault:
    """The fault for so many requests; then all is well."""
    return _turning(number, fault, _well)


def after(number: int, fault: Fault) -> Fault:
    """All is well for so many requests; then the fault."""
    return _turning(number, _well, fault)


async def _well(_asked: Asked, _wire: Wire, good: Good) -> None:
    await good()


def _turning(number: int, early: Fault, late: Fault) -> Fault:
    left = number

    async def play(asked: Asked, wire: Wire, good: Good) -> None:
        nonlocal left
        left -= 1
        await (early if left >= 0 else late)(asked, wire, good)

    return play


class Gate:
    """A language model that says a piece, and goes on when it is released; `left` is set when nobody waits for it."""

    def __init__(self, before: str = "before ", after: str = "after") -> None:
        self.reached = asyncio.Event()
        self.left = asyncio.Event()
        self._released = asyncio.Event()
        self._before = before
        self._after = after

    def release(self) -> None:
        self._released.set()

    async def __call__(self, _asked: Asked, wire: Wire, _good: Good) -> None:
        await wire.begin_events()
        await wire.event(chunk({"content": self._before}))
        self.reached.set()
        released = asyncio.create_task(self._released.wait())
        gone = asyncio.create_task(wire.until_gone())
        await asyncio.wait({released, gone}, return_when=asyncio.FIRST_COMPLETED)
        released.cancel()
        # Before the connection is read again, this reader must have let go of it.
        if not gone.cancel():
            self.left.set()
            raise ConnectionResetError
        await asyncio.wait({gone})
        await wire.event(chunk({"content": self._after}, finish_reason="stop") + b"data: [DONE]\n\n")
        await wire.end_events()


async def silent(_asked: Asked, wire: Wire, _good: Good) -> None:
    """Takes the question and never answers."""
    await wire.until_gone()
    raise ConnectionResetError


async def closes_when_idle(_asked: Asked, wire: Wire, good: Good) -> None:
    """Has closed the connection just when the second question on it was sent."""
    if wire.asked > 1:
        wire.abort()
        raise ConnectionResetError
    await good()


async def endless(_asked: Asked, wire: Wire, _good: Good) -> None:
    """Talks until nobody listens."""
    await wire.begin_events()
    while True:
        await wire.event(chunk({"content": "blah " * 1000}))


def reply(payload: Any) -> Fault:  # noqa: ANN401 - any JSON
    """A whole answer of this JSON."""
    return body(json.dumps(payload))


RESET = raw(b"", then="reset")
