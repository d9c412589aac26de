"""The faults: each is a function that plays it and tells what happened; playing one ends with its judgement."""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.drill.asks import Ask
from tests.drill.invariants import seen_is_stored
from tests.drill.results import Played, Result, judge
from tests.drill.rig import Rig

Play = Callable[[Rig, int], Awaitable[Played]]


@dataclass(frozen=True)
class Fault:
    """One fault of the list in faults.md."""

    id: str
    title: str
    rounds: int
    """How often it is played unless told otherwise."""
    play: Play


FAULTS: dict[str, Fault] = {}


def fault(fault_id: str, title: str, *, rounds: int = 20) -> Callable[[Play], Play]:
    """Enter a function into the list."""

    def enter(play: Play) -> Play:
        FAULTS[fault_id] = Fault(fault_id, title, rounds, play)
        return play

    return enter


async def run_fault(rig: Rig, entry: Fault, rounds: int | None = None) -> Result:
    """Play a fault on a healthy rig, let every client come to its answer, and judge."""
    await rig.heal()
    await rig.mark()
    started = time.monotonic()
    try:
        played = await entry.play(rig, rounds or entry.rounds)
    except Exception as exc:  # noqa: BLE001 - whatever it met is a finding; the other faults are played all the same
        played = Played(problems=[f"the play broke off: {type(exc).__name__}: {exc}", traceback.format_exc()])
    if played.not_run:
        return Result(entry.id, entry.title, 0, 0, 0, 0, 0, None, 0, {}, [], played.not_run)
    await rig.heal()
    if played.settles:
        await settle(rig, played)
    evidence = played.evidence or await rig.evidence(played.asks, landed=played.landed)
    return judge(entry.id, entry.title, played, evidence, time.monotonic() - started)


async def look(rig: Rig, played: Played) -> None:
    """Compare what was seen with what is stored now, before anybody sends again and another attempt begins."""
    evidence = await rig.evidence(played.asks, rests=False)
    played.problems += [f"(7) before the retry: {text}" for text in seen_is_stored(evidence)]


async def _go_on(rig: Rig, ask: Ask, session_id: int, played: Played) -> None:
    """The conversation goes on where the fault was."""
    following = rig.ask(ask.caller, name="after")
    following.session_id = session_id
    reply = await rig.clients.post(following)
    played.asks.append(following)
    played.expect(reply.status == 200, f"{ask.canary}: the next question got {reply.status} {reply.code}")


async def settle(rig: Rig, played: Played) -> None:
    """Each client that has no answer yet, and every fifth that has one, sends the same request again."""
    waiting = [ask for ask in played.asks if not ask.is_deleted]
    again = [ask for number, ask in enumerate(waiting) if not ask.answers or number % 5 == 0]
    places = asyncio.Semaphore(40)

    async def send(number: int) -> None:
        ask = again[number]
        had_answer = bool(ask.answers)
        async with places:
            reply = await rig.clients.settle(ask)
        if reply is None or reply.status != 200:
            played.problems.append(f"{ask.canary}: no answer in the end, {ask.statuses}, {reply and reply.code}")
        elif had_answer and not reply.was_replayed:
            played.problems.append(f"{ask.canary}: had its answer, and the same request was not a replay")
        elif number % 10 == 0:
            await _go_on(rig, ask, reply.body["session_id"], played)

    await asyncio.gather(*(send(number) for number in range(len(again))))
