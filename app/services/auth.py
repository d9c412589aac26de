"""Signing in: a username and password become tokens, a token becomes a user."""

from typing import NamedTuple

from app.core import texts
from app.core.database import Database
from app.core.errors import NotAuthenticatedError
from app.core.passwords import PasswordHasher
from app.core.tokens import TokenKind, TokenSigner
from app.repositories.users import UserRepository


class TokenPair(NamedTuple):
    """What a client signs its requests with, and what it gets the next pair with."""

    access_token: str
    refresh_token: str
    expires_in: int
    """Seconds that the access token lives."""


class AuthService:
    """Sign-in and refresh."""

    def __init__(self, database: Database, passwords: PasswordHasher, tokens: TokenSigner) -> None:
        self._database = database
        self._passwords = passwords
        self._tokens = tokens

    async def login(self, username: str, password: str) -> TokenPair:
        """Tokens for the user; a hash of an older kind is replaced on the way.

        Raises:
            NotAuthenticatedError: unknown, inactive or wrong, which all look alike.
        """
        async with self._database.transaction(read_only=True) as db:
            user = await UserRepository(db).get_by_username(username)
        # Hashing takes tens of milliseconds on a thread: no connection waits for it.
        verdict = await self._passwords.verify(password, user.password_hash if user else None)
        if user is None or not user.is_active or not verdict.is_right:
            raise NotAuthenticatedError("wrong credentials", text=texts.wrong_credentials)
        async with self._database.transaction() as db:
            users = UserRepository(db)
            await users.record_login(user.id)
            if verdict.new_hash:
                await users.replace_hash(user.id, old_hash=user.password_hash, new_hash=verdict.new_hash)
        return self._pair(user.id)

    async def refresh(self, refresh_token: str) -> TokenPair:
        """A new pair of tokens.

        Raises:
            NotAuthenticatedError: the token is not a refresh token of ours, or its user may not sign in any more.
        """
        user_id = self._tokens.verify(refresh_token, TokenKind.REFRESH).user_id
        async with self._database.transaction(read_only=True) as db:
            user = await UserRepository(db).get(user_id)
        if user is None or not user.is_active:
            raise NotAuthenticatedError("the user is gone or inactive")
        return self._pair(user_id)

    def _pair(self, user_id: int) -> TokenPair:
        return TokenPair(
            self._tokens.issue(user_id, TokenKind.ACCESS),
            self._tokens.issue(user_id, TokenKind.REFRESH),
            self._tokens.lifetime_seconds(TokenKind.ACCESS),
        )
