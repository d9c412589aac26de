"""A turn's events as server-sent events.

FastAPI's own response for these puts two task groups and a queue around every stream; ours writes what it is given.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

from fastapi.responses import StreamingResponse
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from app.core.errors import AppError
from app.schemas.errors import errors
from app.schemas.stream import StreamEvent
from app.services.turn_stream import Event, Signal

SIGNALS = {
    Signal.HEARTBEAT: b": the turn goes on\n\n",
    Signal.RECONNECT: b"retry: 500\n\n",
}
STREAM_HEADER = "x-vercel-ai-ui-message-stream"
HEADERS = {
    STREAM_HEADER: "v1",
    "X-Accel-Buffering": "no",  # nginx would collect the answer before it passes any of it on
}
EXAMPLE = """id: 5:0
data: {"type":"start","messageId":"turn-5","messageMetadata":{"session_id":123,"turn_id":5,"question_id":455, …}}

id: 5:0
data: {"type":"text-start","id":"answer"}

id: 5:9
data: {"type":"text-delta","id":"answer","delta":"리스트(list)"}
"""
STREAM_RESPONSE: dict[str, Any] = {
    "model": StreamEvent,
    "headers": {
        STREAM_HEADER: {"description": "The version of the format.", "schema": {"type": "string", "example": "v1"}}
    },
    "content": {"text/event-stream": {"example": EXAMPLE}},
    "description": "Server-sent events: each has an `id`, `<turn>:<code points>[:<attempt>]`, to resume behind it, and "
    "one of these as its `data`; the last one's data is `[DONE]`. A comment comes every 10 s when nothing else does. "
    "Failures end in `data-error` and `error`, a stop in `abort`. A stream that ends without `[DONE]` broke off: join "
    "it again with `Last-Event-ID`.",
}


def stream_errors(*kinds: type[AppError]) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of failures before the first event, which are JSON though the rest is not."""
    responses = errors(*kinds)
    for response in responses.values():
        model = response.pop("model")  # FastAPI would put it under the stream's media type
        response["content"]["application/json"]["schema"] = {"$ref": f"#/components/schemas/{model.__name__}"}
    return responses


class EventStream(StreamingResponse):
    """Server-sent events, sent as they come."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[Event | Signal], headers: dict[str, str] | None = None) -> None:
        super().__init__(_encode(events), headers={**HEADERS, **(headers or {})})

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Write until the events end or the client leaves."""
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as writing:
                leaving = asyncio.create_task(self._watch(receive, writing))
                try:
                    await self.stream_response(send)
                finally:
                    leaving.cancel()

    async def _watch(self, receive: Receive, writing: asyncio.Timeout) -> None:
        await self.listen_for_disconnect(receive)
        writing.reschedule(0)


async def _encode(events: AsyncGenerator[Event | Signal]) -> AsyncIterator[bytes]:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Signal):
                yield SIGNALS[event]
            else:
                data = to_json(event.chunk) if event.chunk else b"[DONE]"
                yield b"id: %s\ndata: %s\n\n" % (event.id.encode(), data)
