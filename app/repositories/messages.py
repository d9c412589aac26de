"""SQL on the chat_messages table."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypedDict, cast

from sqlalchemy import Table, and_, bindparam, exists, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import ChatSession, Message, MessageRole


class StoredMessage(TypedDict):
    """One message as it is stored, and as it is shown; a conversation of a thousand needs no thousand objects."""

    id: int
    role: MessageRole
    content: str
    sources: list[dict[str, Any]]
    metadata: dict[str, Any]
    created_at: datetime


class MessageRepository:
    """Reads and writes the messages of sessions within one transaction."""

    def __init__(self, db: AsyncSession) -> None:
        self._db = db

    async def list_for(self, session_id: int) -> Sequence[StoredMessage]:
        """The session's messages, oldest first; whose the session is, its repository knows."""
        rows = await self._db.execute(_LIST, {"session_id": session_id})
        return [
            {
                "id": id_,
                "role": role,
                "content": text,
                "sources": sources,
                "metadata": details,
                "created_at": created_at,
            }
            for id_, role, text, sources, details, created_at in rows
        ]

    async def is_owned(self, message_id: int, *, user_id: int) -> bool:
        """Whether the message stands in a session of the user."""
        statement = select(Message.id).join(ChatSession, ChatSession.id == Message.session_id)
        statement = statement.where(Message.id == message_id, ChatSession.user_id == user_id)
        return await self._db.scalar(statement) is not None

    async def add_question(self, session_id: int, content: str) -> int:
        """Store what the user asked; returns the message's id."""
        return await self._add(session_id, MessageRole.USER, content, [], {})

    async def add_answer(
        self, session_id: int, content: str, *, sources: list[dict[str, Any]], details: dict[str, Any]
    ) -> int:
        """Store what the RAG server answered; returns the message's id."""
        return await self._add(session_id, MessageRole.ASSISTANT, content, sources, details)

    async def replace_answer(
        self, message_id: int, content: str, *, sources: list[dict[str, Any]], details: dict[str, Any]
    ) -> None:
        """Put another answer in the place of one that was stopped."""
        values = {"content": content, "sources": sources, "metadata": details}
        await self._db.execute(update(_TABLE).where(_TABLE.c.id == message_id).values(values))

    async def move_behind(self, message_id: int, question_id: int) -> None:
        """Give a late answer its question's time when more was said since: a conversation is read in this order."""
        asked_at = select(_TABLE.c.created_at).where(_TABLE.c.id == question_id).scalar_subquery()
        later = _TABLE.alias()
        said_since = exists().where(
            later.c.session_id == _TABLE.c.session_id, later.c.id > question_id, later.c.id != message_id
        )
        statement = update(_TABLE).where(_TABLE.c.id == message_id, said_since)
        await self._db.execute(statement.values(created_at=asked_at))

    async def list_before(self, question_id: int, *, limit: int) -> Sequence[tuple[MessageRole, str]]:
        """Role and content of the messages before a question of the same session, oldest first."""
        asked = _TABLE.alias()
        position, asked_position = tuple_(_TABLE.c.created_at, _TABLE.c.id), tuple_(asked.c.created_at, asked.c.id)
        rows = await self._db.execute(
            select(_TABLE.c.role, _TABLE.c.content)
            .join(asked, and_(asked.c.session_id == _TABLE.c.session_id, asked.c.id == question_id))
            .where(position < asked_position)
            .order_by(_TABLE.c.created_at.desc(), _TABLE.c.id.desc())
            .limit(limit)
        )
        return [(role, content) for role, content in reversed(rows.all())]

    async def _add(
        self, session_id: int, role: MessageRole, content: str, sources: list[dict[str, Any]], details: dict[str, Any]
    ) -> int:
        values = {"session_id": session_id, "role": role, "content": content, "sources": sources, "metadata": details}
        return int((await self._db.execute(_INSERT, values)).scalar_one())


# On the bare table: the ORM's insert would cost three times as much, and nothing of it is wanted here.
_TABLE = cast("Table", Message.__table__)
_INSERT = insert(_TABLE).returning(_TABLE.c.id)
_LIST = (
    select(_TABLE.c.id, _TABLE.c.role, _TABLE.c.content, _TABLE.c.sources, _TABLE.c.metadata, _TABLE.c.created_at)
    .where(_TABLE.c.session_id == bindparam("session_id"))
    .order_by(_TABLE.c.created_at, _TABLE.c.id)
)
