"""Keyset pages: a cursor names the last row seen, so that pages stay right while rows come and go."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Generic, NamedTuple, TypeVar

from app.core.errors import FieldProblem, InvalidRequestError
from app.core.limits import MAX_ID

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Item = TypeVar("Item")


class Cursor(NamedTuple):
    """The last row of a page in an order by time, then id, both descending."""

    at: datetime
    id: int

    def encode(self) -> str:
        """The cursor as clients carry it: opaque, and safe in a URL."""
        micros = (self.at - EPOCH) // timedelta(microseconds=1)
        return base64.urlsafe_b64encode(f"{micros}.{self.id}".encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        """The cursor behind what `encode` gave.

        Raises:
            InvalidRequestError: the text is not such a cursor.
        """
        try:
            micros, row_id = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).split(b".")
            cursor = cls(EPOCH + timedelta(microseconds=int(micros)), int(row_id))
        except (ValueError, binascii.Error, OverflowError):
            raise _not_a_cursor() from None
        if not 0 < cursor.id <= MAX_ID or cursor.encode() != text:
            raise _not_a_cursor()
        return cursor


class PageRequest(NamedTuple):
    """What a client asked of a list; without a limit it gets everything."""

    limit: int | None = None
    cursor: Cursor | None = None

    @property
    def fetch(self) -> int | None:
        """How many rows to read: one more than asked for tells whether there is a next page."""
        return None if self.limit is None else self.limit + 1


class Page(NamedTuple, Generic[Item]):
    """One page, and the cursor of the next one, if any."""

    items: Sequence[Item]
    next_cursor: str | None

    @classmethod
    def cut(cls, rows: Sequence[Item], request: PageRequest, cursor_of: Callable[[Item], Cursor]) -> "Page[Item]":
        """The page out of `request.fetch` rows; the row too many only tells that there is a next page."""
        items = rows[: request.limit]
        return cls(items, cursor_of(items[-1]).encode() if len(rows) > len(items) else None)


def _not_a_cursor() -> InvalidRequestError:
    return InvalidRequestError([FieldProblem("cursor", "is not a cursor that this list gave")])
