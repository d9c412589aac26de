"""Stores how an attempt ended: in one transaction, fenced by the attempt, also when the database comes back late."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from stamina import AsyncRetryingCaller

from app.core.database import Database
from app.core.errors import AppError, DatabaseUnavailableError, NotFoundError, TurnInterruptedError
from app.models import TurnStatus
from app.repositories.conversations import ConversationRepository, NewAnswer
from app.repositories.turns import TurnRepository
from app.services.turn_view import TurnEnd, TurnView, end_of

STORING_SECONDS = 60

logger = logging.getLogger(__name__)


class Ending(NamedTuple):
    """What an attempt came to, not stored yet; what there is of the text is in its view."""

    status: TurnStatus
    sources: Sequence[dict[str, Any]] = ()
    details: Mapping[str, Any] = {}
    error: AppError | None = None


class TurnEndings:
    """Writes the last word on attempts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def store(self, view: TurnView, ending: Ending) -> TurnEnd:
        """The end as it is stored, which is another than the given one when the attempt was over before.

        Raises:
            DatabaseUnavailableError: the database stayed away for a minute.
        """
        try:  # without the machinery for the rare case, which costs as much as the whole middleware
            return await self._store(view, ending)
        except DatabaseUnavailableError:
            logger.warning("Turn %s ended, and waits for the database", view.turn_id)
        return await _patiently()(DatabaseUnavailableError, self._store, view, ending)

    async def find(self, view: TurnView) -> TurnEnd:
        """How an attempt ended that somebody else ended: its row says it, or is gone with its session.

        Raises:
            DatabaseUnavailableError: the database stayed away for a minute.
        """
        return await _patiently()(DatabaseUnavailableError, self._find, view)

    async def _find(self, view: TurnView) -> TurnEnd:
        async with self._database.transaction(read_only=True) as db:
            turn = await TurnRepository(db).get(view.turn_id, user_id=view.user_id)
        if turn is None:
            error: AppError = NotFoundError("the session was deleted while its question was answered")
            return TurnEnd(TurnStatus.INTERRUPTED, error=error)
        if turn.last_attempt != view.attempt or turn.status is TurnStatus.RUNNING:
            return TurnEnd(TurnStatus.INTERRUPTED, error=TurnInterruptedError("the lease was lost"))
        return end_of(turn)

    async def _store(self, view: TurnView, ending: Ending) -> TurnEnd:
        try:
            has_answer = ending.status in (TurnStatus.COMPLETED, TurnStatus.CANCELLED) and view.text().strip()
            return await (self._answer(view, ending) if has_answer else self._give_up(view, ending))
        except _OverError:
            return await self._find(view)

    async def _answer(self, view: TurnView, ending: Ending) -> TurnEnd:
        sources, details = list(ending.sources), dict(ending.details)
        answer = NewAnswer(view.attempt, view.session_id, view.user_id, ending.status, view.text(), sources, details)
        is_first = view.attempt.number == 1
        async with self._database.statement() if is_first else self._database.transaction() as db:
            answer_id = await ConversationRepository(db).answer(answer)
        if answer_id is None:
            raise _OverError
        logger.info("[Chat] Response saved: message_id=%s, sources=%s", answer_id, len(sources))
        return TurnEnd(ending.status, answer_id, sources, details)

    async def _give_up(self, view: TurnView, ending: Ending) -> TurnEnd:
        code = ending.error.code if ending.error else None
        async with self._database.transaction() as db:
            if not await TurnRepository(db).end(view.attempt, ending.status, partial=view.text(), error_code=code):
                raise _OverError
        return TurnEnd(ending.status, error=ending.error)


def _patiently() -> AsyncRetryingCaller:
    return AsyncRetryingCaller(attempts=None, timeout=STORING_SECONDS, wait_initial=0.1, wait_max=2)


class _OverError(Exception):
    """The attempt is not the running one any more."""
