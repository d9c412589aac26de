"""Clients of every kind at once: those who wait, those who watch, those who come back later."""

import asyncio
from collections.abc import Sequence

from tests.drill.asks import LOST, Ask
from tests.drill.clients import Clients

KINDS = 4
JOIN_SECONDS = 30


async def send(clients: Clients, ask: Ask, kind: int) -> None:
    """Ask as one kind of client does, and do what it does when it hears nothing."""
    match kind % KINDS:
        case 0:  # waits for the whole answer; the drill sends again for it later
            await clients.post(ask)
        case 1:  # waits, and sends again at once when the connection breaks
            if (await clients.post(ask)).status == LOST:
                await clients.post(ask)
        case 2:  # watches, and resumes wherever it can
            await watch(clients, ask)
        case _:  # leaves the turn alone and looks after it
            if (await clients.start(ask)).status == 202:
                await clients.join(ask)


async def watch(clients: Clients, ask: Ask, *, tries: int = 60) -> None:
    """Watch a turn to its end; when the stream breaks, resume where it broke."""
    view = await clients.stream(ask)
    for _ in range(tries):
        if view.is_over or view.turn_id is None:
            return
        await asyncio.sleep(0.3)
        await clients.join(ask, view)


async def send_all(clients: Clients, asks: Sequence[Ask]) -> None:
    """All of them at once, each as another kind."""
    await asyncio.gather(*(send(clients, ask, number) for number, ask in enumerate(asks)))
