"""SQL on the chat_messages table."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import ChatSession, Message, MessageRole

_COLUMNS = (Message.id, Message.role, Message.content, Message.sources, Message.details, Message.created_at)
_INSERT = insert(Message).returning(Message.id)


class MessageRepository:
    """Reads and writes the messages of sessions within one transaction."""

    def __init__(self, db: AsyncSession) -> None:
        self._db = db

    async def list_for(self, session_id: int, *, user_id: int) -> Sequence[Row[Any]]:
        """The messages of the user's session, oldest first, as rows: a thousand of them need no identity map."""
        statement = (
            select(*_COLUMNS)
            .join(ChatSession, ChatSession.id == Message.session_id)
            .where(Message.session_id == session_id, ChatSession.user_id == user_id)
            .order_by(Message.created_at, Message.id)
        )
        return (await self._db.execute(statement)).all()

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
        values = {"session_id": session_id, "role": role, "content": content, "sources": sources, "details": details}
        return (await self._db.scalars(_INSERT, values)).one()
