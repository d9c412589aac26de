"""The two forms of an answer as OpenAPI describes them, each with an example."""

from typing import Any, Final

from ragserver.contract import Begun, ChatResponse, Delta, Event, Metadata, Source
from ragserver.negotiation import EVENTS, JSON
from ragserver.pieces import split
from ragserver.streaming import frame

_SOURCE: Final = Source(
    chunk_id="9f2c41d07be8a655",
    content="리스트는 변경 가능하고 튜플은 변경 불가능합니다.",
    score=0.95,
    document="ko/lists-and-tuples.md",
    heading="리스트와 튜플 > 리스트(list)와 튜플(tuple)의 차이",
)
_ANSWER: Final = ChatResponse(
    answer="리스트는 만든 뒤에도 바꿀 수 있지만 튜플은 바꿀 수 없습니다 [1]. 바뀌면 안 되는 값은 튜플에 담습니다 [1].",
    sources=[_SOURCE],
    metadata=Metadata(
        mode="generated",
        confidence="high",
        model="gpt-4.1",
        timings={"embed": 0.4, "retrieve": 1.2, "rerank": 0.1, "filter": 0.5, "answer": 1840.0, "total": 1842.3},
    ),
)
_DESCRIPTION: Final = (
    f"The answer: whole as `{JSON}`, or as `{EVENTS}` where the Accept header names that and does not prefer JSON. "
    "A stream begins with a comment once the passages are found. "
    "Then it is `delta` events with a piece of the answer each, and one `done` event with what the other form gives; "
    'or, where the answer breaks off, one `error` event with `{"error": "…"}`.'
)


def answered() -> dict[str, Any]:
    """Return what OpenAPI says of a successful response."""
    events: list[Event] = [Begun(), *(Delta(text=piece) for piece in split(_ANSWER.answer)), _ANSWER]
    stream = b"".join(map(frame, events)).decode()
    content = {
        JSON: {"example": _ANSWER.model_dump()},
        EVENTS: {"schema": {"type": "string"}, "example": stream},
    }
    return {"description": _DESCRIPTION, "content": content}
