"""Accounts: made at the command line, not over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.core.database import Database
from app.core.passwords import PasswordHasher
from app.models import User
from app.repositories.users import UserRepository


class AccountService:
    """Creates users and sets their passwords."""

    def __init__(self, database: Database, passwords: PasswordHasher) -> None:
        self._database = database
        self._passwords = passwords

    async def create(self, username: str, password: str, *, email: str = "", is_superuser: bool = False) -> User:
        """A new account; a superuser is staff as well.

        Raises:
            InvalidRequestError: the username is taken.
        """
        password_hash = await self._passwords.hash(password)
        user = User(
            username=username,
            email=email,
            password_hash=password_hash,
            is_active=True,
            is_staff=is_superuser,
            is_superuser=is_superuser,
        )
        async with self._database.transaction() as db:
            return await UserRepository(db).add(user)

    async def ensure(self, username: str, password: str) -> None:
        """Have an account with this name and password."""
        async with self._database.transaction(read_only=True) as db:
            user = await UserRepository(db).get_by_username(username)
        if user is None:
            await self.create(username, password)
            return
        new_hash = await self._passwords.hash(password)
        async with self._database.transaction() as db:
            await UserRepository(db).replace_hash(user.id, old_hash=user.password_hash, new_hash=new_hash)


@asynccontextmanager
async def open_accounts(database_url: str) -> AsyncIterator[AccountService]:
    """The accounts of a database, for a command that needs nothing else of the service."""
    database, passwords = Database(database_url, pool_size=1), PasswordHasher()
    try:
        yield AccountService(database, passwords)
    finally:
        passwords.close()
        await database.close()
