"""Faults exactly at a step's boundary: the process dies, or the word that the step was done is lost."""

import asyncio
import time
from functools import partial
from typing import NamedTuple

from tests.drill.asks import LOST, Ask
from tests.drill.clients import Clients
from tests.drill.faults import fault
from tests.drill.pgwire import Moment, Trap
from tests.drill.proxy import Proxy
from tests.drill.results import Played, seconds_to_end
from tests.drill.rig import Rig
from tests.drill.traffic import watch

# The statements that the steps' commits hang on.
ACCEPT = r"INSERT INTO chat_turns"
RENEW = r"UPDATE chat_turns SET lease_expires_at"
PARTIAL = r"UPDATE chat_turns SET partial"
FINISH = r"UPDATE chat_turns SET (status ?= ?[^,]*, )?answer_id"
LONG, SHORT = "ttft=0.2 gap=0.5 length=14", "ttft=0.2 gap=0.1 length=6"


class Outcome(NamedTuple):
    """What must be found after a death."""

    name: str
    status: str | None
    """The turn's end before anybody sends again; None when there must be no turn."""
    calls: int
    """The upstream's calls in all, after the client has sent again until it has its answer."""


class Boundary(NamedTuple):
    """A commit to die at."""

    outcome: Outcome
    statement: str
    moment: Moment
    script: str
    streams: bool = True


BOUNDARIES = [
    Boundary(Outcome("before C1", None, 1), ACCEPT, "request", SHORT),
    Boundary(Outcome("after C1", "interrupted", 1), ACCEPT, "reply", SHORT),
    Boundary(Outcome("before C2", "interrupted", 2), RENEW, "request", LONG),
    Boundary(Outcome("after C2", "interrupted", 2), RENEW, "reply", LONG),
    Boundary(Outcome("before C3", "interrupted", 2), PARTIAL, "request", LONG),
    Boundary(Outcome("after C3", "interrupted", 2), PARTIAL, "reply", LONG),
    Boundary(Outcome("before C4", "interrupted", 2), FINISH, "request", SHORT),
    Boundary(Outcome("after C4", "completed", 1), FINISH, "reply", SHORT),
    Boundary(Outcome("before C4, waiting client", "interrupted", 2), FINISH, "request", SHORT, streams=False),
    Boundary(Outcome("after C4, waiting client", "completed", 1), FINISH, "reply", SHORT, streams=False),
]


class Deaths:
    """Replicas that die again and again; the rig's last one is left alone, and sweeps."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.played = Played()

    async def at_commit(self, replica: int, boundary: Boundary) -> None:
        """Die when the boundary's commit passes the replica's proxy."""
        ask = await self._ask(boundary.script)
        causes: list[float] = []

        async def kill() -> bool:
            causes.append(time.time())
            await self._rig.replicas[replica].kill()
            return False

        self._rig.database_hops[replica].traps.append(Trap(boundary.statement, boundary.moment, kill))
        direct = self._rig.clients_of(self._rig.replicas[replica])
        await (direct.stream(ask) if boundary.streams else direct.post(ask))
        self.played.expect(causes, f"{ask.canary}: {boundary.outcome.name} was never reached")
        self._note(ask, boundary.outcome, causes)

    async def before_first_byte(self, replica: int) -> None:
        """Die when the upstream has the question, and has said nothing."""
        ask = await self._ask("ttft=5")
        asking = asyncio.create_task(self._rig.clients_of(self._rig.replicas[replica]).stream(ask))
        await self._rig.until_called(ask)
        causes = await self._kill(replica)
        await asking
        self._note(ask, Outcome("before the upstream's first byte", "interrupted", 2), causes)

    async def after_first_delta(self, replica: int) -> None:
        """Die when the client sees the first word."""
        ask = await self._ask(LONG)
        await self._rig.clients_of(self._rig.replicas[replica]).stream(ask, until=lambda view: bool(view.text))
        self._note(ask, Outcome("after the first delta", "interrupted", 2), await self._kill(replica))

    async def after_announcing(self, replica: int) -> None:
        """C5: die when the client has heard of the end."""
        ask = await self._ask(SHORT)
        direct = self._rig.clients_of(self._rig.replicas[replica])
        view = await direct.stream(ask, until=lambda view: view.end is not None)
        self.played.expect(view.end == "finish", f"{ask.canary}: the stream ended with {view.end}")
        self._note(ask, Outcome("after C5", "completed", 1), await self._kill(replica))

    async def _ask(self, script: str) -> Ask:
        (ask,) = await self._rig.asks(1, script, name="F02")
        self.played.asks.append(ask)
        return ask

    async def _kill(self, replica: int) -> list[float]:
        cause = time.time()
        await self._rig.replicas[replica].kill()
        return [cause]

    def _note(self, ask: Ask, outcome: Outcome, causes: list[float]) -> None:
        self.played.landed += len(causes)
        self._rig.later(self._look(ask, outcome, causes))

    async def _look(self, ask: Ask, outcome: Outcome, causes: list[float]) -> None:
        """Wait for the end, look at it, send again, count; the replica dies elsewhere meanwhile."""
        rig, expect, what = self._rig, self.played.expect, f"{ask.canary}, {outcome.name}"
        users = [ask.caller.id]
        await rig.database.until_ended(users, seconds=40)
        facts = await rig.database.facts(users)
        found = [turn.status for turn in facts.turns]
        expect(found == ([outcome.status] if outcome.status else []), f"{what}: ended {found}, not {outcome.status}")
        for cause in causes:
            self.played.recoveries += seconds_to_end(facts.history, cause)
        reply = await rig.clients_of(rig.replicas[-1]).settle(ask)
        if reply is None or reply.status != 200:
            expect(None, f"{what}: sent again, and no answer: {ask.statuses}")
            return
        calls = len(rig.journal.calls(ask.canary))
        expect(calls == outcome.calls, f"{what}: {calls} calls, not {outcome.calls}")
        expect(reply.was_replayed == (outcome.status == "completed"), f"{what}: replayed: {reply.was_replayed}")


@fault("F02", "kill -9 at every boundary of a turn", rounds=8)
async def kill_at_boundaries(rig: Rig, rounds: int) -> Played:
    deaths = Deaths(rig)
    others = [deaths.before_first_byte, deaths.after_first_delta, deaths.after_announcing]
    ways = [partial(deaths.at_commit, boundary=boundary) for boundary in BOUNDARIES] + others
    left = ways * rounds

    async def die(replica: int) -> None:
        while left:
            await left.pop(0)(replica)
            await rig.replicas[replica].restart()

    await asyncio.gather(*(die(replica) for replica in range(len(rig.replicas) - 1)))
    await rig.finish()
    deaths.played.figures["boundaries"] = f"{len(ways)} of {len(ways)}, {rounds} × each"
    return deaths.played


@fault("F26", "the response is lost after C4, the client sends again", rounds=20)
async def lose_responses(rig: Rig, rounds: int) -> Played:
    played = Played(await rig.asks(rounds, SHORT, name="F26"))
    hop = Proxy(rig.balancer.port)
    await hop.open()
    hop.cut_after = 0
    lossy = Clients(hop.port)
    replies = await asyncio.gather(*(lossy.post(ask) for ask in played.asks))
    played.landed = sum(reply.status == LOST for reply in replies)
    again = await asyncio.gather(*(rig.clients.post(ask) for ask in played.asks))
    played.recoveries = [reply.seconds for reply in again]
    played.expect(all(reply.was_replayed for reply in again), "not every second answer was the stored one")
    played.expect(all(len(rig.journal.calls(ask.canary)) == 1 for ask in played.asks), "the upstream was asked again")
    await hop.close()
    return played


@fault("F33", "the acknowledgement of a COMMIT is lost, at C1 and at C4", rounds=20)
async def lose_acknowledgements(rig: Rig, rounds: int) -> Played:
    played = Played()
    causes: dict[str, float] = {}

    async def play(number: int, statement: str) -> None:
        ask = (await rig.asks(1, SHORT, name="F33"))[0]
        played.asks.append(ask)

        async def cut() -> bool:
            causes[ask.canary] = time.time()
            return False

        trap = Trap(statement, "reply", cut)
        rig.database_hops[number].traps.append(trap)
        direct = rig.clients_of(rig.replicas[number])
        await (watch(direct, ask) if len(played.asks) % 2 else direct.post(ask))
        played.landed += trap.fired.is_set()

    async def play_all(number: int) -> None:
        for repeat in range(-(-2 * rounds // len(rig.replicas))):
            await play(number, (ACCEPT, FINISH)[repeat % 2])

    await asyncio.gather(*(play_all(number) for number in range(len(rig.replicas))))
    users = sorted({ask.caller.id for ask in played.asks})
    await rig.database.until_ended(users, seconds=40)
    facts = await rig.database.facts(users)
    turn_of = {turn.user_id: turn.id for turn in facts.turns}
    for ask in played.asks:
        own = [row for row in facts.history if row.turn_id == turn_of.get(ask.caller.id)]
        played.recoveries += seconds_to_end(own, causes.get(ask.canary, 0))
    return played
