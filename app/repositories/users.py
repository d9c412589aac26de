"""SQL on the users table."""

from collections.abc import Collection

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import FieldProblem, InvalidRequestError
from app.core.usernames import normal_username
from app.models import User
from app.models.base import utcnow


class UserRepository:
    """Reads and writes users within one transaction."""

    def __init__(self, db: AsyncSession) -> None:
        self._db = db

    async def get(self, user_id: int) -> User | None:
        """The user with this id."""
        return await self._db.get(User, user_id)

    async def get_by_username(self, username: str) -> User | None:
        """The user with this name; capitals matter."""
        return await self._db.scalar(select(User).where(User.username == normal_username(username)))

    async def list_active(self, user_ids: Collection[int]) -> set[int]:
        """Those of the users who exist and are active."""
        return set(await self._db.scalars(select(User.id).where(User.id.in_(user_ids), User.is_active)))

    async def add(self, user: User) -> User:
        """Store a new user.

        Raises:
            InvalidRequestError: somebody has the name.
        """
        user.username = normal_username(user.username)
        self._db.add(user)
        try:
            await self._db.flush()
        except IntegrityError as exc:
            raise InvalidRequestError([FieldProblem("username", "is already taken")]) from exc
        return user

    async def record_login(self, user_id: int) -> None:
        """Set the time of the last login to now."""
        await self._db.execute(update(User).where(User.id == user_id).values(last_login=utcnow()))

    async def replace_hash(self, user_id: int, *, old_hash: str, new_hash: str) -> None:
        """Store another hash, unless the password was changed meanwhile."""
        unchanged = (User.id == user_id) & (User.password_hash == old_hash)
        await self._db.execute(update(User).where(unchanged).values(password_hash=new_hash))
