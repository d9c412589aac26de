"""Faults of the embedded database: a replica of its own, on a file."""

import asyncio
import os
import re
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

from tests.drill.asks import Caller
from tests.drill.clients import Clients
from tests.drill.database import Facts, MessageRow, TurnRow
from tests.drill.faults import fault
from tests.drill.invariants import Evidence
from tests.drill.replicas import RAGCHAT, ROOT, Replica
from tests.drill.results import Played
from tests.drill.rig import Rig
from tests.drill.traffic import send_all
from tests.drill.waiting import until

WRITERS = 50
LOCKED_SECONDS = 10
BUSY_SECONDS = 5
USER = (
    "INSERT INTO users (username, email, password_hash, is_active, is_staff, is_superuser, date_joined) "
    "VALUES ('sqlite', '', '!', true, false, false, '2026-01-01 00:00:00.000000') RETURNING id"
)
TURNS = (
    "SELECT id, session_id, user_id, question_id, answer_id, status, attempt, partial, error_code, 0.0, 0.0 "
    "FROM chat_turns"
)
MESSAGES = "SELECT id, session_id, role, content FROM chat_messages ORDER BY session_id, created_at, id"


@fault("F42", "SQLite: 50 writers at once, kill -9 mid-write, locked by another process for 10 s", rounds=20)
async def embedded(rig: Rig, rounds: int) -> Played:
    file = rig.folder / "ragchat.db"
    for left in rig.folder.glob("ragchat.db*"):
        left.unlink()
    replica = Replica("sqlite", _environment(rig, file), rig.folder)
    await _migrate(replica)
    caller = rig.signed_in(_execute(file, USER)[0][0])
    clients = Clients(replica.port)
    played = Played(settles=False)
    try:
        await replica.restart()
        await _write_at_once(rig, clients, caller, played)
        for _ in range(rounds):
            await _kill_mid_write(rig, replica, caller, played, file)
        await _lock(rig, clients, caller, played, file)
        played.figures["read-only file"] = "not run: root writes it all the same" if os.geteuid() == 0 else "not run"
        played.evidence = _evidence(rig, replica, played, file)
    finally:
        await replica.close()
    return played


def _environment(rig: Rig, file: Path) -> dict[str, str]:
    return {**rig.replicas[0].environment, "DATABASE_URL": f"sqlite:///{file}"}


async def _migrate(replica: Replica) -> None:
    process = await asyncio.create_subprocess_exec(
        RAGCHAT[0], "migrate", env=replica.environment, cwd=ROOT, stdout=asyncio.subprocess.DEVNULL
    )
    if await process.wait():
        raise RuntimeError("`ragchat migrate` failed")


async def _write_at_once(rig: Rig, clients: Clients, caller: Caller, played: Played) -> None:
    asks = [rig.ask(caller, name="F42-writer") for _ in range(WRITERS)]
    replies = await asyncio.gather(*map(clients.post, asks))
    played.asks += asks
    statuses = Counter((reply.status, reply.code) for reply in replies)
    played.figures["50 writers"] = f"{statuses[200, None]} of {WRITERS} answered"
    played.expect(statuses == {(200, None): WRITERS}, f"50 writers met {dict(statuses)}")
    played.landed += 1


async def _kill_mid_write(rig: Rig, replica: Replica, caller: Caller, played: Played, file: Path) -> None:
    """Kill it while ten questions are written; the next process ends at once what the last one left."""
    asks = [rig.ask(caller, "gap=0.02 length=8", name="F42-killed") for _ in range(10)]
    played.asks += asks
    clients = Clients(replica.port)
    sending = asyncio.create_task(send_all(clients, asks))
    await asyncio.sleep(rig.random.uniform(0, 0.4))
    await replica.kill()
    (check,) = _execute(file, "PRAGMA integrity_check")[0]
    played.expect(check == "ok", f"integrity check: {check}")
    await replica.restart()

    async def none_runs() -> bool:
        return not _execute(file, "SELECT 1 FROM chat_turns WHERE status = 'running'")

    played.recoveries.append(await until(none_runs, seconds=20, what="nothing is left running"))
    await sending
    await asyncio.gather(*map(clients.settle, asks))
    played.landed += 1


async def _lock(rig: Rig, clients: Clients, caller: Caller, played: Played, file: Path) -> None:
    """Another process holds the write lock; who meets it hears of it only after the busy time-out."""
    asks = [rig.ask(caller, name="F42-locked") for _ in range(10)]
    played.asks += asks
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    sending = asyncio.gather(*map(clients.post, asks))
    await asyncio.sleep(LOCKED_SECONDS)
    other.execute("ROLLBACK")
    other.close()
    replies = await sending
    statuses = Counter((reply.status, reply.code) for reply in replies)
    early = [reply.seconds for reply in replies if reply.status != 200 and reply.seconds < BUSY_SECONDS - 0.5]
    played.figures["locked for 10 s"] = {f"{status} {code or ''}".strip(): n for (status, code), n in statuses.items()}
    played.expect(not early, f"refused already after {early} s")
    allowed = {(200, None), (503, "database_unavailable"), (503, "overloaded")}
    played.expect(set(statuses) <= allowed, f"met {dict(statuses)}")
    again = await asyncio.gather(*map(clients.settle, asks))
    played.expect(all(reply and reply.status == 200 for reply in again), "no answers after the lock was gone")
    played.landed += 1


def _evidence(rig: Rig, replica: Replica, played: Played, file: Path) -> Evidence:
    facts = Facts(
        [TurnRow(*row) for row in _execute(file, TURNS)],
        [MessageRow(*row) for row in _execute(file, MESSAGES)],
        {row[0]: row[1] for row in _execute(file, "SELECT id, user_id FROM chat_sessions")},
        [],
    )
    unanswered = [ask.canary for ask in played.asks if not ask.answers]
    played.expect(not unanswered, f"without an answer: {unanswered}")
    logged = re.findall("database is locked", replica.log.read_text(errors="replace"))
    played.figures['"database is locked" in the log'] = len(logged)
    return Evidence(facts, played.asks, rig.journal, crashes=replica.crashes(), landed=played.landed)


def _execute(file: Path, statement: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(file, timeout=20)
    try:
        rows: list[tuple[Any, ...]] = connection.execute(statement).fetchall()
        connection.commit()
    finally:
        connection.close()
    return rows
