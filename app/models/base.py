"""What every table shares: the declarative base, ids, and times on the database's clock."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from sqlalchemy import BigInteger, DateTime, Dialect, Enum, Integer, MetaData, literal_column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time, in UTC. SQLite stores no zone; this puts it back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Refuse times without a zone, which mean something else on every machine."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """The stored time, in UTC."""
        if value is None or value.tzinfo is UTC:
            return value
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class utcnow(FunctionElement[datetime]):  # noqa: N801 - used like the SQL functions it stands beside
    """The time on the database's clock, which all replicas share."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(utcnow)
def _utcnow(_element: utcnow, _compiler: SQLCompiler, **_options: Any) -> str:  # noqa: ANN401 - SQLAlchemy's hook
    # Not now(), the start of the transaction: whoever waited for a lock would be dated before whom it waited for.
    return "clock_timestamp()"


@compiles(utcnow, "sqlite")
def _utcnow_sqlite(_element: utcnow, _compiler: SQLCompiler, **_options: Any) -> str:  # noqa: ANN401 - likewise
    # The text form in which SQLAlchemy stores times there; SQLite's clock gives milliseconds.
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


class utc_after(FunctionElement[datetime]):  # noqa: N801 - likewise
    """So many seconds from now on the database's clock: from now, not from a transaction's start that had to wait."""

    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, seconds: int) -> None:
        super().__init__(literal_column(str(int(seconds))))


@compiles(utc_after)
def _utc_after(element: utc_after, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401 - SQLAlchemy's hook
    return f"clock_timestamp() + {compiler.process(element.clauses, **options)} * interval '1 second'"


@compiles(utc_after, "sqlite")
def _utc_after_sqlite(element: utc_after, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401 - likewise
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', {compiler.process(element.clauses, **options)} || ' seconds')"


def by_value(kind: type[StrEnum], *, name: str, length: int) -> Enum:
    """A text column for an enum, that holds its values and refuses all else."""
    return Enum(
        kind,
        native_enum=False,
        length=length,
        values_callable=lambda members: [member.value for member in members],
        create_constraint=True,
        name=name,
    )


# SQLite numbers rows by itself only where the primary key is its INTEGER.
BigId = BigInteger().with_variant(Integer, "sqlite")
PrimaryKey = Annotated[int, mapped_column(BigId, primary_key=True, autoincrement=True)]
CreatedAt = Annotated[datetime, mapped_column(UtcDateTime, default=utcnow())]


class Base(DeclarativeBase):
    """The tables' common base; constraint names are fixed, so that migrations can name them on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    # Ids are never used again on SQLite either: a deleted session's id must not come to mean another session.
    __table_args__: Any = {  # noqa: RUF012 - SQLAlchemy wants a dict, Any lets tables add indexes
        "sqlite_autoincrement": True
    }
