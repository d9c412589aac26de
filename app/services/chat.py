"""The chat as clients use it: turns are opened, watched, stopped, retried. The runner does the work."""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

from app.core.database import Database
from app.core.errors import NotAuthenticatedError, NotFoundError, TurnStoppedError
from app.core.tasks import Tasks
from app.models import TurnStatus
from app.repositories.turns import StoredTurn, TurnRepository
from app.repositories.users import UserRepository
from app.services.turn_follower import TurnFollower
from app.services.turn_opening import Question, TurnOpening
from app.services.turn_runner import StopReason, TurnRunner
from app.services.turn_view import TurnView, view_of


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

    def __init__(self, database: Database, opening: TurnOpening, runner: TurnRunner, follower: TurnFollower) -> None:
        self._database = database
        self._opening = opening
        self._runner = runner
        self._follower = follower
        self._tasks = Tasks()

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
        return self._opened(await self._opening.open(question, is_streamed=is_streamed))

    async def open_for_good(self, question: Question) -> Opened:
        """The same, streamed, for callers that may be cancelled: the turn is not left between stored and at work."""
        return await self._tasks.see_through(self.open(question, is_streamed=True))

    async def retry(self, turn_id: int, *, user_id: int) -> Opened:
        """The turn's next attempt; the running one while there is one, and a completed turn as it is.

        Raises:
            NotAuthenticatedError, NotFoundError, TurnInProgressError, OverloadedError, ShuttingDownError: as above.
        """
        turn = await self._read(turn_id, user_id)
        if turn.status in (TurnStatus.RUNNING, TurnStatus.COMPLETED):
            return self._opened(turn)
        return self._opened(await self._opening.retry(turn))

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
            raise copy(end.error) if end.error else TurnStoppedError()
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
        job = self._runner.get(turn.last_attempt)
        return turn._replace(partial=job.view.text()) if job and turn.status is TurnStatus.RUNNING else turn

    async def stop(self, turn_id: int, *, user_id: int) -> StoredTurn:
        """The turn after its running attempt is over: stopped, unless it ended before.

        Raises:
            NotAuthenticatedError: the user is gone or inactive.
            NotFoundError: there is no such turn of the user.
            ShuttingDownError: the turn runs elsewhere and will be stopped, but this process ends.
        """
        turn = await self._read(turn_id, user_id)
        if turn.status is not TurnStatus.RUNNING:
            return turn
        if job := self._runner.get(turn.last_attempt):
            job.stop(StopReason.ASKED)
        else:
            async with self._database.transaction() as db:
                await TurnRepository(db).request_stop(turn.last_attempt)
        await self._view(turn).until_end()
        return await self._read(turn_id, user_id)

    @property
    def is_draining(self) -> bool:
        """Whether this process is about to end, and takes nothing new."""
        return self._runner.is_draining

    async def drain(self) -> None:
        """Take nothing new, send away who watches turns of other processes, and wait for our own to end."""
        self._follower.dismiss()
        await self._runner.drain()

    def hurry(self) -> None:
        """Let the time to drain be over."""
        self._runner.hurry()

    async def _read(self, turn_id: int, user_id: int) -> StoredTurn:
        async with self._database.transaction(read_only=True) as db:
            if not await UserRepository(db).list_active([user_id]):
                raise NotAuthenticatedError("the user is gone or inactive")
            turn = await TurnRepository(db).get(turn_id, user_id=user_id)
        if turn is None:
            raise NotFoundError("turn")
        return turn

    def _opened(self, turn: TurnView | StoredTurn) -> Opened:
        if isinstance(turn, TurnView):
            return Opened(turn)
        return Opened(self._view(turn), is_replay=turn.has_answer)

    def _view(self, turn: StoredTurn) -> TurnView:
        if turn.status is not TurnStatus.RUNNING:
            return view_of(turn)
        job = self._runner.get(turn.last_attempt)
        return job.view if job else self._follower.follow(turn)
