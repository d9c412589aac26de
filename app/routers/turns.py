"""Turns: look at one, join its stream, stop it, retry it."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from app.core.errors import (
    DatabaseUnavailableError,
    InvalidRequestError,
    NotAuthenticatedError,
    NotFoundError,
    OverloadedError,
    ShuttingDownError,
    TurnInProgressError,
)
from app.dependencies import CallerId, ChatDep, Language, LastEventId, PrefersStream
from app.routers.event_stream import STREAM_RESPONSE, EventStream, stream_errors
from app.routers.json_route import JsonRoute
from app.routers.turn_read import turn_read
from app.schemas.base import PathId, Success
from app.schemas.errors import errors
from app.schemas.turns import TurnAccepted, TurnRead
from app.services.turn_stream import events_of, offset_of
from app.services.turn_view import TurnView

PREFIX = "/api/v1/chatbot/turns"
LOCATION_HEADER: dict[str, Any] = {
    "Location": {"description": "The turn's address.", "schema": {"type": "string", "example": f"{PREFIX}/5/"}}
}

router = APIRouter(
    route_class=JsonRoute,
    prefix=PREFIX,
    tags=["turns"],
)
READING_ERRORS = (NotAuthenticatedError, NotFoundError, InvalidRequestError, DatabaseUnavailableError)


@router.get("/{turn_id}/", summary="Read a turn", responses=errors(*READING_ERRORS))
async def read_turn(turn_id: PathId, caller_id: CallerId, chat: ChatDep, language: Language) -> Success[TurnRead]:
    """Where the turn stands, with its answer or how far it came."""
    return Success[TurnRead](data=turn_read(await chat.get(turn_id, user_id=caller_id), language))


@router.get(
    "/{turn_id}/stream/",
    summary="Join a turn's stream, or go on where it broke off",
    status_code=200,
    response_class=EventStream,
    responses={200: STREAM_RESPONSE, **stream_errors(*READING_ERRORS)},
)
async def stream_turn(
    turn_id: PathId, caller_id: CallerId, chat: ChatDep, last_event_id: LastEventId, language: Language
) -> EventStream:
    """The turn's events from the start, or from behind `Last-Event-ID`; a turn that is over is replayed.

    Any replica can be asked, also one that never saw the turn. Every stream begins with `start`, whose `offset` says
    how many code points of the answer were skipped: 0 as well when another attempt has begun, whose text is another.
    """
    view = await chat.watch(turn_id, user_id=caller_id)
    offset = offset_of(last_event_id, view) if last_event_id else 0
    return EventStream(events_of(view, offset=offset, language=language))


@router.post("/{turn_id}/stop/", summary="Stop a turn", responses=errors(*READING_ERRORS, ShuttingDownError))
async def stop_turn(turn_id: PathId, caller_id: CallerId, chat: ChatDep, language: Language) -> Success[TurnRead]:
    """Stop the answer and keep what there is of it. The turn that you get is over: `cancelled`, or ended before."""
    return Success[TurnRead](data=turn_read(await chat.stop(turn_id, user_id=caller_id), language))


@router.post(
    "/{turn_id}/retry/",
    summary="Retry a turn",
    status_code=202,
    response_model=TurnAccepted,
    responses={
        200: {
            "model": Success[TurnRead],
            "description": "It was completed already, and nothing was started; or the stream that was asked for.",
        },
        202: {"headers": LOCATION_HEADER},
        **errors(*READING_ERRORS, TurnInProgressError, OverloadedError, ShuttingDownError),
    },
)
async def retry_turn(
    turn_id: PathId, caller_id: CallerId, chat: ChatDep, language: Language, prefers_stream: PrefersStream
) -> Response:
    """Try again to answer a question that got no answer, or only a stopped one. It is not stored a second time.

    With `Accept: text/event-stream` the answer comes as a stream, as from `POST chat/stream/`.
    """
    opened = await chat.retry(turn_id, user_id=caller_id)
    if prefers_stream:
        return EventStream(events_of(opened.view, language=language))
    if opened.is_replay:
        turn = Success[TurnRead](data=turn_read(await chat.get(turn_id, user_id=caller_id), language))
        return Response(turn.model_dump_json(), media_type="application/json")
    return accepted(opened.view)


def accepted(view: TurnView) -> Response:
    """202 for a turn whose answer is being made."""
    body = TurnAccepted(session_id=view.session_id, turn_id=view.turn_id)
    return JSONResponse(body.model_dump(), 202, headers={"Location": f"{PREFIX}/{view.turn_id}/"})
