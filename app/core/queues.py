"""Queues with an end: whoever would wait too long, or behind too many, is refused while their client still listens."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from app.core.errors import AppError, OverloadedError


class Places:
    """Counts who is inside."""

    def __init__(self) -> None:
        self._taken = 0

    @contextmanager
    def take(self, limit: int, reason: str) -> Iterator[None]:
        """One of `limit` places for the time of the block.

        Raises:
            OverloadedError: all are taken.
        """
        if self._taken >= limit:
            raise OverloadedError(reason)
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


class PlacesByUser:
    """The same for each user apart."""

    def __init__(self) -> None:
        self._taken: Counter[int] = Counter()

    @contextmanager
    def take(self, user_id: int, limit: int, reason: str) -> Iterator[None]:
        """One of the user's `limit` places for the time of the block.

        Raises:
            OverloadedError: all are taken.
        """
        if self._taken[user_id] >= limit:
            raise OverloadedError(reason)
        self._taken[user_id] += 1
        try:
            yield
        finally:
            self._taken[user_id] -= 1
            self._taken += Counter()  # forgets who has none


@asynccontextmanager
async def turn(lock: asyncio.Lock | asyncio.Semaphore, seconds: float, refusal: AppError) -> AsyncIterator[None]:
    """The lock for the time of the block; `refusal` is raised when it does not come free in time."""
    try:
        async with asyncio.timeout(seconds):
            await lock.acquire()
    except TimeoutError:
        raise refusal from None
    try:
        yield
    finally:
        lock.release()
