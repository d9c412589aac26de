"""The chat turn as clients use it: opened, joined, replayed, stopped, retried. The runner does the work."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from pydantic_core import to_json

from app.core.database import Database
from app.core.errors import (
    AppError,
    IdempotencyMismatchError,
    NotAuthenticatedError,
    NotFoundError,
    OverloadedError,
    ShuttingDownError,
    TurnInProgressError,
    TurnStoppedError,
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
from app.services.turn_follower import TurnFollower
from app.services.turn_runner import Job, StopReason, TurnRunner
from app.services.turn_view import TurnView, view_of

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


class Answer(NamedTuple):
    """An answer that is stored, whole or as far as it had come when it was stopped."""

    message_id: int
    text: str
    sources: Sequence[Mapping[str, Any]]


class Opened(NamedTuple):
    """A turn to wait for, or to watch."""

    view: TurnView
    is_replay: bool = False
    """Whether its answer was stored before this request."""


class ChatService:
    """Takes questions and gives back turns, each of which is committed."""

    def __init__(
        self,
        database: Database,
        runner: TurnRunner,
        follower: TurnFollower,
        limits: HistoryLimits,
        *,
        openings: int,
    ) -> None:
        self._database = database
        self._runner = runner
        self._follower = follower
        self._limits = limits
        # Fewer than the pool has connections: new questions wait here, and answers never queue behind them.
        self._openings = asyncio.Semaphore(openings)
        self._places = Places()

    async def open(self, question: Question, *, is_streamed: bool) -> Opened:
        """The question's turn: a new one, or with the key of an earlier request that one's.

        Raises:
            NotAuthenticatedError: the user is gone or inactive.
            NotFoundError: the session is unknown or somebody else's.
            TurnInProgressError: another question is being answered in the session.
            IdempotencyMismatchError: the key came with another request.
            OverloadedError, ShuttingDownError: this process takes no more; nothing was stored.
            DatabaseUnavailableError: nothing was stored, as far as we know.
        """
        if self._runner.is_draining:
            raise ShuttingDownError
        # Whoever waits too long has a client about to give up; in a flood, the work for those who gave up would
        # leave no time for the others.
        refusal = OverloadedError("too many questions wait to be stored")
        with self._places.take(MAX_TURNS - len(self._runner), "too many turns are running"):
            async with turn_in_queue(self._openings, OPENING_SECONDS, refusal):
                for _ in range(OPENING_TRIES):
                    if opened := await self._try_to_open(question, is_streamed=is_streamed):
                        return opened
        raise OverloadedError("other turns came and went faster than this one could be opened")

    @property
    def is_draining(self) -> bool:
        """Whether this process is about to end, and takes nothing new."""
        return self._runner.is_draining

    async def drain(self) -> None:
        """Take nothing new, send away who watches turns of other processes, and wait for our own to end."""
        self._follower.dismiss()
        await self._runner.drain()

    async def answer(self, view: TurnView) -> Answer:
        """The turn's answer, stored. No database connection is held while the RAG server thinks.

        Raises:
            RagError: no answer came; the turn can be retried.
            TurnStoppedError, TurnInterruptedError: nor will it come, unless the turn is retried.
            NotFoundError: the session was deleted meanwhile.
            DatabaseUnavailableError: the answer came, and could not be stored for a minute.
            NotAuthenticatedError, ShuttingDownError: the turn goes on, this client may not wait for it here.
        """
        end = await view.until_end()
        if end.message_id is None:
            raise end.error or TurnStoppedError()
        return Answer(end.message_id, view.text(), end.sources)

    async def watch(self, turn_id: int, *, user_id: int) -> TurnView:
        """The turn, running or over.

        Raises:
            NotAuthenticatedError: the user is gone or inactive.
            NotFoundError: there is no such turn of the user.
        """
        return self._view(await self._read(turn_id, user_id))

    async def get(self, turn_id: int, *, user_id: int) -> StoredTurn:
        """The turn as it is stored, with the newest text that this process knows.

        Raises:
            NotAuthenticatedError: the user is gone or inactive.
            NotFoundError: there is no such turn of the user.
        """
        turn = await self._read(turn_id, user_id)
        job = self._runner.get(turn_id)
        return turn._replace(partial=job.view.text()) if job and turn.status is TurnStatus.RUNNING else turn

    async def stop(self, turn_id: int, *, user_id: int) -> StoredTurn:
        """The turn, which is over: stopped, unless it ended before.

        Raises:
            NotAuthenticatedError: the user is gone or inactive.
            NotFoundError: there is no such turn of the user.
            ShuttingDownError: the turn runs elsewhere and will be stopped, but this process ends.
        """
        turn = await self._read(turn_id, user_id)
        if turn.status is not TurnStatus.RUNNING:
            return turn
        if job := self._runner.get(turn_id):
            job.stop(StopReason.ASKED)
        else:
            async with self._database.transaction() as db:
                await TurnRepository(db).request_stop(turn_id)
        await self._view(turn).until_end()
        return await self._read(turn_id, user_id)

    async def retry(self, turn_id: int, *, user_id: int) -> Opened:
        """The turn's next attempt; the running one while there is one, and a completed turn as it is.

        Raises:
            NotAuthenticatedError, NotFoundError, TurnInProgressError, ShuttingDownError: as when it was opened.
        """
        turn = await self._read(turn_id, user_id)
        if turn.status in (TurnStatus.RUNNING, TurnStatus.COMPLETED):
            return Opened(self._view(turn), is_replay=turn.status is TurnStatus.COMPLETED)
        return Opened(await self._start_again(turn, is_streamed=True))

    async def _try_to_open(self, question: Question, *, is_streamed: bool) -> Opened | None:
        """The turn; None when what it collided with was over before it could be looked at."""
        try:
            return Opened(await self._accept(question, is_streamed=is_streamed))
        except TurnConflictError:
            own, running = await self._read_conflict(question)
        if own is not None:
            return await self._rejoin(own, question, is_streamed=is_streamed)
        if running is not None:
            raise _about(TurnInProgressError(), running)
        return None

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

    async def _rejoin(self, turn: StoredTurn, question: Question, *, is_streamed: bool) -> Opened | None:
        if turn.status is not TurnStatus.RUNNING and datetime.now(UTC) - turn.created_at > KEY_LIFETIME:
            async with self._database.transaction() as db:
                await TurnRepository(db).release_key(turn.id)
            return None
        if turn.request_hash != question.hash:
            raise _about(IdempotencyMismatchError(), turn)
        if turn.status is TurnStatus.RUNNING or turn.has_answer:
            return Opened(self._view(turn), is_replay=turn.has_answer)
        return Opened(await self._start_again(turn, is_streamed=is_streamed))

    async def _start_again(self, turn: StoredTurn, *, is_streamed: bool) -> TurnView:
        if self._runner.is_draining:
            raise ShuttingDownError
        try:
            async with self._database.transaction() as db:
                if not await UserRepository(db).list_active([turn.user_id]):
                    raise NotAuthenticatedError("the user is gone or inactive")
                if not await ChatSessionRepository(db).touch(turn.session_id, user_id=turn.user_id):
                    raise NotFoundError("the session was deleted")
                attempt = await TurnRepository(db).retry(turn.id, owner=self._runner.owner)
                recent = await MessageRepository(db).list_before(turn.question_id, limit=self._limits.rows)
        except TurnConflictError:
            raise await self._in_progress(turn.session_id) from None
        if attempt is None:  # somebody else was faster
            return await self.watch(turn.id, user_id=turn.user_id)
        view = TurnView(attempt, session_id=turn.session_id, user_id=turn.user_id, question_id=turn.question_id)
        return self._runner.start(Job(view, turn.question, history_of(recent, self._limits), is_streamed))

    async def _in_progress(self, session_id: int) -> AppError:
        async with self._database.transaction(read_only=True) as db:
            running = await TurnRepository(db).get_running(session_id)
        return _about(TurnInProgressError(), running) if running else TurnInProgressError()

    async def _read(self, turn_id: int, user_id: int) -> StoredTurn:
        async with self._database.transaction(read_only=True) as db:
            if not await UserRepository(db).list_active([user_id]):
                raise NotAuthenticatedError("the user is gone or inactive")
            turn = await TurnRepository(db).get(turn_id, user_id=user_id)
        if turn is None:
            raise NotFoundError("turn")
        return turn

    def _view(self, turn: StoredTurn) -> TurnView:
        if turn.status is not TurnStatus.RUNNING:
            return view_of(turn)
        job = self._runner.get(turn.id)
        return job.view if job else self._follower.follow(turn)


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
