"""The chat_sessions table."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.limits import MAX_TITLE_CHARS
from app.models.base import Base, BigId, CreatedAt, PrimaryKey, UtcDateTime, utcnow


class ChatSession(Base):
    """One conversation of one user."""

    __tablename__ = "chat_sessions"
    # Read backwards, these serve "most recently updated first". Not declared DESC: SQLite cannot reflect that,
    # and every `alembic check` would report a difference that is none.
    __table_args__ = (Index(None, "updated_at"), Index(None, "user_id", "updated_at"), Base.__table_args__)

    id: Mapped[PrimaryKey]
    user_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(String(MAX_TITLE_CHARS))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow())
