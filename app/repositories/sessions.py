"""SQL on the chat_sessions table."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, and_, bindparam, delete, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.core.pagination import Cursor, Page, PageRequest
from app.models import ChatSession, Message, MessageRole, User
from app.models.base import utcnow


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
        chosen = select(ChatSession).where(ChatSession.user_id == user_id)
        if page.cursor:
            chosen = chosen.where(tuple_(ChatSession.updated_at, ChatSession.id) < tuple_(*page.cursor))
        chosen = chosen.order_by(ChatSession.updated_at.desc(), ChatSession.id.desc()).limit(page.fetch)
        rows = (await self._db.execute(_with_last_message(chosen))).all()
        summaries = [
            SessionSummary(session_id, title, count, LastMessage(role, content, at) if role else None, begun, updated)
            for session_id, title, count, role, content, at, begun, updated in rows
        ]
        return Page.cut(summaries, page, lambda summary: Cursor(summary.updated_at, summary.id))

    async def add(self, user_id: int, title: str) -> int:
        """Start a session; returns its id."""
        statement = insert(ChatSession).values(user_id=user_id, title=title).returning(ChatSession.id)
        return (await self._db.scalars(statement)).one()

    async def touch(self, session_id: int, *, user_id: int) -> bool:
        """Move the session to the top of its owner's list and hold it until the transaction ends.

        False when there is none; when there is, a message can be added without a deletion coming between.
        """
        return await self._db.scalar(_TOUCH, {"touched_id": session_id, "owner_id": user_id}) is not None

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


def _with_last_message(
    sessions: Select[ChatSession],
) -> Select[int, str, int, MessageRole | None, str, datetime, datetime, datetime]:
    """The chosen sessions with their number of messages and the newest one; one statement, no join that multiplies."""
    chosen = sessions.subquery()
    last = aliased(Message)
    of_session = Message.session_id == chosen.c.id
    count = select(func.count()).select_from(Message).where(of_session).scalar_subquery()
    newest = select(Message.id).where(of_session).order_by(Message.created_at.desc(), Message.id.desc()).limit(1)
    return (
        select(
            chosen.c.id,
            chosen.c.title,
            count,
            last.role,
            last.content,
            last.created_at,
            chosen.c.created_at,
            chosen.c.updated_at,
        )
        .outerjoin(last, last.id == newest.scalar_subquery())
        .order_by(chosen.c.updated_at.desc(), chosen.c.id.desc())
    )


def _opening() -> Select[bool, MessageRole | None, str]:
    """User, session and history in one statement; written out it would be three round trips a question."""
    recent = (
        select(Message.id, Message.created_at, Message.role, Message.content)
        .where(Message.session_id == bindparam("session_id"))
        .order_by(Message.created_at.desc(), Message.id.desc())
        .limit(bindparam("messages"))
        .subquery()
    )
    own = and_(ChatSession.id == bindparam("session_id"), ChatSession.user_id == User.id)
    return (
        select(User.is_active, recent.c.role, recent.c.content)
        .select_from(User)
        .outerjoin(ChatSession, own)
        .outerjoin(recent, ChatSession.id.is_not(None))
        .where(User.id == bindparam("user_id"))
        .order_by(recent.c.created_at.desc(), recent.c.id.desc())
    )


# Statements of the chat call are put together once; building one costs more than running it.
_OPENING = _opening()
_TOUCH = (
    update(ChatSession)
    .where(ChatSession.id == bindparam("touched_id"), ChatSession.user_id == bindparam("owner_id"))
    .values(updated_at=utcnow())
    .returning(ChatSession.id)
)
