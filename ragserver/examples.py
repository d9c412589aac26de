"""The two forms of an answer as OpenAPI describes them, each with an example."""

from typing import Any, Final

from ragserver.contract import ChatResponse, Delta, Metadata, Source
from ragserver.negotiation import EVENTS, JSON
from ragserver.pieces import split
from ragserver.streaming import frame

_SOURCE: Final = Source(
    chunk_id="9f2c41d07be8a655",
    content="리스트는 변경 가능하고 튜플은 변경 불가능합니다.",
    score=0.95,
    document="ko/lists-and-tuples.md",
    heading="리스트와 튜플 > 가장 큰 차이",
)
_ANSWER: Final = ChatResponse(
    answer=f"문서에서 찾은 내용입니다.\n\n**{_SOURCE.heading}**\n\n{_SOURCE.content} [1]",
    sources=[_SOURCE],
    metadata=Metadata(mode="extractive", confidence="high", timings={"retrieve": 1.2, "total": 2.0}),
)
_DESCRIPTION: Final = (
    f"The answer: whole as `{JSON}`, or as `{EVENTS}` where the Accept header names that and does not prefer JSON. "
    "A stream is `delta` events with a piece of the answer each, then one `done` event with what the other form gives; "
    'or, where the answer breaks off, one `error` event with `{"error": "…"}`.'
)


def answered() -> dict[str, Any]:
    """Return what OpenAPI says of a successful response."""
    pieces = [frame(Delta(text=piece)) for piece in split(_ANSWER.answer)]
    stream = b"".join([*pieces, frame(_ANSWER)]).decode()
    content = {
        JSON: {"example": _ANSWER.model_dump()},
        EVENTS: {"schema": {"type": "string"}, "example": stream},
    }
    return {"description": _DESCRIPTION, "content": content}
