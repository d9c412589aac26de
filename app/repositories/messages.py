"""SQL on the chat_messages table."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, cast

from sqlalchemy import Table, bindparam, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import ChatSession, Message, MessageRole


class StoredMessage(NamedTuple):
    """One message as it is stored; a conversation of a thousand needs no thousand ORM objects."""

    id: int
    role: MessageRole
    content: str
    sources: list[dict[str, Any]]
    details: dict[str, Any]
    created_at: datetime


class MessageRepository:
    """Reads and writes the messages of sessions within one transaction."""

    def __init__(self, db: AsyncSession) -> None:
        self._db = db

    async def list_for(self, session_id: int) -> Sequence[StoredMessage]:
        """The session's messages, oldest first; whose the session is, its repository knows."""
        rows = await self._db.execute(_LIST, {"session_id": session_id})
        return [StoredMessage(*row) for row in rows]

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
