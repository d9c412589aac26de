"""Faults of the service's own processes: killed, stopped, told to end."""

import asyncio
import signal
import time

from tests.drill.asks import Ask
from tests.drill.clients import background
from tests.drill.faults import fault
from tests.drill.replicas import Replica
from tests.drill.results import Played, seconds_to_end
from tests.drill.rig import Rig
from tests.drill.traffic import send_all
from tests.drill.waiting import until

TURN = "ttft=0.3 gap=0.25 length=14"
# The longest that a turn may be without an end after its replica was killed, with room to see it late.
END_SECONDS = 40
SWEEPER_SECONDS = 13
DRAIN_SECONDS = 20
# uvicorn ends itself with the signal that it was told to end with, once all is done.
ENDED = (0, -signal.SIGTERM)


@fault("F01", "kill -9 of a replica with 50 turns in flight", rounds=40)
async def kill_one(rig: Rig, rounds: int) -> Played:
    played = Played()
    ups = {replica.name: 0.0 for replica in rig.replicas}
    turn = asyncio.Lock()

    async def play() -> None:
        asks = await rig.asks(50, TURN, name="F01")
        async with turn:
            victim = await _choose(rig, ups)
            sending = asyncio.create_task(send_all(rig.clients, asks))
            await asyncio.sleep(rig.random.uniform(0.2, 3))
            played.landed += await running_on(rig, victim) > 0
            cause = time.time()
            await victim.kill()
            await victim.restart()
            ups[victim.name] = time.monotonic()
        played.asks += asks
        await sending
        await _note_ends(rig, asks, cause, played)

    await asyncio.gather(*(play() for _ in range(rounds)))
    return played


async def _choose(rig: Rig, ups: dict[str, float]) -> Replica:
    """Any replica, as long as another one has been up long enough to sweep."""
    while True:
        now = time.monotonic()
        old = [replica for replica in rig.replicas if now - ups[replica.name] > SWEEPER_SECONDS]
        if choice := [replica for replica in rig.replicas if set(old) - {replica}]:
            return rig.random.choice(choice)
        await asyncio.sleep(0.5)


async def running_on(rig: Rig, replica: Replica) -> int:
    """How many turns the replica's process holds."""
    statement = "SELECT count(*) FROM chat_turns WHERE status = 'running' AND owner LIKE '%-' || $1 || '-%'"
    return int(await rig.database.pool.fetchval(statement, str(replica.process.pid)))


async def _note_ends(rig: Rig, asks: list[Ask], cause: float, played: Played) -> None:
    await rig.database.until_ended([asks[0].caller.id], seconds=END_SECONDS)
    facts = await rig.database.facts([asks[0].caller.id])
    played.recoveries += seconds_to_end(facts.history, cause)


@fault("F03", "kill -9 of all replicas with 30 turns in flight, then restart", rounds=5)
async def kill_all(rig: Rig, rounds: int) -> Played:
    played = Played()
    clean = []
    for _ in range(rounds):
        asks = await rig.asks(30, "ttft=0.3 gap=0.5 length=12", name="F03")
        played.asks += asks
        async with background(send_all(rig.clients, asks)):
            await asyncio.sleep(rig.random.uniform(0.5, 3))
            played.landed += await rig.database.count_running([asks[0].caller.id]) > 0
            cause = time.time()
            await asyncio.gather(*(replica.kill() for replica in rig.replicas))
            await asyncio.gather(*(replica.restart() for replica in rig.replicas))
            ready = time.time()
            await _note_ends(rig, asks, cause, played)
            clean.append(time.time() - ready)
    played.figures["clean after ready, s"] = round(max(clean), 1)
    return played


@fault("F04", "SIGTERM under load, one replica at a time, the whole round", rounds=5)
async def rolling_restart(rig: Rig, rounds: int) -> Played:
    played = Played()
    stop = asyncio.Event()

    async def load() -> None:
        while not stop.is_set():
            asks = await rig.asks(6, "ttft=0.2 gap=0.1 length=8", name="F04")
            played.asks += asks
            await send_all(rig.clients, asks)

    async with background(load(), load()):
        for number in range(rounds * len(rig.replicas)):
            replica = rig.replicas[number % len(rig.replicas)]
            await asyncio.sleep(0.5)
            started = time.monotonic()
            code = await replica.terminate()
            played.recoveries.append(time.monotonic() - started)
            played.landed += 1
            played.expect(code in ENDED, f"{replica.name} ended with {code}")
            await replica.restart()
        stop.set()
    failed = [f"{ask.canary} {ask.statuses}" for ask in played.asks if any(s == 0 or s >= 500 for s in ask.statuses)]
    played.figures["5xx or broken at clients"] = len(failed)
    played.problems += [f"failed through the balancer: {text}" for text in failed]
    return played


@fault("F05", "SIGTERM with answers longer than the drain", rounds=20)
async def drain_ends(rig: Rig, rounds: int) -> Played:
    replica = rig.replicas[0]
    await replica.terminate()
    await replica.start(RAG_TIMEOUT_SECONDS="300", DRAIN_SECONDS=str(DRAIN_SECONDS))
    await replica.until_ready()
    asks = await rig.asks(rounds, "gap=0.5 length=400", name="F05")
    played = Played(asks, limit=DRAIN_SECONDS + 5)
    direct = rig.clients_of(replica)
    async with background(send_all(direct, asks)):
        await until_running(rig, asks)
        started = time.monotonic()
        played.landed = await running_on(rig, replica)
        ending = asyncio.create_task(replica.terminate(120))
        await asyncio.sleep(1)
        await _expect_refusals(rig, replica, played)
        code = await ending
        took = time.monotonic() - started
    played.recoveries.append(took)
    played.figures["exit after, s"] = round(took, 1)
    played.expect(code in ENDED, f"ended with {code}")
    turns = (await rig.database.facts([asks[0].caller.id])).turns
    played.expect({turn.status for turn in turns} == {"interrupted"}, f"ended {[turn.status for turn in turns]}")
    codes = {turn.error_code for turn in turns}
    played.expect(codes == {"turn_interrupted"}, f"error codes {codes}")
    kept, streamed = sum(bool(turn.partial) for turn in turns), sum(number % 4 > 1 for number in range(rounds))
    played.expect(kept == streamed, f"{kept} partial texts were kept, of {streamed} streamed turns")
    await replica.restart()
    return played


async def _expect_refusals(rig: Rig, replica: Replica, played: Played) -> None:
    """While it drains, a replica listens, says that it is not ready, and takes no new question."""
    (late,) = await rig.asks(1, name="F05-late")
    asked = await rig.clients_of(replica).post(late)
    health = await rig.clients_of(replica).call("GET", "/health/ready", late.caller)
    for name, reply in (("a question", asked), ("readiness", health)):
        refused = (reply.status, reply.code) == (503, "shutting_down")
        played.expect(refused, f"while draining, {name} got {reply.status} {reply.code}")


async def until_running(rig: Rig, asks: list[Ask], *, seconds: float = 20) -> None:
    """Return when every one of the questions is accepted and runs."""

    async def all_run() -> bool:
        return await rig.database.count_running([asks[0].caller.id]) == len(asks)

    await until(all_run, seconds=seconds, what="all questions run")


@fault("F06", "SIGSTOP of a replica for 6 s, under the lease", rounds=20)
async def stand_still(rig: Rig, rounds: int) -> Played:
    played = Played(limit=30)

    async def play(replica: Replica, times: int) -> None:
        for _ in range(times):
            asks = await rig.asks(8, TURN, name="F06")
            played.asks += asks
            async with background(send_all(rig.clients_of(replica), asks)):
                await asyncio.sleep(rig.random.uniform(0.3, 3))
                played.landed += await running_on(rig, replica) > 0
                replica.signal(signal.SIGSTOP)
                await asyncio.sleep(6)
                replica.signal(signal.SIGCONT)
                started = time.monotonic()
            played.recoveries.append(time.monotonic() - started)

    # Two stand still at a time; the third one watches, and must not sweep.
    await asyncio.gather(*(play(replica, -(-rounds // 2)) for replica in rig.replicas[:2]))
    users = sorted({ask.caller.id for ask in played.asks})
    history = (await rig.database.facts(users)).history
    false = [row for row in history if row.status == "interrupted"]
    played.figures["false interruptions"] = len(false)
    played.expect(not false, f"{len(false)} turns were interrupted")
    return played
