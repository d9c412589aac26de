"""The chat_messages table."""

from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigId, CreatedAt, PrimaryKey, by_value


class MessageRole(StrEnum):
    """Who said it."""

    USER = "user"
    ASSISTANT = "assistant"


class Message(Base):
    """One stored utterance of a conversation."""

    __tablename__ = "chat_messages"
    __table_args__ = (Index(None, "session_id", "created_at"), Index(None, "role"), Base.__table_args__)

    id: Mapped[PrimaryKey]
    session_id: Mapped[int] = mapped_column(BigId, ForeignKey("chat_sessions.id", ondelete="CASCADE"))
    role: Mapped[MessageRole] = mapped_column(by_value(MessageRole, name="role", length=10))
    content: Mapped[str] = mapped_column(Text)
    sources: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list, server_default="[]")
    # `metadata` is taken on every declarative class, by the tables' own.
    details: Mapped[dict[str, Any]] = mapped_column("metadata", JSON, default=dict, server_default="{}")
    created_at: Mapped[CreatedAt]
