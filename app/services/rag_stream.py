"""The RAG server's answer as a stream of events, handed on while it arrives.

httpx-sse reads the events: it is kept by one of httpx's authors, keeps to the standard's ends of line (httpx's
`iter_lines` also breaks at U+2028 and U+0085, which an answer may hold), and knows all of comments, ids and fields.
It neither bounds nor checks what it reads; `_Text` does, before it.
"""

import asyncio
import codecs
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import httpx
from httpx_sse import EventSource, ServerSentEvent

from app.core.errors import RagNotJsonError, RagResetError, RagShapeError, RagTimeoutError
from app.services.rag_reply import (
    Reply,
    StreamedReply,
    check_size,
    is_blank,
    parse_json,
    read_fields,
    refusal,
    without_nul,
)

logger = logging.getLogger(__name__)

EVENT_STREAM = "text/event-stream"
UNNAMED = "message"
END_MARKER = "[DONE]"
# An event's name, or its `type` when it has no name: many RAG servers write `data: {"type": "token", …}`.
KINDS = {"delta": "delta", "token": "delta", "done": "done", "error": "error"}

OnDelta = Callable[[str], None]


def is_event_stream(response: httpx.Response) -> bool:
    """Whether the answer comes in pieces."""
    media_type: str = response.headers.get("Content-Type", "")
    return media_type.partition(";")[0].strip().lower() == EVENT_STREAM


async def read_stream(response: httpx.Response, on_delta: OnDelta, *, idle_seconds: float) -> Reply:
    """The streamed reply; its answer is, byte for byte, all that `on_delta` got.

    Raises:
        RagError: there is none, whatever was handed on before.
    """
    try:
        # One for the whole stream, put off by every chunk: one for each would be 5 % of a delta's CPU time.
        async with asyncio.timeout(None) as silence:
            text = _Text(response, silence, idle_seconds)
            async with aclosing(EventSource(_CheckedResponse(text)).aiter_sse()) as events:
                return await _read_events(events, _Spoken(on_delta))
    except TimeoutError as exc:
        raise RagTimeoutError(f"Connection timeout: silent for {idle_seconds} s in the stream") from exc


async def _read_events(events: AsyncIterator[ServerSentEvent], spoken: "_Spoken") -> Reply:
    async for event in events:
        kind, data = _read_event(event)
        if kind == "delta":
            spoken.add(_text_of(data))
        elif kind == "error":
            raise refusal("error event", data.get("error"))
        elif kind == "done":
            return _finish(spoken, data)
    raise RagResetError("Connection lost: the stream ended without `done`")


class _CheckedResponse(httpx.Response):
    """The response as httpx-sse reads it: its text, with checks."""

    def __init__(self, text: "_Text") -> None:
        super().__init__(200, headers={"Content-Type": EVENT_STREAM})
        self._checked_text = text

    def aiter_text(self, _chunk_size: int | None = None) -> AsyncIterator[str]:
        return self._checked_text


class _Text(AsyncIterator[str]):
    """The response's text: so many bytes at most, UTF-8 only, and never silent for long once it has begun."""

    def __init__(self, response: httpx.Response, silence: asyncio.Timeout, idle_seconds: float) -> None:
        self._chunks = response.aiter_raw()
        self._loop = asyncio.get_running_loop()
        self._silence = silence
        self._idle_seconds = idle_seconds
        self._size = 0
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._wrong: RagNotJsonError | None = None

    async def __anext__(self) -> str:
        if self._wrong:
            raise self._wrong
        chunk = await anext(self._chunks)
        self._silence.reschedule(self._loop.time() + self._idle_seconds)
        self._size += len(chunk)
        check_size(self._size)
        return self._decode(chunk)

    def _decode(self, chunk: bytes) -> str:
        """The chunk up to its first wrong byte, which is an error only if somebody reads on."""
        try:
            return self._decoder.decode(chunk)
        except UnicodeDecodeError as exc:
            self._wrong = RagNotJsonError(f"not UTF-8: {exc.reason}")
            return exc.object[: exc.start].decode("utf-8-sig")


class _Spoken:
    """What was handed on."""

    def __init__(self, on_delta: OnDelta) -> None:
        self._on_delta = on_delta
        self._pieces: list[str] = []

    def add(self, text: str) -> None:
        if text:
            piece = without_nul(text)
            self._pieces.append(piece)
            self._on_delta(piece)

    @property
    def text(self) -> str:
        return "".join(self._pieces)


def _read_event(event: ServerSentEvent) -> tuple[str | None, dict[str, object]]:
    """The event's kind, or None for one to skip, and its data."""
    known = event.event == UNNAMED or event.event in KINDS
    if not known or not event.data.strip() or event.data.strip() == END_MARKER:
        return None, {}
    data = parse_json(event.data)
    if not isinstance(data, dict):
        raise RagShapeError("an event's data is no object")
    return KINDS.get(event.event) or KINDS.get(str(data.get("type"))), data


def _text_of(delta: dict[str, object]) -> str:
    text = delta.get("text", delta.get("content"))
    if not isinstance(text, str):
        raise RagShapeError("a delta's text is missing or no string")
    return text


def _finish(spoken: _Spoken, data: dict[str, object]) -> Reply:
    """The closing reply. What was streamed has been read already, so it is the answer; more of it may follow."""
    reply = read_fields(StreamedReply, data)
    streamed, final = spoken.text, without_nul(reply.answer or "")
    if is_blank(streamed) and is_blank(final):
        raise RagShapeError("the answer is missing or blank")
    if final.startswith(streamed):
        spoken.add(final[len(streamed) :])
    elif final and final.strip() != streamed.strip():
        logger.warning("The RAG server's closing answer differs from what it streamed, which stays")
    return reply.model_copy(update={"answer": spoken.text})
