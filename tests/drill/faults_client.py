"""Faults of the clients: they leave, they stop what they asked for, they do not read."""

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack

from tests.drill.asks import Ask
from tests.drill.clients import API
from tests.drill.faults import fault
from tests.drill.results import Played
from tests.drill.rig import Rig
from tests.drill.streams import View
from tests.drill.wire import Exchange, LostError

ENDED = {"completed", "cancelled"}
AT_ONCE = 60
VIEWERS = 200
BIG = "gap=0.01 length=500 size=2000"
MAX_BYTES_A_VIEWER = 256 * 1024
DROP_SECONDS = 40


@fault("F19", "clients leave after 0, 1 or some events, with RST and FIN", rounds=20)
async def leave(rig: Rig, rounds: int) -> Played:
    asks = await rig.asks(rounds * 50, "ttft=0.05 gap=0.02 length=8", name="F19")
    played = Played(asks, landed=len(asks))
    places = asyncio.Semaphore(AT_ONCE)

    async def leave_one(number: int) -> None:
        async with places:
            await _leave(
                rig, asks[number], events=(0, 1, rig.random.randrange(2, 8))[number % 3], is_rude=number % 2 > 0
            )

    started = time.monotonic()
    await asyncio.gather(*(leave_one(number) for number in range(len(asks))))
    played.figures["all gone within, s"] = round(time.monotonic() - started)
    # Nobody is there, and each accepted question gets its answer all the same.
    played.recoveries.append(await rig.database.until_ended([asks[0].caller.id], seconds=20))
    ends = Counter(turn.status for turn in (await rig.database.facts([asks[0].caller.id])).turns)
    played.figures["accepted"] = ends.total()
    played.expect(set(ends) == {"completed"}, f"with nobody there, turns ended {dict(ends)}")
    return played


async def _leave(rig: Rig, ask: Ask, *, events: int, is_rude: bool) -> None:
    view = View()
    ask.views.append(view)
    try:
        exchange = await Exchange.send(
            rig.balancer.port, "POST", f"{API}/chat/stream/", headers=ask.headers, body=ask.body
        )
        if events:
            await exchange.head()
            await rig.clients.watch(exchange, view, until=lambda seen: seen.events >= events, is_rude=is_rude)
        else:
            await asyncio.sleep(rig.random.uniform(0, 0.1))
            (exchange.reset if is_rude else exchange.close)()
    except LostError as exc:
        raise ConnectionError(f"{ask.canary}: the balancer broke off") from exc


@fault("F20", "turns are stopped, each twice, at random moments", rounds=20)
async def stop_storm(rig: Rig, rounds: int) -> Played:
    asks = await rig.asks(rounds * 50, "ttft=0.3 gap=0.1 length=12", name="F20")
    played = Played(asks, settles=False)
    places = asyncio.Semaphore(AT_ONCE)
    ends: Counter[str] = Counter()

    async def stop_one(ask: Ask) -> None:
        async with places:
            if (await rig.clients.start(ask)).status != 202:
                played.problems.append(f"{ask.canary}: not accepted, {ask.replies[-1].body}")
                return
            await asyncio.sleep(rig.random.uniform(0, 1.2))
            started = time.monotonic()
            replies = await asyncio.gather(rig.clients.stop(ask), rig.clients.stop(ask))
            played.recoveries.append(time.monotonic() - started)
        statuses = {str((reply.body.get("data") or {}).get("status", reply.code)) for reply in replies}
        played.expect(len(statuses) == 1 and statuses <= ENDED, f"{ask.canary}: stopped twice, {statuses}")
        ends.update(statuses)

    await asyncio.gather(*map(stop_one, asks))
    played.limit = 5
    played.landed = ends["cancelled"]
    played.figures |= dict(ends)
    healthy = await asyncio.gather(*(rig.clients.post(ask) for ask in await rig.asks(40, name="F20-after")))
    good = sum(reply.status == 200 for reply in healthy)
    played.figures["answered after the storm"] = f"{good} of 40"
    played.expect(good == 40, f"after the storm {good} of 40 are answered")
    return played


@fault("F21", "200 viewers that never read, or read 10 bytes a second, of a 1 MB answer", rounds=3)
async def slow_viewers(rig: Rig, rounds: int) -> Played:
    alone = (await rig.asks(1, BIG, name="F21"))[0]
    replica = rig.replicas[0]
    direct = rig.clients_of(replica)
    started = time.monotonic()
    await direct.stream(alone)
    alone_seconds = time.monotonic() - started
    before = await replica.gauges()
    played = Played([alone])
    for _ in range(rounds):
        ask = (await rig.asks(1, BIG, name="F21"))[0]
        played.asks.append(ask)
        async with AsyncExitStack() as stack:
            watching = asyncio.create_task(direct.stream(ask))
            await rig.until_called(ask)
            (turn,) = (await rig.database.facts([ask.caller.id])).turns
            for number in range(VIEWERS):
                await _view_slowly(stack, replica.port, ask, turn.id, rate=number % 2 * 10)
            started = time.monotonic()
            view = await watching
            seconds = time.monotonic() - started
            played.expect(view.has_answer, "who reads did not get the answer")
            grown = (await replica.gauges()).memory - before.memory
            played.landed += VIEWERS
            played.figures |= {
                "answer alone and with slow viewers, s": f"{alone_seconds:.1f}, {seconds:.1f}",
                "bytes a slow viewer": max(0, grown // VIEWERS),
            }
            played.expect(grown <= VIEWERS * MAX_BYTES_A_VIEWER, f"{grown // VIEWERS} bytes a slow viewer")
            played.expect(
                seconds < 2 * alone_seconds + 2, f"the turn took {seconds:.1f} s, alone {alone_seconds:.1f} s"
            )
            if played.landed == VIEWERS:
                await asyncio.sleep(DROP_SECONDS)
                left = replica.count_connections()
                played.figures[f"viewers not dropped {DROP_SECONDS} s after the end"] = left
                played.expect(left == 0, f"{left} viewers that do not read were not dropped")
    return played


async def _view_slowly(stack: AsyncExitStack, port: int, ask: Ask, turn_id: int, *, rate: int) -> None:
    """One more viewer, who reads so many bytes a second."""
    path, headers = f"{API}/turns/{turn_id}/stream/", ask.caller.headers
    exchange = await Exchange.send(port, "GET", path, headers=headers, receive_buffer=4096)
    stack.callback(exchange.reset)
    stack.callback(asyncio.create_task(exchange.trickle(rate)).cancel)
