"""Faults of requests: sent many times at once, many in one session, and rows taken away beneath a turn."""

import asyncio
import time
from collections import Counter
from typing import Any

from tests.drill.faults import fault
from tests.drill.results import Played
from tests.drill.rig import Rig

STORM = 50
TURN = "ttft=0.2 gap=0.2 length=12"
CUT_SECONDS = 5


@fault("F24", "the same key 50 times at once on three replicas", rounds=20)
async def same_key(rig: Rig, rounds: int) -> Played:
    played = Played()
    for _ in range(rounds):
        (ask,) = await rig.asks(1, "ttft=0.5 gap=0.05 length=8", name="F24")
        played.asks.append(ask)
        started = time.monotonic()
        replies = await asyncio.gather(*(rig.clients.post(ask) for _ in range(STORM)))
        played.recoveries.append(time.monotonic() - started)
        answers = {reply.text for reply in replies}
        ids = {(reply.body.get("session_id"), reply.body.get("message_id")) for reply in replies}
        statuses = Counter((reply.status, reply.code) for reply in replies)
        played.expect(len(answers) == 1 and len(ids) == 1, f"{ask.canary}: {len(answers)} answers, {dict(statuses)}")
        calls = len(rig.journal.calls(ask.canary))
        played.expect(calls == 1, f"{ask.canary}: {calls} calls")
        played.landed += len(replies)
    return played


@fault("F25", "50 keys at once in one session", rounds=20)
async def one_session(rig: Rig, rounds: int) -> Played:
    played = Played(settles=False)
    for _ in range(rounds):
        first, *asks = await rig.asks(STORM + 1, "ttft=0.5", name="F25")
        session_id = (await rig.clients.post(first)).body["session_id"]
        for ask in asks:
            ask.session_id = session_id
        replies = await asyncio.gather(*map(rig.clients.post, asks))
        statuses = Counter((reply.status, reply.code) for reply in replies)
        expected = {(200, None): 1, (409, "turn_in_progress"): STORM - 1}
        played.expect(statuses == expected, f"{first.canary}: {dict(statuses)}")
        running = {reply.turn_id for reply in replies if reply.status == 409}
        played.expect(len(running) == 1, f"{first.canary}: told of turns {running}")
        for ask in asks[:3]:  # and in an order, each finds its place
            await rig.clients.settle(ask)
        played.asks += [first, *asks]
        played.landed += statuses[409, "turn_in_progress"]
    return played


@fault("F27", "DELETE of the session at a random moment of a turn", rounds=20)
async def delete_sessions(rig: Rig, rounds: int) -> Played:
    played = Played(settles=False)
    ends: Counter[str | None] = Counter()

    async def play(number: int) -> None:
        (ask,) = await rig.asks(1, TURN, name="F27")
        ask.is_deleted = True
        played.asks.append(ask)
        accepted = await rig.clients.start(ask)
        waits = rig.clients.join(ask) if number % 2 else rig.clients.post(ask)
        waiting = asyncio.create_task(waits)
        await asyncio.sleep(rig.random.uniform(0, 2.8))
        deleted = await rig.clients.delete_session(ask.caller, accepted.body["session_id"])
        played.expect(deleted.status == 200, f"{ask.canary}: deleting gave {deleted.status} {deleted.code}")
        started = time.monotonic()
        end: Any = await waiting
        played.recoveries.append(time.monotonic() - started)
        ends[end.code or getattr(end, "end", None) or "answered"] += 1
        gone = await rig.clients.turn(ask)
        played.expect(gone.status == 404, f"{ask.canary}: the turn is {gone.status}")
        played.landed += 1

    await asyncio.gather(*map(play, range(rounds)))
    played.figures["ends"] = dict(ends)
    played.expect(set(ends) <= {"not_found", "answered", "finish"}, f"clients met {dict(ends)}")
    return played


CHANGES = {
    "disabled": "UPDATE users SET is_active = false WHERE id = $1",
    "deleted": "DELETE FROM users WHERE id = $1",
    "role removed": "UPDATE users SET is_staff = false, is_superuser = false WHERE id = $1",
    "password changed": "UPDATE users SET password_hash = '!!' WHERE id = $1",
}


@fault("F28", "the user is disabled, deleted, loses a role or changes the password, mid-turn and mid-stream", rounds=20)
async def change_users(rig: Rig, rounds: int) -> Played:
    played = Played(limit=CUT_SECONDS, settles=False)
    ends: Counter[str] = Counter()

    async def play(number: int, change: str) -> None:
        (ask,) = await rig.asks(1, "ttft=0.2 gap=0.3 length=40", name="F28")
        is_cut = change in ("disabled", "deleted")
        ask.is_deleted = change == "deleted"
        played.asks.append(ask)
        waits = rig.clients.stream(ask) if number % 2 else rig.clients.post(ask)
        waiting = asyncio.create_task(waits)
        await asyncio.sleep(rig.random.uniform(1, 4))
        await rig.database.pool.execute(CHANGES[change], ask.caller.id)
        started = time.monotonic()
        end: Any = await waiting
        if is_cut and number % 2:  # who sees words must see no more of them
            played.recoveries.append(time.monotonic() - started)
        found = end.code or "answered"
        ends[f"{change}, {'watching' if number % 2 else 'waiting'}: {found}"] += 1
        allowed = {"not_authenticated", "not_found"} if is_cut else {"answered"}
        played.expect(found in allowed or (is_cut and not number % 2), f"{ask.canary}: {change}, and {found}")
        played.landed += 1

    await asyncio.gather(*(play(number, change) for change in CHANGES for number in range(rounds)))
    users = [ask.caller.id for ask in played.asks]
    await rig.database.until_ended(users, seconds=30)
    played.figures |= ends
    statuses = Counter(turn.status for turn in (await rig.database.facts(users)).turns)
    played.expect(set(statuses) <= {"completed"}, f"turns ended {dict(statuses)}")
    return played
