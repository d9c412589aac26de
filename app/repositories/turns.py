"""SQL on the chat_turns table."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple, cast

from sqlalchemy import ColumnElement, Select, Table, and_, bindparam, func, insert, null, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningUpdate

from app.core.errors import TurnInterruptedError
from app.models import Message, Turn, TurnStatus
from app.models.base import utc_after, utcnow

LEASE_SECONDS = 12


class TurnConflictError(Exception):
    """The database's unique indexes refused a turn; what it collided with can be read after the roll-back."""


class Attempt(NamedTuple):
    """One try at a turn; whoever holds it may write to the turn until the next attempt begins."""

    turn_id: int
    number: int


class NewTurn(NamedTuple):
    """A question that was just stored, and who sent it how."""

    session_id: int
    user_id: int
    question_id: int
    owner: str
    idempotency_key: str | None
    request_hash: str


class StoredTurn(NamedTuple):
    """A turn as it is stored, with its question's text and its answer."""

    id: int
    session_id: int
    user_id: int
    question_id: int
    answer_id: int | None
    status: TurnStatus
    attempt: int
    request_hash: str | None
    partial: str
    error_code: str | None
    created_at: datetime
    finished_at: datetime | None
    question: str
    answer: str | None
    sources: list[dict[str, Any]] | None
    details: dict[str, Any] | None

    @property
    def last_attempt(self) -> Attempt:
        """The attempt that runs, or ran last."""
        return Attempt(self.id, self.attempt)

    @property
    def has_answer(self) -> bool:
        """Whether it ended with an answer, whole or stopped; a failed retry leaves an older, stopped one in place."""
        return self.answer_id is not None and self.status in (TurnStatus.COMPLETED, TurnStatus.CANCELLED)

    @property
    def text(self) -> str:
        """The answer, or how far it came."""
        return (self.answer or "") if self.has_answer else self.partial


class TurnRepository:
    """Reads and writes turns within one transaction; only `get` and `get_by_key` ask whose they are."""

    def __init__(self, db: AsyncSession) -> None:
        self._db = db

    async def get(self, turn_id: int, *, user_id: int) -> StoredTurn | None:
        """The turn."""
        return await self._first(_GET.where(_TURNS.c.id == turn_id, _TURNS.c.user_id == user_id))

    async def get_by_key(self, key: str, *, user_id: int) -> StoredTurn | None:
        """The turn that the user sent with this idempotency key."""
        return await self._first(_GET.where(_TURNS.c.idempotency_key == key, _TURNS.c.user_id == user_id))

    async def get_running(self, session_id: int) -> StoredTurn | None:
        """The turn that runs in the session; whose the session is, its repository knows."""
        return await self._first(_GET.where(_TURNS.c.session_id == session_id, _is_running()))

    async def list_open(self, session_id: int) -> Sequence[StoredTurn]:
        """The session's turns that are not completed: the running one, and those that can be retried."""
        is_open = and_(_TURNS.c.session_id == session_id, _TURNS.c.status != TurnStatus.COMPLETED)
        return [StoredTurn(*row) for row in await self._db.execute(_GET.where(is_open).order_by(_TURNS.c.id))]

    async def list_by_id(self, turn_ids: Collection[int]) -> Sequence[StoredTurn]:
        """Any user's turns, for those who follow them already."""
        return [StoredTurn(*row) for row in await self._db.execute(_GET.where(_TURNS.c.id.in_(turn_ids)))]

    async def open(self, turn: NewTurn) -> Attempt:
        """Begin the first attempt of a new turn; its lease runs from now.

        Raises:
            TurnConflictError: a turn runs in the session, or the user's key is taken.
        """
        with _conflicts():
            turn_id = (await self._db.execute(_OPEN, turn._asdict())).scalar_one()
        return Attempt(turn_id, 1)

    async def retry(self, turn_id: int, *, owner: str) -> Attempt | None:
        """Begin the next attempt of a turn that ended without being completed; None when it did not.

        Raises:
            TurnConflictError: another turn runs in the session.
        """
        with _conflicts():
            number = (await self._db.execute(_RETRY, {"turn_id": turn_id, "new_owner": owner})).scalar_one_or_none()
        return None if number is None else Attempt(turn_id, number)

    async def end(
        self,
        attempt: Attempt,
        status: TurnStatus,
        *,
        answer_id: int | None = None,
        partial: str = "",
        error_code: str | None = None,
    ) -> bool:
        """End the attempt; False when it is not the running one any more."""
        end = {"new_status": status, "new_answer": answer_id, "text": partial, "code": error_code}
        ended = await self._db.execute(_END, attempt._asdict() | end)
        return ended.scalar_one_or_none() is not None

    async def save_partials(self, partials: Mapping[Attempt, str]) -> None:
        """Write down how far these answers have come, where their attempts still run."""
        # By id, as `renew` locks them: the two run side by side.
        await self._db.execute(
            _SAVE_PARTIAL, [{**key._asdict(), "text": text} for key, text in sorted(partials.items())]
        )

    async def renew(self, owner: str, turn_ids: Sequence[int]) -> Sequence[Attempt]:
        """Give the owner's running turns another lease; those not returned it has lost."""
        own = select(_TURNS.c.id).where(_TURNS.c.id.in_(turn_ids), _TURNS.c.owner == owner, _is_running())
        statement = (
            update(_TURNS)
            .where(_TURNS.c.id.in_(own.order_by(_TURNS.c.id).with_for_update()))
            .values(lease_expires_at=utc_after(LEASE_SECONDS))
            .returning(_TURNS.c.id, _TURNS.c.attempt)
        )
        return [Attempt(*row) for row in await self._db.execute(statement)]

    async def now(self) -> datetime:
        """The time on the database's clock."""
        return (await self._db.execute(select(utcnow()))).scalar_one()

    async def interrupt_expired(self, before: datetime) -> Sequence[int]:
        """End the running turns whose leases ran out before that time: their owners are gone. Returns their ids."""
        expired = select(_TURNS.c.id).where(_TURNS.c.lease_expires_at < before, _is_running())
        # A row that somebody has locked is not abandoned.
        statement = _interrupt().where(_TURNS.c.id.in_(expired.with_for_update(skip_locked=True)))
        return (await self._db.scalars(statement)).all()

    async def interrupt_all(self, *, but_of: str) -> Sequence[int]:
        """End every running turn of other owners; for a database that no other process serves."""
        return (await self._db.scalars(_interrupt().where(_TURNS.c.owner != but_of))).all()

    async def request_stop(self, attempt: Attempt) -> None:
        """Ask the owner, wherever it runs, to stop the attempt."""
        await self._db.execute(_REQUEST_STOP, attempt._asdict())

    async def list_stop_requested(self, owner: str) -> Sequence[Attempt]:
        """The owner's running turns that somebody asked to stop."""
        asked = select(_TURNS.c.id, _TURNS.c.attempt).where(_TURNS.c.owner == owner, _TURNS.c.stop_requested)
        return [Attempt(*row) for row in await self._db.execute(asked.where(_is_running()))]

    async def release_key(self, turn_id: int) -> None:
        """Forget the turn's idempotency key, so that it can name another request."""
        await self._db.execute(update(_TURNS).where(_TURNS.c.id == turn_id).values(idempotency_key=null()))

    async def _first(self, statement: Select[*tuple[Any, ...]]) -> StoredTurn | None:
        row = (await self._db.execute(statement)).one_or_none()
        return StoredTurn(*row) if row else None


@contextmanager
def _conflicts() -> Iterator[None]:
    try:
        yield
    except IntegrityError as exc:
        raise TurnConflictError from exc


def _is_running() -> ColumnElement[bool]:
    return _TURNS.c.status == TurnStatus.RUNNING


def _interrupt() -> ReturningUpdate[int]:
    return (
        update(_TURNS)
        .where(_is_running())
        .values(status=TurnStatus.INTERRUPTED, error_code=TurnInterruptedError.code, finished_at=utcnow())
        .returning(_TURNS.c.id)
    )


def _of_attempt() -> ColumnElement[bool]:
    """The fence: whoever lost the lease finds no row."""
    return and_(_TURNS.c.id == bindparam("turn_id"), _TURNS.c.attempt == bindparam("number"), _is_running())


# Put together once, on the bare tables: see repositories/sessions.py.
_TURNS, _MESSAGES = (cast("Table", model.__table__) for model in (Turn, Message))
_QUESTIONS, _ANSWERS = _MESSAGES.alias("question"), _MESSAGES.alias("answer")
_OWN_FIELDS = StoredTurn._fields[: StoredTurn._fields.index("question")]
_GET = (
    select(*(_TURNS.c[name] for name in _OWN_FIELDS), _QUESTIONS.c.content)
    .add_columns(_ANSWERS.c.content, _ANSWERS.c.sources, _ANSWERS.c.metadata)
    .join_from(_TURNS, _QUESTIONS, _QUESTIONS.c.id == _TURNS.c.question_id)
    .outerjoin(_ANSWERS, _ANSWERS.c.id == _TURNS.c.answer_id)
)
_OPEN = (
    insert(_TURNS)  # the rest of a new turn is its columns' defaults
    .values(lease_expires_at=utc_after(LEASE_SECONDS))
    .values({name: bindparam(name) for name in NewTurn._fields})
    .returning(_TURNS.c.id)
)
_RETRY = (
    update(_TURNS)
    .where(_TURNS.c.id == bindparam("turn_id"))
    .where(_TURNS.c.status.in_((TurnStatus.FAILED, TurnStatus.CANCELLED, TurnStatus.INTERRUPTED)))
    .values(status=TurnStatus.RUNNING, attempt=_TURNS.c.attempt + 1, owner=bindparam("new_owner"))
    .values(lease_expires_at=utc_after(LEASE_SECONDS), stop_requested=False)
    .values(partial="", error_code=null(), finished_at=null())
    .returning(_TURNS.c.attempt)
)
_END = (
    update(_TURNS)
    .where(_of_attempt())
    .values(status=bindparam("new_status"), partial=bindparam("text"))
    .values(answer_id=func.coalesce(bindparam("new_answer"), _TURNS.c.answer_id))
    .values(error_code=bindparam("code"), finished_at=utcnow())
    .returning(_TURNS.c.id)
)
_REQUEST_STOP = update(_TURNS).where(_of_attempt()).values(stop_requested=True)
_SAVE_PARTIAL = update(_TURNS).where(_of_attempt()).values(partial=bindparam("text"))
