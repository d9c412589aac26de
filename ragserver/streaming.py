"""The answer as server-sent events, while it is being written."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, Self

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ragserver.contract import Begun, BrokenOff, ChatResponse, Delta, Event
from ragserver.negotiation import EVENTS
from ragserver.remote.endpoint import RemoteError

_logger = logging.getLogger(__name__)
_HEADERS: Final = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # the latter: nginx passes on at once
_NAMES: Final[dict[type, str]] = {Delta: "delta", ChatResponse: "done", BrokenOff: "error"}


class EventStream(StreamingResponse):
    """An answer event by event; what writes it ends when the client leaves."""

    media_type = EVENTS

    def __init__(self, first: Event, rest: AsyncGenerator[Event, None]) -> None:
        super().__init__(_frames(first, rest), headers=_HEADERS)
        self._rest = rest

    @classmethod
    async def begin(cls, events: AsyncGenerator[Event, None]) -> Self:
        """Return the response once its first event is there; what fails before is still a plain error."""
        return cls(await anext(events), events)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, then close what it came from, which else would wait for the garbage collector."""
        async with aclosing(self._rest):
            await super().__call__(scope, receive, send)


def frame(event: Event | BrokenOff) -> bytes:
    """Return an event as it travels; its JSON has no line ends. That it begins is a comment, which clients skip."""
    if isinstance(event, Begun):
        return b": found\n\n"
    return f"event: {_NAMES[type(event)]}\ndata: {event.model_dump_json()}\n\n".encode()


async def _frames(first: Event, rest: AsyncGenerator[Event, None]) -> AsyncGenerator[bytes, None]:
    try:
        yield frame(first)
        async for event in rest:
            await asyncio.sleep(0)  # others have their turn, and a client that left is noticed
            yield frame(event)
    except RemoteError as exc:
        _logger.warning("An answer broke off: %s", exc)  # without what it came from, which may hold what was said
        yield frame(BrokenOff(error="The answer broke off."))
    except Exception:
        _logger.exception("An answer broke off")
        yield frame(BrokenOff(error="The answer broke off."))
