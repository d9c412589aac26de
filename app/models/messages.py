"""The chat_messages table."""

from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Enum, ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigId, CreatedAt, PrimaryKey


class MessageRole(StrEnum):
    """Who said it."""

    USER = "user"
    ASSISTANT = "assistant"


def _values(roles: type[MessageRole]) -> list[str]:
    return [role.value for role in roles]


class Message(Base):
    """One stored utterance of a conversation."""

    __tablename__ = "chat_messages"
    __table_args__ = (Index(None, "session_id", "created_at"), Index(None, "role"), Base.__table_args__)

    id: Mapped[PrimaryKey]
    session_id: Mapped[int] = mapped_column(BigId, ForeignKey("chat_sessions.id", ondelete="CASCADE"))
    role: Mapped[MessageRole] = mapped_column(
        Enum(MessageRole, native_enum=False, length=10, values_callable=_values, create_constraint=True, name="role")
    )
    content: Mapped[str] = mapped_column(Text)
    sources: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list, server_default="[]")
    # `metadata` is taken on every declarative class, by the tables' own.
    details: Mapped[dict[str, Any]] = mapped_column("metadata", JSON, default=dict, server_default="{}")
    created_at: Mapped[CreatedAt]
