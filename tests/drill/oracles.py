"""How each invariant is shown to go red: rows that no healthy service writes, and builds that break one promise."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from tests.drill.asks import Ask
from tests.drill.faults_boundary import FINISH
from tests.drill.invariants import INVARIANTS, Evidence
from tests.drill.pgwire import Trap
from tests.drill.replicas import RAGCHAT, Replica
from tests.drill.rig import Rig

SWEEP_SECONDS = 3
# What is done to the rows of a completed turn $1, and the invariants that must notice.
CORRUPTIONS: dict[str, tuple[str, set[int]]] = {
    "the question is gone": ("DELETE FROM chat_messages WHERE id = {question}", {1}),
    "the question is stored twice": (
        (
            "INSERT INTO chat_messages (session_id, role, content, created_at) "
            "SELECT session_id, role, content, created_at - interval '1 s' FROM chat_messages WHERE id = {question}"
        ),
        {1},
    ),
    "completed without its answer": ("UPDATE chat_turns SET answer_id = NULL WHERE id = {turn}", {2, 5}),
    "another answer than the upstream's": (
        "UPDATE chat_messages SET content = content || '!' WHERE id = {answer}",
        {2, 7},
    ),
    "a second answer": (
        (
            "INSERT INTO chat_messages (session_id, role, content, created_at) "
            "SELECT session_id, role, content, now() FROM chat_messages WHERE id = {answer}"
        ),
        {2, 5},
    ),
    "an end that changed": ("UPDATE chat_turns SET status = 'failed' WHERE id = {turn}", {2, 7}),
    "runs on without a lease": (
        (
            "UPDATE chat_turns SET status = 'running', lease_expires_at = now() + interval '1 h' WHERE id = {turn}; "
            "UPDATE drill_history SET at = at - interval '1 h' WHERE turn_id = {turn}; "
            "UPDATE chat_turns SET lease_expires_at = now() - interval '5 s' WHERE id = {turn}"
        ),
        {3},
    ),
    "fewer attempts than calls": ("UPDATE chat_turns SET attempt = 0 WHERE id = {turn}", {4}),
    "the answer stands before its question": (
        "UPDATE chat_messages SET created_at = created_at - interval '1 h' WHERE id = {answer}",
        {5},
    ),
    "the turn is another user's": ("UPDATE chat_turns SET user_id = {stranger} WHERE id = {turn}", {6}),
    "the answer is in another session": (
        (
            "WITH other AS (INSERT INTO chat_sessions (user_id, title, created_at, updated_at) "
            "VALUES ({user}, '', now(), now()) RETURNING id) "
            "UPDATE chat_messages SET session_id = other.id FROM other WHERE chat_messages.id = {answer}"
        ),
        {6},
    ),
}


async def corrupt(rig: Rig, ask: Ask, statement: str) -> Evidence:
    """The evidence after the statement was done to the ask's rows."""
    (turn,) = (await rig.database.facts([ask.caller.id])).turns
    stranger = await rig.caller()
    values = {"turn": turn.id, "question": turn.question_id, "answer": turn.answer_id}
    await rig.database.pool.execute(statement.format(**values, user=ask.caller.id, stranger=stranger.id))
    return await rig.evidence([ask], rests=False)


async def overtaken(rig: Rig, replica: Replica) -> list[Ask]:
    """The replica is about to store an answer, is taken for dead, and the client asks again elsewhere."""
    await replica.restart()
    (ask,) = await rig.asks(1, name="oracle")
    released = asyncio.Event()

    async def hold() -> bool:
        await released.wait()
        return True

    trap = Trap(FINISH, "request", hold)
    rig.database_hops[rig.replicas.index(replica)].traps.append(trap)
    first = asyncio.create_task(rig.clients_of(replica).post(ask))
    await trap.fired.wait()
    await rig.database.pool.execute("UPDATE chat_turns SET status = 'interrupted' WHERE user_id = $1", ask.caller.id)
    await rig.clients.settle(ask)
    released.set()
    await first
    return [ask]


async def abandoned(rig: Rig, replica: Replica) -> list[Ask]:
    """A turn's owner is gone since an hour; of those who could sweep, only the replica is there."""
    (ask,) = await rig.asks(1, "ttft=5", name="oracle")
    await rig.clients.start(ask)
    for other in rig.replicas:
        other.signal(signal.SIGSTOP)
    for change in (
        "UPDATE chat_turns SET lease_expires_at = now() - interval '1 h'",
        "UPDATE drill_history SET at = at - interval '1 h'",
    ):
        await rig.database.pool.execute(f"{change} WHERE user_id = $1", ask.caller.id)
    await replica.restart()
    with suppress(TimeoutError):
        await rig.database.until_ended([ask.caller.id], seconds=SWEEP_SECONDS)
    return [ask]


async def sent_twice(rig: Rig, replica: Replica) -> list[Ask]:
    """One question, one key, two requests."""
    await replica.restart()
    (ask,) = await rig.asks(1, name="oracle")
    await rig.clients_of(replica).post(ask)
    await rig.clients_of(replica).post(ask)
    return [ask]


async def killed_at_the_end(rig: Rig, replica: Replica) -> list[Ask]:
    """Somebody watches to the end, and the replica dies."""
    asks = await watched(rig, replica)
    await replica.kill()
    return asks


async def watched(rig: Rig, replica: Replica) -> list[Ask]:
    """Somebody watches to the end."""
    await replica.restart()
    (ask,) = await rig.asks(1, name="oracle")
    await rig.clients_of(replica).stream(ask)
    return [ask]


async def stopped(rig: Rig, replica: Replica) -> list[Ask]:
    """Somebody stops a turn."""
    await replica.restart()
    (ask,) = await rig.asks(1, "gap=1", name="oracle")
    await rig.clients_of(replica).start(ask)
    await rig.clients_of(replica).stop(ask)
    return [ask]


Play = Callable[[Rig, Replica], Awaitable[list[Ask]]]


class Oracle(NamedTuple):
    """A broken build, what makes its break show, and the invariants that must go red."""

    broken: str
    play: Play
    numbers: set[int]


ORACLES = [
    Oracle("finish_without_fence", overtaken, {2, 5}),
    Oracle("never_sweep", abandoned, {3}),
    Oracle("forget_keys", sent_twice, {1}),
    Oracle("announce_first", killed_at_the_end, {2}),
    Oracle("call_twice", watched, {4}),
    Oracle("hold_connections", watched, {8}),
    Oracle("skip_words", watched, {7}),
    Oracle("crash", stopped, {9}),
]


async def red(rig: Rig, play: Play, command: Sequence[str] = RAGCHAT) -> dict[int, list[str]]:
    """What the invariants find when this build is played with; a healthy build is given its time to come to rest."""
    replica = await rig.add_replica(command)
    try:
        asks = await play(rig, replica)
        evidence = await rig.evidence(asks, rests=command is RAGCHAT)
    finally:
        await rig.remove(replica)
        for other in rig.replicas:
            other.signal(signal.SIGCONT)
    return {number: found for number, check in INVARIANTS.items() if (found := check(evidence))}


def broken_command(name: str) -> list[str]:
    """How a broken build is started."""
    return [sys.executable, "-m", "tests.drill.broken", name]
