"""Follows turns that run in other processes, through the database: one statement a second for all of them."""

from collections.abc import Iterator
from weakref import WeakValueDictionary

from app.core.database import Database
from app.core.errors import NotFoundError, ShuttingDownError
from app.models import TurnStatus
from app.repositories.turns import Attempt, StoredTurn, TurnRepository
from app.services.turn_view import TurnEnd, TurnView, catch_up, view_of


class TurnFollower:
    """Views of turns that somebody else works on; each is followed as long as anybody here looks at it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._is_dismissed = False
        self._views: WeakValueDictionary[Attempt, TurnView] = WeakValueDictionary()

    def __iter__(self) -> Iterator[TurnView]:
        return iter(list(self._views.values()))

    def follow(self, turn: StoredTurn) -> TurnView:
        """The one view of the turn's running attempt, however many ask for it."""
        view = self._views.get(turn.last_attempt)
        if view is None or view.end is not None:
            view = self._views[turn.last_attempt] = view_of(turn)
        if self._is_dismissed:
            view.dismiss(ShuttingDownError("this process ends"))
        return view

    async def poll(self) -> None:
        """Bring every view to what is stored by now."""
        views = [view for view in self if view.end is None]
        if not views:
            return
        async with self._database.transaction(read_only=True) as db:
            turns = {turn.id: turn for turn in await TurnRepository(db).list_by_id({view.turn_id for view in views})}
        for view in views:
            if turn := turns.get(view.turn_id):
                catch_up(view, turn)
            else:
                view.close(TurnEnd(TurnStatus.INTERRUPTED, error=NotFoundError("the session was deleted")))

    def dismiss(self) -> None:
        """Send every viewer to another process."""
        self._is_dismissed = True
        for view in self:
            view.dismiss(ShuttingDownError("this process ends"))
