"""Queues with an end: whoever would wait too long, or behind too many, is refused while their client still listens."""

import asyncio
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
