"""Faults of the machine: a core is busy, a clock jumps."""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from jose import jwt

from tests.drill.asks import Ask, Caller
from tests.drill.clients import background
from tests.drill.faults import fault
from tests.drill.replicas import Replica
from tests.drill.results import Played
from tests.drill.rig import Rig
from tests.drill.traffic import send_all

HOG = "while True: pass"
HEALTH_SECONDS = 1
JUMPS = ("+600", "-600")


@fault("F43", "one core is busy, 200 turns run", rounds=1)
async def busy_core(rig: Rig, rounds: int) -> Played:
    played = Played(limit=60)
    hog = await asyncio.create_subprocess_exec(sys.executable, "-c", HOG)
    slowest = 0.0
    try:
        for _ in range(rounds):
            asks = await rig.asks(200, "ttft=1 gap=1 length=15", name="F43")
            played.asks += asks
            started = time.monotonic()
            sending = asyncio.create_task(_send_gently(rig, asks))
            while not sending.done():
                checks = await asyncio.gather(*map(_health_seconds, rig.replicas))
                slowest = max(slowest, *checks)
                await asyncio.sleep(0.25)
            await sending
            played.recoveries.append(time.monotonic() - started)
            played.landed += len(asks)
    finally:
        hog.kill()
        await hog.wait()
    played.figures["slowest health, s"] = round(slowest, 2)
    played.expect(slowest <= HEALTH_SECONDS, f"a health check took {slowest:.2f} s")
    await _expect_none_interrupted(rig, played)
    return played


async def _send_gently(rig: Rig, asks: Sequence[Ask]) -> None:
    """Not all in the same moment: that would be another fault."""
    for first in range(0, len(asks), 10):
        rig.later(send_all(rig.clients, asks[first : first + 10]))
        await asyncio.sleep(0.3)
    await rig.finish()


async def _health_seconds(replica: Replica) -> float:
    started = time.monotonic()
    return time.monotonic() - started if await replica.is_ready() else 10.0


async def _expect_none_interrupted(rig: Rig, played: Played) -> None:
    users = sorted({ask.caller.id for ask in played.asks})
    false = sum(row.status == "interrupted" for row in (await rig.database.facts(users)).history)
    played.figures["false interruptions"] = false
    played.expect(not false, f"{false} turns were interrupted")


@fault("F44", "the clock of one replica jumps by ten minutes, forth and back", rounds=4)
async def jumping_clock(rig: Rig, rounds: int) -> Played:
    library = _faketime()
    if library is None:
        return Played(not_run="libfaketime is not installed (Debian: faketime)")
    replica, clock = rig.replicas[0], rig.folder / "clock"
    clock.write_text("+0\n")
    await replica.terminate()
    await replica.start(
        LD_PRELOAD=str(library),
        FAKETIME_TIMESTAMP_FILE=str(clock),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    await replica.until_ready()
    played = Played(limit=40)
    for number in range(rounds):
        asks = await rig.asks(8, "ttft=0.5 gap=1 length=16", name="F44")
        tolerant = [Ask(_patient(rig, ask.caller), ask.canary, ask.script) for ask in asks]
        played.asks += tolerant
        started = time.monotonic()
        async with background(send_all(rig.clients_of(replica), tolerant)):
            await asyncio.sleep(3)
            clock.write_text(f"{JUMPS[number % 2]}\n")
        played.landed += _clock_differs(replica)
        played.recoveries.append(time.monotonic() - started)
    await replica.terminate()
    await replica.restart()
    await _expect_none_interrupted(rig, played)
    return played


def _patient(rig: Rig, caller: Caller) -> Caller:
    """The user with a token that is valid by every clock here."""
    now = int(time.time())
    claims = {"sub": str(caller.id), "type": "access", "iat": now - 3600, "exp": now + 3600}
    return Caller(caller.id, str(jwt.encode(claims, rig.secret, algorithm="HS256")))


def _faketime() -> Path | None:
    return next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


def _clock_differs(replica: Replica) -> bool:
    """Whether the replica's newest log line is from another time than ours."""
    newest = replica.last_log_time()
    return newest is not None and abs(newest - time.time()) > 300
