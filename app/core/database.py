"""The one door to SQL: an engine, its pool, and transactions."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, Engine, Executable, Row, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.util import greenlet_spawn

from app.core.errors import DatabaseUnavailableError
from app.core.queues import turn

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 30
POOL_WAIT_SECONDS = 20
RECYCLE_SECONDS = 1800
# SQLSTATEs, by their beginnings, of a server that cannot serve us now: away (08), read-only (25006), refusing our login
# (28) or database (3D), rolling back one of two that collided (40), not migrated (42P01), full (53), locked or closed
# to us (55), cancelling or shutting down (57). See PostgreSQL's manual, appendix A.
UNAVAILABLE_SQLSTATES = ("08", "25006", "28", "3D", "40", "42P01", "53", "55", "57")
SQLITE_TROUBLES = ("BUSY", "CANTOPEN", "FULL", "IOERR", "LOCKED", "NOTADB", "READONLY")
UNAVAILABLE_SQLITE = tuple(f"SQLITE_{name}" for name in SQLITE_TROUBLES)
NOT_MIGRATED_SQLITE = "no such table"
SQLITE_PRAGMAS = ("journal_mode=WAL", "foreign_keys=ON", "busy_timeout=5000", "synchronous=NORMAL")


class SingleStatement:
    """Runs a statement that is a transaction by itself.

    Connection, statement and rows in one switch to the greenlet in which SQLAlchemy runs its drivers: a session takes
    eight for the same, which with its own bookkeeping is more than half of the statement's CPU time.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def execute(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Row[*tuple[Any, ...]]]:
        """The statement's rows."""
        return await greenlet_spawn(self._execute, statement, values)

    def _execute(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Row[*tuple[Any, ...]]]:
        with self._engine.connect() as connection:
            return connection.execute(statement, values).all()


class Database:
    """Transactions on SQLite or PostgreSQL; the only object that knows an engine."""

    def __init__(self, url: str, *, pool_size: int) -> None:
        self._is_sqlite = url.startswith("sqlite")
        if self._is_sqlite:
            # Its driver must not change its isolation level (see below).
            self._engine = writers = create_engine(url, pool_size=pool_size)
            readers = self._engine.execution_options(read_only=True)
        else:
            # READ COMMITTED gives every statement a snapshot of its own, so BEGIN and COMMIT around reads and around
            # single statements buy nothing and cost two round trips. Transactions, the rarer kind, pay for switching.
            self._engine = readers = create_engine(url, pool_size=pool_size, isolation_level="AUTOCOMMIT")
            writers = self._engine.execution_options(isolation_level="READ COMMITTED")
        self._writers = async_sessionmaker(writers, expire_on_commit=False)
        self._readers = async_sessionmaker(readers, expire_on_commit=False)
        self._single = SingleStatement(self._engine.sync_engine)
        self._write_lock = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self, *, read_only: bool = False) -> AsyncIterator[AsyncSession]:
        """One transaction: committed when the block ends, rolled back when it raises.

        Raises:
            DatabaseUnavailableError: the database does not answer, or no connection came free in time. An OSError
                out of the block counts as that too: nothing but SQL belongs into it.
        """
        sessions = self._readers if read_only else self._writers
        with _unavailability():
            async with nullcontext() if read_only else self._write_turn(), sessions.begin() as db:
                yield db

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[AsyncSession | SingleStatement]:
        """A transaction of one writing statement, which on PostgreSQL is one by itself: no BEGIN, no COMMIT.

        SQLite, which has no statement that writes to several tables, gets an ordinary transaction.

        Raises:
            DatabaseUnavailableError: as in a transaction.
        """
        if self._is_sqlite:
            async with self.transaction() as db:
                yield db
        else:
            with _unavailability():
                yield self._single

    def _write_turn(self) -> AbstractAsyncContextManager[None]:
        """SQLite has one writer at a time: a fair queue with an end to the waiting beats polling its file."""
        if not self._is_sqlite:
            return nullcontext()
        refusal = DatabaseUnavailableError(f"no turn to write came within {POOL_WAIT_SECONDS} s")
        return turn(self._write_lock, POOL_WAIT_SECONDS, refusal)

    async def check(self) -> None:
        """Return when the database answers and was migrated.

        Raises:
            DatabaseUnavailableError: it does not, or was not.
        """
        async with self.transaction(read_only=True) as db:
            await db.execute(text("SELECT version_num FROM alembic_version"))

    @property
    def is_embedded(self) -> bool:
        """Whether it is SQLite, which one process serves alone."""
        return self._is_sqlite

    async def close(self) -> None:
        """Close every connection of the pool."""
        await self._engine.dispose()

    @property
    def engine(self) -> AsyncEngine:
        """For measuring only: pool gauges and statement counts. SQL goes through `transaction`."""
        return self._engine


def create_engine(
    url: str,
    *,
    statement_seconds: float | None = STATEMENT_SECONDS,
    **options: Any,  # noqa: ANN401 - whatever create_async_engine takes
) -> AsyncEngine:
    """An engine for a URL as operators write it: `sqlite:///file`, `postgresql://…?sslmode=require`."""
    # Parameters are what users wrote, and password hashes: neither belongs into the text of an error.
    options |= {"json_serializer": _dump_json, "json_deserializer": from_json, "hide_parameters": True}
    if url.startswith("sqlite"):
        return _sqlite_engine(url, options)
    if "poolclass" not in options:
        options |= {"max_overflow": 0, "pool_timeout": POOL_WAIT_SECONDS, "pool_recycle": RECYCLE_SECONDS}
    arguments = {
        "dsn": libpq_dsn(url),
        "timeout": CONNECT_SECONDS,
        "command_timeout": statement_seconds,
        # Our statements run for milliseconds; compiling one takes longer than it saves.
        "server_settings": {"jit": "off", "application_name": "ragchat"},
    }
    # asyncpg reads the DSN itself, so that everything libpq knows (sslmode, passfile, several hosts) works unchanged.
    engine = create_async_engine("postgresql+asyncpg://", connect_args=arguments, **options)
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


def libpq_dsn(url: str) -> str:
    """The URL as libpq has it: `postgresql://`, and `sslmode` where SQLAlchemy's users write `ssl`."""
    parts = urlsplit(url)
    query = [("sslmode" if name == "ssl" else name, value) for name, value in parse_qsl(parts.query)]
    return urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(query), ""))


def without_password(url: str) -> str:
    """The URL for a log line or a terminal, with whatever it holds as a password, in either place, masked."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    query = urlencode(
        [(key, "***" if "password" in key else value) for key, value in parse_qsl(parts.query)], safe="*/"
    )
    masked = f"{name}{':***' if colon else ''}{at}{host}{parts.path}"
    return f"{parts.scheme}://{masked}{'?' if query else ''}{query}"


def is_unavailable(exc: Exception) -> bool:
    """Whether the database was away or busy, rather than the statement wrong."""
    if not isinstance(exc, DBAPIError) or exc.connection_invalidated:
        return True
    if isinstance(exc.orig, sqlite3.Error):
        return exc.orig.sqlite_errorname.startswith(UNAVAILABLE_SQLITE) or NOT_MIGRATED_SQLITE in str(exc.orig)
    state = getattr(exc.orig, "sqlstate", None)
    return isinstance(exc, InterfaceError) if state is None else state.startswith(UNAVAILABLE_SQLSTATES)


@contextmanager
def _unavailability() -> Iterator[None]:
    try:
        yield
    except (PoolTimeoutError, OSError, DBAPIError) as exc:
        if not is_unavailable(exc):
            raise
        raise DatabaseUnavailableError(_reason(exc)) from exc


def _reason(exc: Exception) -> str:
    """Why, for the log: the driver's own sentence, without the statement."""
    cause = exc.orig if isinstance(exc, DBAPIError) and exc.orig else exc
    return f"{type(cause).__name__}: {cause}"


def _dump_json(value: object) -> str:
    return to_json(value, inf_nan_mode="null").decode()  # JSON has no Infinity, PostgreSQL refuses it


def _refuse_closed(connection: DBAPIConnection, _record: object, _proxy: object) -> None:
    # asyncpg knows when the server hung up; asking it costs nothing, and the pool opens another connection instead.
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def _sqlite_engine(url: str, options: dict[str, Any]) -> AsyncEngine:
    parsed = make_url(url).set(drivername="sqlite+aiosqlite")
    Path(parsed.database or "").parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(parsed, **options)
    event.listen(engine.sync_engine, "connect", _set_pragmas)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _set_pragmas(connection: DBAPIConnection, _record: object) -> None:
    # The driver opens no transaction for a SELECT, and two read-modify-write blocks would lose an update silently.
    # None hands BEGIN over to `_begin`.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in SQLITE_PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    read_only = connection.get_execution_options().get("read_only")
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
