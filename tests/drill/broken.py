"""Deliberately broken builds: `python -m tests.drill.broken <name>` serves with one promise taken away.

Nothing in the service knows of this. Each break is one function replaced in a process of its own, so that the
invariants can be seen to go red.
"""

import asyncio
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from sqlalchemy import text

from app.cli import cli
from app.repositories import conversations
from app.repositories.conversations import Accepted, ConversationRepository, NewQuestion
from app.services import turn_runner, turn_stream
from app.services.rag_client import RagAnswer, RagClient
from app.services.turn_endings import Ending, TurnEndings
from app.services.turn_keeper import TurnKeeper
from app.services.turn_runner import Job, TurnRunner
from app.services.turn_view import TurnEnd, TurnView

FENCE = "WHERE id = :turn_id AND attempt = :number AND status = 'running' AND EXISTS (SELECT FROM session)"
NO_FENCE = "WHERE id = :turn_id AND :number > 0"


def finish_without_fence() -> None:
    """An attempt that lost its lease stores its answer all the same."""
    broken = conversations._ANSWER  # noqa: SLF001 - that is what a break is
    assert FENCE in broken.text, "the statement is another one now"
    arguments = broken._bindparams.values()  # noqa: SLF001 - likewise
    conversations._ANSWER = text(broken.text.replace(FENCE, NO_FENCE)).bindparams(*arguments)  # noqa: SLF001


def never_sweep() -> None:
    """Nobody ends the turns of those who are gone."""

    async def _sweep(self: TurnKeeper) -> None:  # noqa: ARG001 - the name is the method's
        return

    TurnKeeper._sweep = _sweep  # type: ignore[method-assign]  # noqa: SLF001


def forget_keys() -> None:
    """A request that is sent again stores another question."""
    accept = ConversationRepository.accept

    @wraps(accept)
    async def forgetful(self: ConversationRepository, question: NewQuestion, *, messages: int) -> Accepted:
        return await accept(self, question._replace(idempotency_key=None), messages=messages)

    ConversationRepository.accept = forgetful  # type: ignore[method-assign]


def announce_first() -> None:
    """The client hears of the end before the answer is stored."""

    async def _finish(self: TurnRunner, job: Job, ending: Ending) -> TurnEnd:
        self._tasks.start(_store_late(self._endings, job.view, ending), "late")
        return TurnEnd(ending.status, 1, ending.sources, ending.details)

    async def _store_late(endings: TurnEndings, view: TurnView, ending: Ending) -> None:
        await asyncio.sleep(2)
        await endings.store(view, ending)

    TurnRunner._finish = _finish  # type: ignore[method-assign]  # noqa: SLF001


def call_twice() -> None:
    """The upstream is asked, and paid, twice."""
    ask = RagClient.ask

    @wraps(ask)
    async def eager(self: RagClient, question: str, **context: Any) -> RagAnswer:  # noqa: ANN401 - as it came
        await ask(self, question, **{**context, "on_delta": None})
        return await ask(self, question, **context)

    RagClient.ask = eager  # type: ignore[method-assign]


def hold_connections() -> None:
    """Every turn keeps a database connection."""
    work = TurnRunner._work  # noqa: SLF001
    held: list[object] = []

    async def _work(self: TurnRunner, job: Job) -> Ending:
        connection = await self._endings._database.engine.connect()  # noqa: SLF001
        await connection.execute(text("SELECT 1"))
        held.append(connection)
        return await work(self, job)

    TurnRunner._work = _work  # type: ignore[method-assign]  # noqa: SLF001


def skip_words() -> None:
    """Viewers miss every delta after the first."""
    turn_stream.MAX_DELTA_CHARS = 5
    read = TurnView.text

    def skipping(self: TurnView, start: int = 0, limit: int = -1) -> str:
        return read(self, start, limit).replace("단", "탄") if limit >= 0 else read(self, start, limit)

    TurnView.text = skipping  # type: ignore[method-assign]


def crash() -> None:
    """Something that nobody thought of."""

    def _stopped(job: Job) -> Ending:  # noqa: ARG001 - likewise
        raise RuntimeError("broken on purpose")

    turn_runner._stopped = _stopped  # noqa: SLF001


BREAKS: dict[str, Callable[[], None]] = {
    break_.__name__: break_
    for break_ in (
        finish_without_fence,
        never_sweep,
        forget_keys,
        announce_first,
        call_twice,
        hold_connections,
        skip_words,
        crash,
    )
}

if __name__ == "__main__":
    BREAKS[sys.argv[1]]()
    cli(["serve"])
