"""A turn as this process sees it: the answer so far, and its end. Any number of viewers wait for what comes next."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from io import StringIO
from typing import Any, NamedTuple

from app.core.errors import AppError, TurnInterruptedError, TurnStoppedError, error_of
from app.models import TurnStatus
from app.repositories.turns import Attempt, StoredTurn

CHANGE, NO_CHANGE = True, False


class TurnEnd(NamedTuple):
    """How an attempt ended, as it is stored: with an answer, whole or stopped, or with an error."""

    status: TurnStatus
    message_id: int | None = None
    sources: Sequence[dict[str, Any]] = ()
    details: Mapping[str, Any] = {}
    error: AppError | None = None


class TurnView:
    """One attempt at a turn, fed by whoever works on it or follows it.

    Viewers keep a position in the text and no queue: a slow one makes nobody wait and takes no memory.
    """

    def __init__(self, attempt: Attempt, *, session_id: int, user_id: int, question_id: int) -> None:
        self.attempt = attempt
        self.turn_id = attempt.turn_id
        self.session_id = session_id
        self.user_id = user_id
        self.question_id = question_id
        self.end: TurnEnd | None = None
        self.viewers = 0
        self.departure: AppError | None = None
        """Why viewers must leave though the turn goes on."""
        self._text = StringIO()  # counts in code points, reads from any of them, and appends without copying
        self._length = 0
        self._waiters: set[asyncio.Future[bool]] = set()

    @property
    def length(self) -> int:
        """Code points of the answer so far."""
        return self._length

    def text(self, start: int = 0, limit: int = -1) -> str:
        """The answer so far, from a code point on."""
        self._text.seek(min(start, self._length))
        return self._text.read(limit)

    def append(self, piece: str) -> None:
        """The answer goes on."""
        self._text.seek(self._length)
        self._text.write(piece)
        self._length += len(piece)
        self._wake()

    def close(self, end: TurnEnd) -> None:
        """The attempt is over, and that is committed."""
        self.end = end
        if end.error:
            self._name_in(end.error)
        self._wake()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Somebody looks at the turn for the time of the block."""
        self.viewers += 1
        try:
            yield
        finally:
            self.viewers -= 1

    def dismiss(self, reason: AppError) -> None:
        """Send the viewers away; who comes later is sent away too, until `departure` is taken back."""
        self._name_in(reason)
        self.departure = reason
        self._wake()

    async def wait(self, seconds: float | None = None) -> bool:
        """Return True at the next change, False when none comes in time."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiters.add(waiter)
        # A time-out around an event would cost a viewer twice as much for every delta.
        timer = loop.call_later(seconds, _settle, waiter, NO_CHANGE) if seconds is not None else None
        try:
            return await waiter
        finally:
            self._waiters.discard(waiter)
            if timer:
                timer.cancel()

    async def until_end(self) -> TurnEnd:
        """The end.

        Raises:
            AppError: viewers must leave before.
        """
        with self.watched():
            while self.end is None:
                if self.departure:
                    raise copy(self.departure)
                await self.wait()
        return self.end

    def _name_in(self, error: AppError) -> None:
        """The client goes on in this session, or with this turn."""
        error.turn_id, error.session_id = self.turn_id, self.session_id

    def _wake(self) -> None:
        for waiter in self._waiters:
            _settle(waiter, CHANGE)


def _settle(waiter: asyncio.Future[bool], has_changed: bool) -> None:  # noqa: FBT001 - called by the event loop
    if not waiter.done():
        waiter.set_result(has_changed)


def view_of(turn: StoredTurn) -> TurnView:
    """A view of what is stored of a turn."""
    view = TurnView(turn.last_attempt, session_id=turn.session_id, user_id=turn.user_id, question_id=turn.question_id)
    catch_up(view, turn)
    return view


def catch_up(view: TurnView, turn: StoredTurn) -> None:
    """Bring a view to what is stored by now."""
    if turn.last_attempt != view.attempt:
        view.close(TurnEnd(TurnStatus.INTERRUPTED, error=TurnInterruptedError("another attempt has begun")))
        return
    if len(text := turn.text) > view.length:
        view.append(text[view.length :])
    if turn.status is not TurnStatus.RUNNING:
        view.close(end_of(turn))


def end_of(turn: StoredTurn) -> TurnEnd:
    """How a stored turn ended."""
    if not turn.has_answer:
        return TurnEnd(turn.status, error=error_of(turn.error_code or TurnStoppedError.code))
    return TurnEnd(turn.status, turn.answer_id, turn.sources or [], turn.details or {})
