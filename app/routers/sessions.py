"""Chat sessions: list, read, rename, delete."""

import logging
from typing import cast

from fastapi import APIRouter

from app.core import texts
from app.core.errors import (
    BodyTooLargeError,
    DatabaseUnavailableError,
    InvalidRequestError,
    NotAuthenticatedError,
    NotFoundError,
    UnsupportedMediaTypeError,
)
from app.dependencies import CurrentUser, Language, MessagesDep, PageDep, SessionsDep, TurnsDep
from app.routers.json_route import JsonRoute
from app.routers.turn_read import turn_read
from app.schemas.base import Done, PageOf, PathId, Success
from app.schemas.errors import errors
from app.schemas.sessions import MessageRead, SessionDetailRead, SessionRead, SessionSummaryRead, SessionUpdate

router = APIRouter(
    route_class=JsonRoute,
    prefix="/api/v1/chatbot/sessions",
    tags=["sessions"],
    responses=errors(NotAuthenticatedError, InvalidRequestError, DatabaseUnavailableError),
)
logger = logging.getLogger(__name__)


@router.get("/", summary="List your sessions")
async def list_sessions(user: CurrentUser, sessions: SessionsDep, page: PageDep) -> PageOf[SessionSummaryRead]:
    """Most recently updated first; all of them, or a page when `limit` is given."""
    found = await sessions.list_page(user.id, page)
    return PageOf[SessionSummaryRead](data=found.items, next_cursor=found.next_cursor)


@router.get("/{session_id}/", summary="Read a session", responses=errors(NotFoundError))
async def read_session(  # noqa: PLR0913, PLR0917 - what it shows comes from that many tables
    session_id: PathId,
    user: CurrentUser,
    sessions: SessionsDep,
    messages: MessagesDep,
    turns: TurnsDep,
    language: Language,
) -> Success[SessionDetailRead]:
    """The whole conversation, oldest message first."""
    session = await sessions.get(session_id, user_id=user.id)
    if session is None:
        raise NotFoundError
    # The turns first: should one end in between, its answer is among the messages.
    open_turns = [turn_read(turn, language) for turn in await turns.list_open(session_id)]
    rows = await messages.list_for(session_id)
    detail = SessionDetailRead.model_construct(  # of what the database holds already: nothing to validate
        None,
        id=session.id,
        title=session.title,
        messages=cast("list[MessageRead]", rows),
        message_count=len(rows),
        active_turn=next((turn for turn in open_turns if turn.status == "running"), None),
        retryable_turns=[turn for turn in open_turns if turn.status != "running"],
        created_at=session.created_at,
        updated_at=session.updated_at,
    )
    return Success[SessionDetailRead](data=detail)


@router.patch(
    "/{session_id}/",
    summary="Rename a session",
    responses=errors(NotFoundError, BodyTooLargeError, UnsupportedMediaTypeError),
)
async def rename_session(
    session_id: PathId, body: SessionUpdate, user: CurrentUser, sessions: SessionsDep
) -> Success[SessionRead]:
    """Give a session another title. It keeps its place in the list."""
    session = await sessions.rename(session_id, user_id=user.id, title=body.title)
    if session is None:
        raise NotFoundError
    return Success[SessionRead](data=SessionRead.model_validate(session))


@router.delete("/{session_id}/delete/", summary="Delete a session", responses=errors(NotFoundError))
async def delete_session(session_id: PathId, user: CurrentUser, sessions: SessionsDep, language: Language) -> Done:
    """Delete a session with its messages. Bookmarks made from it stay."""
    if not await sessions.delete(session_id, user_id=user.id):
        raise NotFoundError
    logger.info("[Session] Deleted: session_id=%s, user=%s", session_id, user.id)
    return Done(message=texts.session_deleted.for_language(language))
