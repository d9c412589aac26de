"""The one producer of a turn's events, whatever carries them to the client: server-sent events or a WebSocket."""

import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from app.core.errors import FieldProblem, InvalidRequestError, ShuttingDownError, TurnInterruptedError
from app.models import TurnStatus
from app.schemas.stream import AnswerMetadata, Chunk, SourceUrlChunk, StartMetadata
from app.services.turn_view import TurnEnd, TurnView

HEARTBEAT_SECONDS = 10
MAX_DELTA_CHARS = 4096
TEXT_ID = "answer"
EVENT_ID = re.compile(r"(?P<turn>[0-9]{1,19}):(?P<position>[0-9]{1,10})(:(?P<attempt>[0-9]{1,9}))?")


class Signal(Enum):
    """What a stream says beside its chunks."""

    HEARTBEAT = "the turn goes on"
    RECONNECT = "the turn goes on, this process does not"


class Event(NamedTuple):
    """One chunk, with the place in the answer up to which a client that has it can resume."""

    id: str
    chunk: Chunk | None
    """None in the last event: nothing comes behind it."""


async def events_of(view: TurnView, *, offset: int = 0, language: str = "") -> AsyncGenerator[Event | Signal]:
    """The turn from a code point of its answer on, until it ends or the client must go elsewhere."""
    position = offset
    with view.watched():
        for chunk in _opening(view, offset):
            yield Event(event_id(view, offset), chunk)
        while True:
            while piece := view.text(position, MAX_DELTA_CHARS):
                position += len(piece)
                yield Event(event_id(view, position), {"type": "text-delta", "id": TEXT_ID, "delta": piece})
            if view.end or view.departure:
                break
            if not await view.wait(HEARTBEAT_SECONDS):
                yield Signal.HEARTBEAT
        if view.end is None and isinstance(view.departure, ShuttingDownError):
            yield Signal.RECONNECT
            return
        for chunk in _ending(view, language):
            yield Event(event_id(view, position), chunk)
        yield Event(event_id(view, position), None)


def event_id(view: TurnView, position: int) -> str:
    """Names a place in the answer; attempts after the first are named too, for theirs is another text."""
    number = view.attempt.number
    return f"{view.turn_id}:{position}" if number == 1 else f"{view.turn_id}:{position}:{number}"


def offset_of(last_event_id: str, view: TurnView) -> int:
    """Where a client goes on that has everything up to this event: at 0 when another attempt has begun.

    Raises:
        InvalidRequestError: it is not an id of this turn's events.
    """
    match = EVENT_ID.fullmatch(last_event_id)
    if match is None or int(match["turn"]) != view.turn_id:
        raise InvalidRequestError([FieldProblem("Last-Event-ID", "is not the id of an event of this turn")])
    # Behind the end of what is stored, too: an interrupted turn may have kept less than its viewers saw.
    return int(match["position"]) if int(match["attempt"] or 1) == view.attempt.number else 0


def _opening(view: TurnView, offset: int) -> Iterator[Chunk]:
    about: StartMetadata = {
        "session_id": view.session_id,
        "turn_id": view.turn_id,
        "question_id": view.question_id,
        "attempt": view.attempt.number,
        "offset": offset,
    }
    yield {"type": "start", "messageId": f"turn-{view.turn_id}", "messageMetadata": about}
    yield {"type": "text-start", "id": TEXT_ID}


def _ending(view: TurnView, language: str) -> Iterator[Chunk]:
    end = view.end
    yield {"type": "text-end", "id": TEXT_ID}
    if end is not None and end.message_id is not None:
        yield from _answer(view, end, end.message_id)
    if end is not None and end.status is TurnStatus.CANCELLED:
        yield {"type": "abort"}
    elif end is None or end.message_id is None:
        error = (end.error if end else view.departure) or TurnInterruptedError()
        text = error.text.for_language(language)
        yield {"type": "data-error", "data": {"code": error.code, "text": text, "retryable": error.retryable}}
        yield {"type": "error", "errorText": text}
    else:
        yield {"type": "finish"}


def _answer(view: TurnView, end: TurnEnd, message_id: int) -> Iterator[Chunk]:
    if end.status is TurnStatus.COMPLETED:
        yield {"type": "data-sources", "data": list(end.sources)}
        yield from _links(end.sources)
    about: AnswerMetadata = {
        "session_id": view.session_id,
        "turn_id": view.turn_id,
        "question_id": view.question_id,
        "message_id": message_id,
        "metadata": dict(end.details),
    }
    yield {"type": "message-metadata", "messageMetadata": about}


def _links(sources: Sequence[Mapping[str, Any]]) -> Iterator[SourceUrlChunk]:
    for number, source in enumerate(sources, start=1):
        url, title = source.get("url"), source.get("title")
        # Front ends make links of these: nothing that runs when it is clicked.
        if isinstance(url, str) and url.lower().startswith(("http://", "https://")):
            chunk: SourceUrlChunk = {
                "type": "source-url",
                "sourceId": str(source.get("chunk_id") or number),
                "url": url,
            }
            yield {**chunk, "title": title} if isinstance(title, str) and title else chunk
