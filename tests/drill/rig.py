"""The rig: PostgreSQL, upstream, three replicas, a balancer in front, and a proxy on every hop that can fail."""

import asyncio
import random
import re
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from alembic.command import upgrade
from alembic.config import Config

from app.core.tokens import TokenKind
from tests.drill.asks import Ask, Caller
from tests.drill.balancer import Balancer
from tests.drill.clients import Clients, signer
from tests.drill.database import DrillDatabase, Facts
from tests.drill.invariants import Evidence, at_rest
from tests.drill.journal import Journal
from tests.drill.pgwire import PostgresProxy
from tests.drill.proxy import Proxy
from tests.drill.replicas import RAGCHAT, ROOT, Gauges, Replica, service_environment
from tests.drill.waiting import until

POOL_SIZE = 5
RAG_SECONDS = 40
REST_SECONDS = 20


class Rig:
    """Everything that a fault needs to be played, and to be judged."""

    def __init__(self, database: DrillDatabase, journal: Journal, folder: Path, seed: int) -> None:
        self.database = database
        self.journal = journal
        self.folder = folder
        self.random = random.Random(seed)  # noqa: S311 - a drill that can be repeated
        self.secret = secrets.token_urlsafe(48)
        self.database_port = int(re.findall(r":(\d+)/", database.url)[0])
        self.upstream_port = 0
        self.replicas: list[Replica] = []
        self.database_hops: list[PostgresProxy] = []
        self.upstream_hops: list[Proxy] = []
        self.balancer = Balancer([])
        self.upstream: asyncio.subprocess.Process | None = None
        self.clients = Clients(0)
        self._signer = signer(self.secret)
        self._serial = self._names = 0
        self._later: list[asyncio.Task[None]] = []
        self._baselines: dict[str, Gauges] = {}
        self._log_marks: dict[str, int] = {}

    async def add_replica(self, command: Sequence[str] = RAGCHAT) -> Replica:
        """One more replica, with hops of its own; not started yet, and unknown to the balancer."""
        database_hop, upstream_hop = PostgresProxy(self.database_port), Proxy(self.upstream_port)
        await database_hop.open()
        await upstream_hop.open()
        environment = service_environment(
            DATABASE_URL=re.sub(r":\d+/", f":{database_hop.port}/", self.database.url),
            DATABASE_POOL_SIZE=str(POOL_SIZE),
            RUNPOD_RAG_URL=f"http://127.0.0.1:{upstream_hop.port}",
            RAG_TIMEOUT_SECONDS=str(RAG_SECONDS),
            JWT_SECRET_KEY=self.secret,
        )
        self._names += 1
        name = f"replica-{self._names}"
        replica = Replica(name, environment, self.folder, command=command)
        self.replicas.append(replica)
        self.database_hops.append(database_hop)
        self.upstream_hops.append(upstream_hop)
        return replica

    async def remove(self, replica: Replica) -> None:
        """End a replica that was added."""
        await replica.close()
        place = self.replicas.index(replica)
        del self.replicas[place]
        await self.database_hops.pop(place).close()
        await self.upstream_hops.pop(place).close()

    async def caller(self) -> Caller:
        """A new user."""
        self._serial += 1
        (user_id,) = await self.database.add_users([f"user-{self._serial}-{time.time_ns()}"])
        return self.signed_in(user_id)

    def signed_in(self, user_id: int) -> Caller:
        """The user, with a token."""
        return Caller(user_id, self._signer.issue(user_id, TokenKind.ACCESS))

    async def asks(self, number: int, script: str = "", *, name: str = "ask") -> list[Ask]:
        """New questions of a new user, each for a session of its own."""
        caller = await self.caller()
        return [self.ask(caller, script, name=name) for _ in range(number)]

    def ask(self, caller: Caller, script: str = "", *, name: str = "ask") -> Ask:
        """A new question."""
        self._serial += 1
        return Ask(caller, canary=f"{name}-{self._serial}", script=script)

    def clients_of(self, replica: Replica) -> Clients:
        """Clients that speak to one replica, past the balancer."""
        return Clients(replica.port)

    def toggle_upstream(self) -> None:
        """The upstream goes away, or comes back."""
        assert self.upstream
        self.upstream.send_signal(signal.SIGUSR1)

    async def until_called(self, ask: Ask) -> None:
        """Return when the upstream has the question."""

        async def has_it() -> bool:
            return bool(self.journal.calls(ask.canary))

        await until(has_it, seconds=10, what=f"the upstream is asked for {ask.canary}", every=0.02)

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Go on with this beside the play; `finish` waits for it."""
        self._later.append(asyncio.create_task(work))

    async def finish(self) -> None:
        """Return when all that was put off is done."""
        while self._later:
            await self._later.pop()

    async def heal(self) -> None:
        """Everything runs, every hop carries."""
        for hop in (*self.database_hops, *self.upstream_hops):
            await hop.restore()
        for replica in self.replicas:
            if not replica.is_running:
                await replica.start()
        for replica in self.replicas:
            await replica.until_ready(60)

        async def all_ready() -> bool:
            return len(self.balancer.ready) == len(self.replicas)

        await until(all_ready, seconds=10, what="the balancer knows that every replica is ready")

    async def mark(self) -> None:
        """From here on logs are searched; what the replicas hold now is their baseline."""
        self._log_marks = {replica.name: replica.log_size for replica in self.replicas}
        if not self._baselines:
            self._baselines = {name: now for name, _, now in await self._gauges()}

    async def evidence(self, asks: Sequence[Ask], *, landed: int = 1, rests: bool = True) -> Evidence:
        """What is to be judged; waits for the replicas to come to rest first."""
        held = await (self._rest() if rests else self._held())
        facts = await self.database.facts(sorted({ask.caller.id for ask in asks}))
        return replace(held, facts=facts, asks=asks, crashes=self._crashes(), landed=landed)

    async def _rest(self) -> Evidence:
        """What the replicas hold as soon as that is nothing, or after a while, when it is to be judged."""
        ends = time.monotonic() + REST_SECONDS
        while True:
            held = await self._held()
            if not at_rest(held) or time.monotonic() > ends:
                return held
            await asyncio.sleep(0.5)

    async def _held(self) -> Evidence:
        """What the replicas hold now, and nothing else."""
        gauges, connections = await self._gauges(), await self.database.connections()
        return Evidence(Facts([], [], {}, []), [], self.journal, gauges=gauges, connections=connections)

    def _crashes(self) -> list[str]:
        marks = ((replica, self._log_marks.get(replica.name, 0)) for replica in self.replicas)
        return [line for replica, mark in marks for line in replica.crashes(mark)]

    async def _gauges(self) -> list[tuple[str, Gauges, Gauges]]:
        awake = [r for r in self.replicas if r.is_running and r.was_ready and not r.stands_still]
        held = await asyncio.gather(*map(_held, awake))
        return [(r.name, self._baselines.get(r.name, now), now) for r, now in zip(awake, held, strict=True) if now]


async def _held(replica: Replica) -> Gauges | None:
    try:
        return await replica.gauges()
    except ProcessLookupError:
        return None


@asynccontextmanager
async def open_rig(database_url: str, folder: Path, *, seed: int, replicas: int = 3) -> AsyncIterator[Rig]:
    """A rig on an empty database, ready to be asked."""
    await asyncio.to_thread(upgrade, Config(ROOT / "alembic.ini", attributes={"database_url": database_url}), "head")
    database = DrillDatabase(database_url)
    await database.open()
    journal = folder / "journal"
    journal.write_bytes(b"")
    upstream = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.drill.upstream", str(journal), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    rig = Rig(database, Journal(journal), folder, seed)
    rig.upstream = upstream
    try:
        assert upstream.stdout
        rig.upstream_port = int(await upstream.stdout.readline())
        for _ in range(replicas):
            await rig.add_replica()
        rig.balancer = Balancer([replica.port for replica in rig.replicas])
        await rig.balancer.open()
        rig.clients = Clients(rig.balancer.port)
        await rig.heal()
        yield rig
    finally:
        await _close(rig)
        upstream.kill()
        await upstream.wait()


async def _close(rig: Rig) -> None:
    await rig.balancer.close()
    for replica in rig.replicas:
        await replica.close()
    for hop in (*rig.database_hops, *rig.upstream_hops):
        await hop.close()
    await rig.database.close()
