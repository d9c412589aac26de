"""Follows turns that run in other processes, through the database: one statement a second for all of them."""

from collections.abc import Iterator
from weakref import WeakValueDictionary

from app.core.database import Database
from app.core.errors import NotFoundError, ShuttingDownError
from app.models import TurnStatus
from app.repositories.turns import StoredTurn, TurnRepository
from app.services.turn_view import TurnEnd, TurnView, catch_up, view_of


class TurnFollower:
    """Views of turns that somebody else works on; each is followed as long as anybody here looks at it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._views: WeakValueDictionary[int, TurnView] = WeakValueDictionary()

    def __iter__(self) -> Iterator[TurnView]:
        return iter(list(self._views.values()))

    def follow(self, turn: StoredTurn) -> TurnView:
        """The one view of the turn, however many ask for it."""
        view = self._views.get(turn.id)
        if view is None or view.end is not None or view.attempt.number != turn.attempt:
            view = self._views[turn.id] = view_of(turn)
        return view

    async def poll(self) -> None:
        """Bring every view to what is stored by now."""
        views = {turn_id: view for turn_id, view in self._views.items() if view.end is None}
        if not views:
            return
        async with self._database.transaction(read_only=True) as db:
            turns = {turn.id: turn for turn in await TurnRepository(db).list_by_id(list(views))}
        for turn_id, view in views.items():
            if turn := turns.get(turn_id):
                catch_up(view, turn)
            else:
                view.close(TurnEnd(TurnStatus.INTERRUPTED, error=NotFoundError("the session was deleted")))

    def dismiss(self) -> None:
        """Send every viewer to another process."""
        for view in self:
            view.dismiss(ShuttingDownError("this process ends"))
