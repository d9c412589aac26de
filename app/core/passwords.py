"""Password hashes: argon2id for new ones, Django's verified and replaced at the next login.

The only module that knows passlib (1.7.4: works, but is no longer released); libpass is the drop-in to change to.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from passlib.context import CryptContext
from passlib.exc import UnknownHashError

from app.core.queues import Places

# OWASP's first recommendation for argon2id: 19 MiB, two passes, one lane; about 30 ms. Every thread that hashes
# takes that memory, so the pool bounds both it and the cores that a storm of logins can take.
ARGON2 = {"argon2__type": "ID", "argon2__memory_cost": 19_456, "argon2__time_cost": 2, "argon2__parallelism": 1}
HASHING_THREADS = 2
MAX_WAITING = 100  # two to seven seconds of work, by the kind of hash

Result = TypeVar("Result")


class Verdict(NamedTuple):
    """Whether the password is right, and a new hash where the stored one is of an older kind."""

    is_right: bool
    new_hash: str | None


class PasswordHasher:
    """Hashes and verifies off the event loop, on a few threads of its own."""

    def __init__(self) -> None:
        self._context = CryptContext(
            ["argon2", "django_pbkdf2_sha256", "django_argon2", "django_pbkdf2_sha1"], deprecated="auto", **ARGON2
        )
        self._places = Places()
        self._threads = ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="password")

    async def hash(self, password: str) -> str:
        """A new argon2id hash."""
        return str(await self._run(self._context.hash, password))

    async def verify(self, password: str, stored_hash: str | None) -> Verdict:
        """Whether the password belongs to the hash. For nobody (None) the work of an argon2 hash is done.

        So unknown names look like wrong passwords, except beside users who did not sign in since Django: PBKDF2
        takes longer than argon2, and only their number going down ends that.
        """
        return await self._run(self._verify, password, stored_hash)

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, password: str, stored_hash: str | None) -> Verdict:
        try:
            # "!" is Django's mark of an account without a password: for nobody, the same work is done.
            return Verdict(*self._context.verify_and_update(password, stored_hash or "!"))
        except UnknownHashError:
            self._context.dummy_verify()
            return Verdict(is_right=False, new_hash=None)
        except ValueError:  # a NUL in the password: no hash was ever made of such a one
            return Verdict(is_right=False, new_hash=None)

    async def _run(self, function: Callable[..., Result], *arguments: str | None) -> Result:
        with self._places.take(MAX_WAITING, "too many passwords are waiting to be hashed"):
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
