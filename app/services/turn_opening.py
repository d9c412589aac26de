"""How turns begin: a new question, the same one sent again, or the next attempt at one that got no answer."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from pydantic_core import to_json

from app.core.database import Database
from app.core.errors import (
    AppError,
    IdempotencyMismatchError,
    NotAuthenticatedError,
    NotFoundError,
    OverloadedError,
    TurnInProgressError,
)
from app.core.queues import Places
from app.core.queues import turn as turn_in_queue
from app.models import TurnStatus
from app.repositories.conversations import ConversationRepository, NewQuestion
from app.repositories.messages import MessageRepository
from app.repositories.sessions import ChatSessionRepository
from app.repositories.turns import StoredTurn, TurnConflictError, TurnRepository
from app.repositories.users import UserRepository
from app.services.history import HistoryLimits, history_of
from app.services.turn_runner import Job, TurnRunner
from app.services.turn_view import TurnView

MAX_OWN_TITLE_CHARS = 50
# About 100 kB each: past this the process would run out of memory before the RAG server catches up.
MAX_TURNS = 5000
OPENING_SECONDS = 5
OPENING_TRIES = 5
KEY_LIFETIME = timedelta(hours=24)

logger = logging.getLogger(__name__)


class Question(NamedTuple):
    """A question as a client sends it."""

    text: str
    user_id: int
    session_id: int | None
    idempotency_key: str | None = None

    @property
    def hash(self) -> str:
        """The same for the same request."""
        return sha256(to_json([self.text, self.session_id])).hexdigest()


class TurnOpening:
    """Begins turns and attempts, each committed before anybody works on it."""

    def __init__(self, database: Database, runner: TurnRunner, limits: HistoryLimits, *, openings: int) -> None:
        self._database = database
        self._runner = runner
        self._limits = limits
        # Fewer than the pool has connections: new questions wait here, and answers never queue behind them.
        self._openings = asyncio.Semaphore(openings)
        self._places = Places()

    async def open(self, question: Question, *, is_streamed: bool) -> TurnView | StoredTurn:
        """A new turn, at work; or the one that the question's key names already, which runs or has its answer.

        Raises: see `ChatService.open`.
        """
        async with self._admitted():
            for _ in range(OPENING_TRIES):
                try:
                    return await self._accept(question, is_streamed=is_streamed)
                except TurnConflictError:
                    own, running = await self._read_conflict(question)
                if own is not None and not await self._release_old_key(own):
                    return await self._rejoin(own, question, is_streamed=is_streamed)
                if own is None and running is not None:
                    raise _about(TurnInProgressError(), running)
        raise OverloadedError("other turns came and went faster than this one could be opened")

    async def retry(self, turn: StoredTurn) -> TurnView | StoredTurn:
        """The next attempt at a turn that got no answer, or a stopped one; or what somebody else was faster to begin.

        Raises: see `ChatService.retry`.
        """
        async with self._admitted():
            return await self._start_again(turn, is_streamed=True)

    @asynccontextmanager
    async def _admitted(self) -> AsyncIterator[None]:
        # Whoever waits too long has a client about to give up; in a flood, the work for those who gave up would
        # leave no time for the others.
        refusal = OverloadedError("too many questions wait to be stored")
        is_full = "too many turns are running"
        with self._runner.admission(), self._places.take(MAX_TURNS - len(self._runner), is_full):
            async with turn_in_queue(self._openings, OPENING_SECONDS, refusal):
                yield

    async def _accept(self, question: Question, *, is_streamed: bool) -> TurnView:
        text, user_id, own_id, key = question
        new = NewQuestion(text, user_id, own_id, title_of(text), self._runner.owner, key, question.hash)
        async with self._database.statement() as db:
            accepted = await ConversationRepository(db).accept(new, messages=self._limits.rows)
        attempt, session_id, question_id, recent = accepted
        logger.info("[Chat] Using existing session: %s" if own_id else "[Chat] New session created: %s", session_id)
        logger.info("[Chat] User message saved: %s", question_id)
        view = TurnView(attempt, session_id=session_id, user_id=user_id, question_id=question_id)
        return self._runner.start(Job(view, text, history_of(recent, self._limits), is_streamed))

    async def _read_conflict(self, question: Question) -> tuple[StoredTurn | None, StoredTurn | None]:
        """The turn that has the question's key, and the one that runs in its session."""
        _, user_id, session_id, key = question
        async with self._database.transaction(read_only=True) as db:
            turns = TurnRepository(db)
            own = await turns.get_by_key(key, user_id=user_id) if key else None
            return own, await turns.get_running(session_id) if session_id else None

    async def _release_old_key(self, turn: StoredTurn) -> bool:
        """Whether the turn's key was older than keys are kept; it is free now."""
        if turn.status is TurnStatus.RUNNING or datetime.now(UTC) - turn.created_at <= KEY_LIFETIME:
            return False
        async with self._database.transaction() as db:
            await TurnRepository(db).release_key(turn.id)
        return True

    async def _rejoin(self, turn: StoredTurn, question: Question, *, is_streamed: bool) -> TurnView | StoredTurn:
        if turn.request_hash != question.hash:
            raise _about(IdempotencyMismatchError(), turn)
        if turn.status is TurnStatus.RUNNING or turn.has_answer:
            return turn
        return await self._start_again(turn, is_streamed=is_streamed)

    async def _start_again(self, turn: StoredTurn, *, is_streamed: bool) -> TurnView | StoredTurn:
        try:
            async with self._database.transaction() as db:
                if not await UserRepository(db).list_active([turn.user_id]):
                    raise NotAuthenticatedError("the user is gone or inactive")
                if not await ChatSessionRepository(db).touch(turn.session_id, user_id=turn.user_id):
                    raise NotFoundError("the session was deleted")
                attempt = await TurnRepository(db).retry(turn.id, owner=self._runner.owner)
                recent = await MessageRepository(db).list_before(turn.question_id, limit=self._limits.rows)
                newest = None if attempt else await TurnRepository(db).get(turn.id, user_id=turn.user_id)
        except TurnConflictError:
            raise await self._in_progress(turn.session_id) from None
        if attempt is None:  # somebody else was faster
            return newest or turn
        view = TurnView(attempt, session_id=turn.session_id, user_id=turn.user_id, question_id=turn.question_id)
        return self._runner.start(Job(view, turn.question, history_of(recent, self._limits), is_streamed))

    async def _in_progress(self, session_id: int) -> AppError:
        async with self._database.transaction(read_only=True) as db:
            running = await TurnRepository(db).get_running(session_id)
        return _about(TurnInProgressError(), running) if running else TurnInProgressError()


def _about(error: AppError, turn: StoredTurn) -> AppError:
    error.turn_id, error.session_id = turn.id, turn.session_id
    return error


def title_of(question: str) -> str:
    """A session's title: the first question on one line, cut at a word, at most 50 characters."""
    line = " ".join(question.split())
    if len(line) <= MAX_OWN_TITLE_CHARS:
        return line
    words, _, _rest = line[: MAX_OWN_TITLE_CHARS + 1].rpartition(" ")
    return words or line[:MAX_OWN_TITLE_CHARS]
