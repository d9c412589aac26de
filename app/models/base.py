"""What every table shares: the declarative base, ids, and times on the database's clock."""

from datetime import UTC, datetime
from typing import Annotated, Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, MetaData
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
    return "now()"


@compiles(utcnow, "sqlite")
def _utcnow_sqlite(_element: utcnow, _compiler: SQLCompiler, **_options: Any) -> str:  # noqa: ANN401 - likewise
    # The text form in which SQLAlchemy stores times there; SQLite's clock gives milliseconds.
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


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
