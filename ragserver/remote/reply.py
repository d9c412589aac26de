"""A model server's reply while it arrives: so many bytes at most, UTF-8 only, never silent for long."""

import asyncio
import codecs
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

import httpx
from httpx_sse import EventSource, ServerSentEvent

EVENT_STREAM: Final = "text/event-stream"
_MOST_BYTES: Final = 32 * 1024 * 1024  # 256 vectors of 4096 numbers are about 24 MiB of JSON


class UnreadableError(Exception):
    """A reply is larger than is read."""


class Reply:
    """The reply of a server that accepted a request, to be read once: whole or event by event.

    Its first piece is due at the deadline, and each event after it within `patience_s` of being asked for.
    """

    def __init__(self, response: httpx.Response, deadline: float, patience_s: float) -> None:
        self.patience_s = patience_s
        self._response = response
        self._deadline = deadline

    @property
    def media_type(self) -> str:
        """What the server says it sends, without parameters."""
        media_type: str = self._response.headers.get("Content-Type", "")
        return media_type.partition(";")[0].strip().lower()

    async def read(self) -> bytes:
        """Return all of it.

        Raises:
            TimeoutError: it is not there at the deadline.
            UnreadableError: it is too large.
            httpx.HTTPError: it broke off.
        """
        async with asyncio.timeout_at(self._deadline):
            return b"".join([chunk async for chunk in bounded(self._response)])

    async def events(self) -> AsyncGenerator[ServerSentEvent, None]:
        """Yield its events.

        Comments are none: a server that only says that it is alive is silent.

        Raises:
            TimeoutError: the next one is late.
            UnicodeDecodeError: it is not UTF-8.
            UnreadableError: it is too large.
            httpx.HTTPError: it broke off.
        """
        loop = asyncio.get_running_loop()
        async with aclosing(EventSource(_CheckedResponse(self._response)).aiter_sse()) as events:
            while True:
                async with asyncio.timeout_at(self._deadline):
                    event = await anext(events, None)
                if event is None:
                    return
                yield event
                # Counted from here: what the caller did with the event before is not the server's silence.
                self._deadline = loop.time() + self.patience_s


class _CheckedResponse(httpx.Response):
    """The response as httpx-sse reads it, which itself neither bounds a line nor minds wrong bytes."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(200, headers={"Content-Type": EVENT_STREAM})
        self._checked = response

    def aiter_text(self, _chunk_size: int | None = None) -> AsyncIterator[str]:
        return _text(self._checked)


async def _text(response: httpx.Response) -> AsyncIterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    async for chunk in bounded(response):
        if text := decoder.decode(chunk):
            yield text


async def bounded(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the body of a response as it arrives.

    Raises:
        UnreadableError: it is too large.
        httpx.HTTPError: it broke off.
    """
    size = 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > _MOST_BYTES:
            raise UnreadableError(f"more than {_MOST_BYTES} bytes")
        yield chunk
