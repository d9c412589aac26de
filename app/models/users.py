"""The users table: holds Django's `auth_user` rows as they are."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.limits import MAX_EMAIL_CHARS, MAX_USERNAME_CHARS
from app.models.base import Base, CreatedAt, PrimaryKey, UtcDateTime


class User(Base):
    """Somebody who may sign in."""

    __tablename__ = "users"

    id: Mapped[PrimaryKey]
    username: Mapped[str] = mapped_column(String(MAX_USERNAME_CHARS), unique=True)
    email: Mapped[str] = mapped_column(String(MAX_EMAIL_CHARS), default="")
    password_hash: Mapped[str] = mapped_column(String(255))
    is_active: Mapped[bool] = mapped_column(default=True)
    is_staff: Mapped[bool] = mapped_column(default=False)
    is_superuser: Mapped[bool] = mapped_column(default=False)
    date_joined: Mapped[CreatedAt]
    last_login: Mapped[datetime | None] = mapped_column(UtcDateTime)
