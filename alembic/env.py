"""Runs the migrations on the database of DATABASE_URL, or of the caller's `config.attributes["database_url"]`."""

import asyncio
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import JSON, Column, Connection, pool, text

from alembic import context
from app.core.database import create_engine
from app.core.settings import DatabaseSettings, load_settings
from app.models import Base

# Any number will do; it must only be the same in every replica that migrates at its start.
MIGRATION_LOCK = 4_021_973


def differs(
    _context: MigrationContext,
    _inspected: Column[Any],
    column: Column[Any],
    stored: str | None,
    _default: object,
    declared: str | None,
) -> bool | None:
    """Compare JSON defaults as text, for PostgreSQL has no `=` for json; None leaves the others to alembic."""
    if not isinstance(column.type, JSON):
        return None
    return (stored or "").removesuffix("::json").strip("'") != (declared or "").strip("'")


def run(connection: Connection) -> None:
    """Upgrade or downgrade in one transaction; a second replica waits for the first."""
    is_sqlite = connection.dialect.name == "sqlite"
    if is_sqlite:
        # A batch migration drops and renames tables: with foreign keys on, DROP TABLE deletes the child rows.
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        compare_server_default=differs,
        render_as_batch=is_sqlite,
    )
    with context.begin_transaction():
        if not is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        context.run_migrations()
    if is_sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall():
        raise RuntimeError("the migration left rows whose parents are gone; nothing was committed")


async def main() -> None:
    """Connect and run."""
    url = context.config.attributes.get("database_url")
    url = url or load_settings(DatabaseSettings).database_url.get_secret_value()
    engine = create_engine(url, statement_seconds=None, poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


asyncio.run(main())
