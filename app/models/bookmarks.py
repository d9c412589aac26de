"""The chat_bookmarks table."""

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigId, CreatedAt, PrimaryKey


class Bookmark(Base):
    """A frozen copy of an answer that its user wants to keep; it outlives the message."""

    __tablename__ = "chat_bookmarks"
    # message_id: without an index, deleting a session would scan all bookmarks once a message.
    __table_args__ = (Index(None, "user_id", "created_at"), Index(None, "message_id"), Base.__table_args__)

    id: Mapped[PrimaryKey]
    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id", ondelete="CASCADE"))
    message_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("chat_messages.id", ondelete="SET NULL"))
    content: Mapped[str] = mapped_column(Text)
    sources: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list, server_default="[]")
    created_at: Mapped[CreatedAt]
