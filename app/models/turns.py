"""The chat_turns table."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.limits import MAX_KEY_CHARS
from app.models.base import Base, BigId, CreatedAt, PrimaryKey, UtcDateTime, by_value

IS_RUNNING = text("status = 'running'")


class TurnStatus(StrEnum):
    """Where a turn stands; all but the first are ends."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class Turn(Base):
    """One question and its answer, however many attempts that takes."""

    __tablename__ = "chat_turns"
    __table_args__ = (
        UniqueConstraint("user_id", "idempotency_key"),
        # One turn at a time in a session; also how the running ones are found, whose columns change too often to index.
        Index("uq_chat_turns_running", "session_id", unique=True, sqlite_where=IS_RUNNING, postgresql_where=IS_RUNNING),
        Index(None, "session_id"),
        Base.__table_args__,
    )

    id: Mapped[PrimaryKey]
    session_id: Mapped[int] = mapped_column(BigId, ForeignKey("chat_sessions.id", ondelete="CASCADE"))
    # The session's owner, gone with the session: a foreign key would lock the user and could deadlock with a deletion.
    user_id: Mapped[int] = mapped_column(BigId)
    question_id: Mapped[int] = mapped_column(BigId, ForeignKey("chat_messages.id", ondelete="CASCADE"), unique=True)
    answer_id: Mapped[int | None] = mapped_column(
        BigId, ForeignKey("chat_messages.id", ondelete="CASCADE"), unique=True
    )
    status: Mapped[TurnStatus] = mapped_column(
        by_value(TurnStatus, name="status", length=11), default=TurnStatus.RUNNING
    )
    attempt: Mapped[int] = mapped_column(default=1)
    owner: Mapped[str] = mapped_column(String(64))
    """The replica that works on the running attempt."""
    lease_expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When the owner counts as gone unless it renews, by the database's clock."""
    stop_requested: Mapped[bool] = mapped_column(default=False)
    """Somebody asked another replica than the owner to stop the turn."""
    idempotency_key: Mapped[str | None] = mapped_column(String(MAX_KEY_CHARS))
    request_hash: Mapped[str | None] = mapped_column(String(64))
    partial: Mapped[str] = mapped_column(Text, default="")
    """The answer so far, while it streams and after an end without an answer."""
    error_code: Mapped[str | None] = mapped_column(String(50))
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
