"""Waiting for what no event tells: other processes, and rows that they write."""

import asyncio
import time
from collections.abc import Awaitable, Callable

POLL_SECONDS = 0.1


async def until(
    condition: Callable[[], Awaitable[bool]], *, seconds: float, what: str, every: float = POLL_SECONDS
) -> float:
    """Return when the condition holds, with the seconds that it took.

    Raises:
        TimeoutError: it does not hold in time; the message says what was waited for.
    """
    started = time.monotonic()
    while not await condition():
        if time.monotonic() - started > seconds:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(every)
    return time.monotonic() - started
