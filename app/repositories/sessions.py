"""SQL on the chat_sessions table."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import NamedTuple, cast

from sqlalchemy import ColumnElement, Select, Table, and_, bindparam, delete, func, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import NotAuthenticatedError
from app.core.pagination import Cursor, Page, PageRequest
from app.models import ChatSession, Message, MessageRole, User
from app.models.base import UtcDateTime, utcnow

LAST_MOMENT = datetime.max.replace(tzinfo=UTC)


class LastMessage(NamedTuple):
    """The newest message of a session."""

    role: MessageRole
    content: str
    created_at: datetime


class SessionSummary(NamedTuple):
    """One line of the session list."""

    id: int
    title: str
    message_count: int
    last_message: LastMessage | None
    created_at: datetime
    updated_at: datetime


class Opening(NamedTuple):
    """What a new question needs to know of its user and session."""

    is_active: bool
    recent: Sequence[tuple[MessageRole, str]]
    """Role and content of the newest messages, oldest first."""


class ChatSessionRepository:
    """Reads and writes one user's sessions within one transaction; somebody else's session is a missing one."""

    def __init__(self, db: AsyncSession) -> None:
        self._db = db

    async def get(self, session_id: int, *, user_id: int) -> ChatSession | None:
        """The session."""
        return await self._db.scalar(select(ChatSession).where(_owned(session_id, user_id)))

    async def get_opening(self, session_id: int | None, *, user_id: int, messages: int) -> Opening | None:
        """The user's state and the newest messages of their session; None when there is no such user."""
        values = {"session_id": session_id, "user_id": user_id, "messages": messages}
        rows = (await self._db.execute(_OPENING, values)).all()
        recent = [(role, content) for _, role, content in reversed(rows) if role is not None]
        return Opening(rows[0].is_active, recent) if rows else None

    async def list_page(self, user_id: int, page: PageRequest) -> Page[SessionSummary]:
        """The user's sessions, most recently updated first, in one statement whatever their number."""
        after = page.cursor or Cursor(LAST_MOMENT, 0)
        values = {"user_id": user_id, "limit": page.fetch, "after_time": after.at, "after_id": after.id}
        rows = (await self._db.execute(_list_statement(limited=page.limit is not None), values)).all()
        summaries = [
            SessionSummary(session_id, title, count, LastMessage(role, content, at) if role else None, begun, updated)
            for session_id, title, count, role, content, at, begun, updated in rows
        ]
        return Page.cut(summaries, page, lambda summary: Cursor(summary.updated_at, summary.id))

    async def add(self, user_id: int, title: str) -> int:
        """Start a session; returns its id.

        Raises:
            NotAuthenticatedError: the user was deleted meanwhile.
        """
        try:
            return int((await self._db.execute(_INSERT, {"user_id": user_id, "title": title})).scalar_one())
        except IntegrityError as exc:
            raise NotAuthenticatedError("the user is gone") from exc

    async def touch(self, session_id: int, *, user_id: int) -> bool:
        """Move the session to the top of its owner's list and hold it until the transaction ends.

        False when there is none; when there is, a message can be added without a deletion coming between.
        """
        touched = await self._db.execute(_TOUCH, {"touched_id": session_id, "owner_id": user_id})
        return touched.scalar_one_or_none() is not None

    async def rename(self, session_id: int, *, user_id: int, title: str) -> ChatSession | None:
        """Change the title. The session keeps its place in the list: nothing was said in it."""
        statement = update(ChatSession).where(_owned(session_id, user_id)).values(title=title).returning(ChatSession)
        return await self._db.scalar(statement)

    async def delete(self, session_id: int, *, user_id: int) -> bool:
        """Delete the session with its messages; False when there is none."""
        statement = delete(ChatSession).where(_owned(session_id, user_id)).returning(ChatSession.id)
        return await self._db.scalar(statement) is not None


def _owned(session_id: int, user_id: int) -> ColumnElement[bool]:
    return and_(ChatSession.id == session_id, ChatSession.user_id == user_id)


@cache
def _list_statement(*, limited: bool) -> Select[int, str, int, MessageRole | None, str, datetime, datetime, datetime]:
    """Sessions with their number of messages and the newest one; one statement, no join that multiplies."""
    position = tuple_(_SESSIONS.c.updated_at, _SESSIONS.c.id)
    page = (
        select(_SESSIONS)
        .where(_SESSIONS.c.user_id == bindparam("user_id"))
        .where(position < tuple_(bindparam("after_time", type_=UtcDateTime()), bindparam("after_id")))
        .order_by(_SESSIONS.c.updated_at.desc(), _SESSIONS.c.id.desc())
        .limit(bindparam("limit") if limited else None)
        .subquery()
    )
    of_session = _MESSAGES.c.session_id == page.c.id
    count = select(func.count()).select_from(_MESSAGES).where(of_session).scalar_subquery()
    newest = select(_MESSAGES.c.id).where(of_session).order_by(_MESSAGES.c.created_at.desc(), _MESSAGES.c.id.desc())
    last = _MESSAGES.alias()
    return (
        select(page.c.id, page.c.title, count, last.c.role, last.c.content, last.c.created_at)
        .add_columns(page.c.created_at, page.c.updated_at)
        .select_from(page.outerjoin(last, last.c.id == newest.limit(1).scalar_subquery()))
        .order_by(page.c.updated_at.desc(), page.c.id.desc())
    )


def _opening() -> Select[bool, MessageRole | None, str]:
    """User, session and history in one statement; written out it would be three round trips a question."""
    recent = (
        select(_MESSAGES.c.id, _MESSAGES.c.created_at, _MESSAGES.c.role, _MESSAGES.c.content)
        .where(_MESSAGES.c.session_id == bindparam("session_id"))
        .order_by(_MESSAGES.c.created_at.desc(), _MESSAGES.c.id.desc())
        .limit(bindparam("messages"))
        .subquery()
    )
    own = and_(_SESSIONS.c.id == bindparam("session_id"), _SESSIONS.c.user_id == _USERS.c.id)
    return (
        select(_USERS.c.is_active, recent.c.role, recent.c.content)
        .select_from(_USERS.outerjoin(_SESSIONS, own).outerjoin(recent, _SESSIONS.c.id.is_not(None)))
        .where(_USERS.c.id == bindparam("user_id"))
        .order_by(recent.c.created_at.desc(), recent.c.id.desc())
    )


# The chat call's statements stand on the bare tables and are put together once: building one costs more than running
# it, and the ORM's part in it as much again.
_USERS, _SESSIONS, _MESSAGES = (cast("Table", model.__table__) for model in (User, ChatSession, Message))
_OPENING = _opening()
_INSERT = insert(_SESSIONS).returning(_SESSIONS.c.id)
_TOUCH = (
    update(_SESSIONS)
    .where(_SESSIONS.c.id == bindparam("touched_id"), _SESSIONS.c.user_id == bindparam("owner_id"))
    .values(updated_at=utcnow())
    .returning(_SESSIONS.c.id)
)
