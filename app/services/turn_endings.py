"""Stores how an attempt ended: in one transaction, fenced by the attempt, also when the database comes back late."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from stamina import AsyncRetryingCaller

from app.core.database import Database
from app.core.errors import AppError, DatabaseUnavailableError, NotFoundError, TurnInterruptedError
from app.models import TurnStatus
from app.repositories.conversations import ConversationRepository, NewAnswer
from app.repositories.messages import MessageRepository
from app.repositories.sessions import ChatSessionRepository
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
        again = AsyncRetryingCaller(attempts=None, timeout=STORING_SECONDS, wait_initial=0.1, wait_max=2)
        return await again(DatabaseUnavailableError, self._store, view, ending)

    async def find(self, view: TurnView) -> TurnEnd:
        """How an attempt ended that somebody else ended: its row says it, or is gone with its session."""
        async with self._database.transaction(read_only=True) as db:
            turn = await TurnRepository(db).get(view.turn_id, user_id=view.user_id)
        if turn is None:
            error: AppError = NotFoundError("the session was deleted while its question was answered")
            return TurnEnd(TurnStatus.INTERRUPTED, error=error)
        if turn.attempt != view.attempt.number or turn.status is TurnStatus.RUNNING:
            return TurnEnd(TurnStatus.INTERRUPTED, error=TurnInterruptedError("the lease was lost"))
        return end_of(turn)

    async def _store(self, view: TurnView, ending: Ending) -> TurnEnd:
        try:
            has_answer = ending.status in (TurnStatus.COMPLETED, TurnStatus.CANCELLED) and view.text().strip()
            return await (self._answer(view, ending) if has_answer else self._give_up(view, ending))
        except _OverError:
            return await self.find(view)

    async def _answer(self, view: TurnView, ending: Ending) -> TurnEnd:
        is_first = view.attempt.number == 1
        answer_id = await (self._add_answer(view, ending) if is_first else self._put_answer(view, ending))
        logger.info("[Chat] Response saved: message_id=%s, sources=%s", answer_id, len(ending.sources))
        return TurnEnd(ending.status, answer_id, ending.sources, ending.details)

    async def _add_answer(self, view: TurnView, ending: Ending) -> int:
        answer = NewAnswer(
            view.attempt,
            view.session_id,
            view.user_id,
            ending.status,
            view.text(),
            list(ending.sources),
            dict(ending.details),
        )
        async with self._database.statement() as db:
            answer_id = await ConversationRepository(db).answer(answer)
        if answer_id is None:
            raise _OverError
        return answer_id

    async def _put_answer(self, view: TurnView, ending: Ending) -> int:
        """The answer of a retry: in the place of one that was stopped, or behind its question."""
        async with self._database.transaction() as db:
            messages, turns = MessageRepository(db), TurnRepository(db)
            # The session first, as everybody locks it first: a deletion waits, or left nothing to write to.
            if not await ChatSessionRepository(db).touch(view.session_id, user_id=view.user_id):
                raise _OverError
            content, sources, details = view.text(), list(ending.sources), dict(ending.details)
            turn = await turns.get(view.turn_id, user_id=view.user_id)
            answer_id = turn.answer_id if turn else None
            if answer_id is not None:
                await messages.replace_answer(answer_id, content, sources=sources, details=details)
            else:
                answer_id = await messages.add_answer(view.session_id, content, sources=sources, details=details)
                await messages.move_behind(answer_id, view.question_id)
            if not await turns.end(view.attempt, ending.status, answer_id=answer_id):
                raise _OverError
        return answer_id

    async def _give_up(self, view: TurnView, ending: Ending) -> TurnEnd:
        code = ending.error.code if ending.error else None
        async with self._database.transaction() as db:
            if not await TurnRepository(db).end(view.attempt, ending.status, partial=view.text(), error_code=code):
                raise _OverError
        return TurnEnd(ending.status, error=ending.error)


class _OverError(Exception):
    """The attempt is not the running one any more; whatever the transaction wrote must go."""
