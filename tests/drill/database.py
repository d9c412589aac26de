"""The private PostgreSQL, past the service: rows, a history of every turn, processes that can be stopped."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import asyncpg
import psutil  # type: ignore[import-untyped] # it ships no types

from tests.drill.waiting import until

# Every state that a turn was ever in, with the moment: what the row itself forgets at the next attempt.
HISTORY = """
CREATE TABLE drill_history (
    id bigserial PRIMARY KEY, turn_id bigint, user_id bigint, attempt int, status text, owner text,
    at timestamptz DEFAULT clock_timestamp()
);
CREATE FUNCTION drill_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR (OLD.status, OLD.attempt, OLD.owner) IS DISTINCT FROM (NEW.status, NEW.attempt, NEW.owner)
    THEN
        INSERT INTO drill_history (turn_id, user_id, attempt, status, owner)
        VALUES (NEW.id, NEW.user_id, NEW.attempt, NEW.status, NEW.owner);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER drill_note AFTER INSERT OR UPDATE ON chat_turns FOR EACH ROW EXECUTE FUNCTION drill_note();
"""


class TurnRow(NamedTuple):
    """A turn as it is stored."""

    id: int
    session_id: int
    user_id: int
    question_id: int
    answer_id: int | None
    status: str
    attempt: int
    partial: str
    error_code: str | None
    age: float
    """Seconds since the present attempt began."""
    lease_left: float
    """Seconds until the lease runs out; negative when it has."""


class MessageRow(NamedTuple):
    """A message as it is stored, in the order of its session."""

    id: int
    session_id: int
    role: str
    content: str


class HistoryRow(NamedTuple):
    """A state that a turn came into."""

    turn_id: int
    attempt: int
    status: str
    at: float


class Facts(NamedTuple):
    """All that is stored of some users."""

    turns: Sequence[TurnRow]
    messages: Sequence[MessageRow]
    owners: dict[int, int]
    """Whose each session is."""
    history: Sequence[HistoryRow]


TURNS = """
SELECT t.id, session_id, t.user_id, question_id, answer_id, t.status, t.attempt, partial, error_code,
    extract(epoch FROM clock_timestamp() - coalesce(
        (SELECT max(at) FROM drill_history h WHERE h.turn_id = t.id AND h.attempt = t.attempt AND h.status = 'running'),
        t.created_at))::float,
    extract(epoch FROM lease_expires_at - clock_timestamp())::float
FROM chat_turns t LEFT JOIN chat_sessions s ON s.id = t.session_id
WHERE t.user_id = ANY($1) OR s.user_id = ANY($1) ORDER BY t.id
"""
MESSAGES = """
SELECT m.id, session_id, role, content FROM chat_messages m JOIN chat_sessions s ON s.id = m.session_id
WHERE s.user_id = ANY($1) ORDER BY session_id, m.created_at, m.id
"""
PAST = """
SELECT turn_id, attempt, status, extract(epoch FROM at)::float FROM drill_history
WHERE user_id = ANY($1) ORDER BY id
"""


class DrillDatabase:
    """Connections of the drill's own, past every proxy."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._pool: asyncpg.Pool | None = None
        self._postmaster: psutil.Process | None = None

    async def open(self) -> None:
        """Connect; the tables must be there."""
        self._pool = await asyncpg.create_pool(self.url, min_size=0, max_size=6)
        # The tests' server trades its last commits for speed; here a crash must not lose any.
        await self.pool.execute(f"ALTER DATABASE {self.url.rpartition('/')[2]} SET synchronous_commit = on")
        await self.pool.execute(HISTORY)
        self._postmaster = psutil.Process(await self.pool.fetchval("SELECT pg_backend_pid()")).parent()

    @property
    def pool(self) -> asyncpg.Pool:
        assert self._pool is not None, "not open"
        return self._pool

    async def close(self) -> None:
        """Disconnect."""
        if self._pool:
            await self._pool.close()

    async def add_users(self, names: Sequence[str]) -> list[int]:
        """New users who may chat; returns their ids."""
        rows = await self.pool.fetch(
            "INSERT INTO users (username, email, password_hash, is_active, is_staff, is_superuser, date_joined) "
            "SELECT name, '', '!', true, false, false, now() FROM unnest($1::text[]) name RETURNING id",
            list(names),
        )
        return [row["id"] for row in rows]

    async def facts(self, users: Sequence[int]) -> Facts:
        """What is stored of the users, in one snapshot."""
        ids = list(users)
        async with self.pool.acquire() as db, db.transaction(isolation="repeatable_read", readonly=True):
            turns = [TurnRow(*row) for row in await db.fetch(TURNS, ids)]
            messages = [MessageRow(*row) for row in await db.fetch(MESSAGES, ids)]
            owners = await db.fetch("SELECT id, user_id FROM chat_sessions WHERE user_id = ANY($1)", ids)
            sessions = [turn.session_id for turn in turns]
            others = await db.fetch("SELECT id, user_id FROM chat_sessions WHERE id = ANY($1)", sessions)
            history = [HistoryRow(*row) for row in await db.fetch(PAST, ids)]
        return Facts(turns, messages, {row["id"]: row["user_id"] for row in (*owners, *others)}, history)

    async def count_running(self, users: Sequence[int]) -> int:
        """How many turns of the users have not ended."""
        statement = "SELECT count(*) FROM chat_turns WHERE status = 'running' AND user_id = ANY($1)"
        return int(await self.pool.fetchval(statement, list(users)))

    async def until_ended(self, users: Sequence[int], *, seconds: float) -> float:
        """Return when no turn of the users runs, with the seconds that it took."""

        async def none_runs() -> bool:
            try:
                return await self.count_running(users) == 0
            except (asyncpg.PostgresError, OSError):  # it was just ended, or starts again
                return False

        return await until(none_runs, seconds=seconds, what="every turn has ended")

    async def connections(self) -> list[str]:
        """The state of each of the service's connections."""
        rows = await self.pool.fetch("SELECT state FROM pg_stat_activity WHERE application_name = 'ragchat'")
        return [str(row["state"]) for row in rows]

    async def end_connections(self) -> int:
        """End every connection of the service; returns how many there were."""
        statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ragchat'"
        return len(await self.pool.fetch(statement))

    async def crash(self) -> None:
        """Kill one connection's process: PostgreSQL throws all of them out, and recovers as after a crash."""
        pid = await self.pool.fetchval("SELECT pid FROM pg_stat_activity WHERE application_name = 'ragchat' LIMIT 1")
        psutil.Process(pid).kill()
        await self.pool.expire_connections()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Every process of the server stands still within the block; the one that would start others comes first."""
        assert self._postmaster is not None, "not open"
        self._postmaster.send_signal(signal.SIGSTOP)
        processes = [self._postmaster, *self._postmaster.children(recursive=True)]
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                process.send_signal(signal.SIGCONT)
