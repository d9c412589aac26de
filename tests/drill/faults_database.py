"""Faults of PostgreSQL and the way to it: it stands still, it is slow, it has few connections."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

from tests.drill.asks import Ask
from tests.drill.clients import Clients, background
from tests.drill.faults import fault
from tests.drill.faults_boundary import ACCEPT, FINISH, PARTIAL, RENEW
from tests.drill.pgwire import Trap
from tests.drill.results import Played, seconds_to_end
from tests.drill.rig import POOL_SIZE, Rig
from tests.drill.traffic import send_all, watch

POINTS = {"C1": ACCEPT, "C2": RENEW, "C3": PARTIAL, "C4": FINISH}
STOPS = [(name, seconds) for seconds in (5, 15) for name in POINTS] + [("C4", 60)]
GOOD_SECONDS = 2
PARTITION_SECONDS = 25
ERRORS = {"database_unavailable", "overloaded", "turn_interrupted", None}


@fault("F29", "every PostgreSQL process stands still for 5, 15 and 60 s, at each commit point", rounds=1)
async def stop_database(rig: Rig, rounds: int) -> Played:
    played = Played(limit=GOOD_SECONDS)
    false: dict[str, int] = {}
    for name, seconds in STOPS * rounds:
        asks = await rig.asks(12, "ttft=0.5 gap=0.4 length=16", name=f"F29-{name}-{seconds}")
        played.asks += asks
        async with background(send_all(rig.clients, asks[1:]), watch(rig.clients_of(rig.replicas[0]), asks[0])):
            await _stop_at(rig, POINTS[name], seconds, played)
        await rig.database.until_ended([asks[0].caller.id], seconds=90)
        history = (await rig.database.facts([asks[0].caller.id])).history
        false[f"{seconds} s"] = false.get(f"{seconds} s", 0) + sum(row.status == "interrupted" for row in history)
    codes = {reply.code for ask in played.asks for reply in ask.replies if reply.status >= 500}
    played.expect(codes <= ERRORS, f"clients met {codes - ERRORS}")
    played.figures["interrupted though their replica lived"] = false
    played.expect(not any(false.values()), f"turns were interrupted though their replica lived: {false}")
    return played


async def _stop_at(rig: Rig, statement: str, seconds: float, played: Played) -> None:
    """When the commit comes by, everything stops; when it goes on again, somebody asks at once."""
    reached, resumed = asyncio.Event(), asyncio.Event()

    async def hold() -> bool:
        reached.set()
        return True

    for hop in rig.database_hops:
        hop.traps.append(Trap(statement, "request", hold))
    await asyncio.wait_for(reached.wait(), 20)
    probe = (await rig.asks(1, name="F29-probe"))[0]
    with rig.database.stopped():
        played.landed += 1
        await asyncio.sleep(seconds)
    resumed.set()
    started = time.monotonic()
    impatient = Clients(rig.balancer.port, patience=GOOD_SECONDS)
    while (await impatient.post(probe)).status != 200:
        if time.monotonic() - started > 30:
            break
        await asyncio.sleep(0.1)
    played.recoveries.append(time.monotonic() - started)
    played.asks.append(probe)
    for hop in rig.database_hops:
        hop.traps.clear()


@fault("F30", "PostgreSQL ends every connection, every 2 s", rounds=15)
async def end_connections(rig: Rig, rounds: int) -> Played:
    played = Played()
    stop = asyncio.Event()
    async with background(_load(rig, played, stop, "F30")):
        for _ in range(rounds):
            await asyncio.sleep(2)
            played.landed += await rig.database.end_connections()
        stop.set()
    return await _after_errors(rig, played)


@fault("F31", "PostgreSQL crashes and recovers, with turns in flight", rounds=10)
async def crash_database(rig: Rig, rounds: int) -> Played:
    played = Played()
    stop = asyncio.Event()
    async with background(_load(rig, played, stop, "F31")):
        for _ in range(rounds):
            await asyncio.sleep(rig.random.uniform(3, 5))
            await rig.database.crash()
            played.landed += 1
        stop.set()
    return await _after_errors(rig, played)


async def _load(rig: Rig, played: Played, stop: asyncio.Event, name: str) -> None:
    """Groups of ten, half a second apart, until told to stop; then until all have heard of their end."""
    caller, sending = await rig.caller(), []
    while not stop.is_set():
        asks = [rig.ask(caller, "ttft=0.3 gap=0.3 length=10", name=name) for _ in range(10)]
        played.asks += asks
        sending.append(asyncio.create_task(send_all(rig.clients, asks)))
        await asyncio.sleep(0.5)
    await asyncio.gather(*sending)


async def _after_errors(rig: Rig, played: Played) -> Played:
    """How long until all is over, and what the clients met."""
    played.recoveries.append(await rig.database.until_ended(_users(played.asks), seconds=40))
    codes = Counter(reply.code for ask in played.asks for reply in ask.replies if reply.status >= 500)
    played.figures["5xx that clients met"] = dict(codes)
    played.expect(set(codes) <= ERRORS, f"clients met {dict(codes)}")
    return played


@fault("F39", "one replica is cut off from the database for 25 s", rounds=2)
async def partition(rig: Rig, rounds: int) -> Played:
    played = Played()
    for number in range(rounds):
        hop, replica = rig.database_hops[number % len(rig.replicas)], rig.replicas[number % len(rig.replicas)]
        asks = await rig.asks(30, "ttft=0.5 gap=0.5 length=12", name="F39")
        played.asks += asks
        async with background(send_all(rig.clients, asks)):
            await asyncio.sleep(2)
            hop.pause()
            cause = time.time()
            await asyncio.sleep(5)
            played.landed += replica.port not in rig.balancer.ready
            others = await asyncio.gather(*(rig.clients.post(ask) for ask in await rig.asks(10, name="F39-other")))
            good = sum(reply.status == 200 and reply.seconds < 2 for reply in others)
            played.expect(good == len(others), f"the others answered {good} of {len(others)}")
            await asyncio.sleep(PARTITION_SECONDS - (time.time() - cause))
            hop.resume()
        facts = await rig.database.facts(_users(asks))
        played.recoveries += seconds_to_end(facts.history, cause)
    return played


@fault("F34", "500 turns of 30 s held open, a pool of 5 a replica", rounds=1)
async def held_open(rig: Rig, rounds: int) -> Played:
    asks = [ask for _ in range(10 * rounds) for ask in await rig.asks(50, "ttft=1 gap=2.9 length=11", name="F34")]
    played = Played(asks, limit=60)
    places = asyncio.Semaphore(25)
    peak = 0

    async def hold(ask: Ask) -> None:
        async with places:  # until it is accepted: 500 in the same moment is another fault
            view = await rig.clients.stream(ask, until=lambda view: view.turn_id is not None)
        if view.turn_id is not None:
            await rig.clients.join(ask, view)

    started = time.monotonic()
    holding = asyncio.gather(*map(hold, asks))
    while not holding.done():
        peak = max(peak, *[(await replica.gauges()).checked_out for replica in rig.replicas])
        played.landed = max(played.landed, await rig.database.count_running(_users(asks)))
        await asyncio.wait([holding], timeout=0.5)
    await holding
    played.recoveries.append(time.monotonic() - started)
    whole = sum(ask.views[-1].has_answer for ask in asks)
    played.figures |= {"completed at once": whole, "peak checked out of one pool": peak}
    played.expect(whole == len(asks), f"{whole} of {len(asks)} views came to their end")
    played.expect(peak <= POOL_SIZE, f"{peak} connections were checked out")
    return played


@fault("F35", "200 ms more to the database", rounds=20)
async def slow_database(rig: Rig, rounds: int) -> Played:
    for hop in rig.database_hops:
        hop.latency = 0.1  # there, and back
    asks = await rig.asks(rounds, "ttft=1 gap=1 length=18", name="F35")
    played = Played(asks, limit=40)
    started = time.monotonic()
    await send_all(rig.clients, asks)
    played.recoveries.append(time.monotonic() - started)
    played.landed = len(asks)
    turns = (await rig.database.facts(_users(asks))).turns
    bad = [turn.status for turn in turns if turn.status != "completed" or turn.attempt != 1]
    played.expect(not bad, f"turns that were not completed at once: {bad}")
    return played


def _users(asks: Sequence[Ask]) -> list[int]:
    return sorted({ask.caller.id for ask in asks})
