"""Faults of viewers: they drop, they come back, at the worst moment and long after."""

import asyncio
import time

from tests.drill.asks import Ask
from tests.drill.clients import background
from tests.drill.faults import fault
from tests.drill.faults_boundary import FINISH
from tests.drill.pgwire import Trap
from tests.drill.results import Played
from tests.drill.rig import Rig
from tests.drill.streams import View

DROPS, VIEWERS = 3, 5
OPEN_SECONDS = 5


@fault("F22", "five viewers of one turn on three replicas, each drops thrice", rounds=20)
async def dropping_viewers(rig: Rig, rounds: int) -> Played:
    played = Played()
    places = asyncio.Semaphore(4)

    async def play() -> None:
        async with places:
            (ask,) = await rig.asks(1, "ttft=0.3 gap=0.1 length=26", name="F22")
            played.asks.append(ask)
            await rig.clients.start(ask)
            views = await asyncio.gather(*(_drop_and_resume(rig, ask, number) for number in range(VIEWERS)))
            texts = {view.text for view in views}
            played.expect(len(texts) == 1, f"{ask.canary}: {len(texts)} different texts")
            played.expect(all(view.has_answer for view in views), f"{ask.canary}: {[view.end for view in views]}")
            played.landed += VIEWERS * DROPS

    await asyncio.gather(*(play() for _ in range(rounds)))
    return played


async def _drop_and_resume(rig: Rig, ask: Ask, number: int) -> View:
    """Join at random, each time on another replica, and leave again after some events."""
    await asyncio.sleep(rig.random.uniform(0, 1))
    view = View()
    ask.views.append(view)
    for drop in range(DROPS):
        clients = rig.clients_of(rig.replicas[(number + drop) % len(rig.replicas)])
        seen = view.events + rig.random.randrange(3, 8)
        await clients.join(ask, view, until=lambda view, seen=seen: view.events >= seen)  # type: ignore[misc]
    for _ in range(20):
        if view.is_over:
            break
        await rig.clients.join(ask, view)
    return view


@fault("F23", "viewers reconnect during C4, after the end, and long after it", rounds=20)
async def late_viewers(rig: Rig, rounds: int) -> Played:
    played = Played(limit=OPEN_SECONDS)
    await asyncio.gather(*(_late(rig, replica, rounds, played) for replica in range(len(rig.replicas))))
    return played


async def _late(rig: Rig, replica: int, rounds: int, played: Played) -> None:
    here, there = rig.clients_of(rig.replicas[replica]), rig.clients_of(rig.replicas[(replica + 1) % 3])
    for _ in range(-(-rounds // len(rig.replicas))):
        (ask,) = await rig.asks(1, "ttft=0.1 gap=0.05 length=8", name="F23")
        played.asks.append(ask)
        released = asyncio.Event()

        async def hold(released: asyncio.Event = released) -> bool:
            await released.wait()
            return True

        trap = Trap(FINISH, "request", hold)
        rig.database_hops[replica].traps.append(trap)
        await here.stream(ask, until=lambda view: "7·" in view.text)
        await asyncio.wait_for(trap.fired.wait(), 10)
        async with background(here.join(ask, ask.views[0]), there.join(ask), here.join(ask)):
            await asyncio.sleep(0.5)
            released.set()
            ended = time.monotonic()
        played.recoveries.append(time.monotonic() - ended)
        late = [await there.join(ask), await here.join(ask, _at_the_end(ask))]
        played.recoveries.append(time.monotonic() - ended)
        views = [*ask.views, *late]
        played.expect(all(view.has_answer for view in views), f"{ask.canary}: {[view.end for view in views]}")
        played.landed += 1


def _at_the_end(ask: Ask) -> View:
    """A viewer that saw everything but the end."""
    view = View()
    seen = ask.views[0]
    view.turn_id, view.session_id, view.attempt = seen.turn_id, seen.session_id, seen.attempt
    view.text, view.last_event_id = seen.text, seen.last_event_id
    return view
