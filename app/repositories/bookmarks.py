"""SQL on the chat_bookmarks table."""

from sqlalchemy import delete, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import NotFoundError
from app.core.pagination import Cursor, Page, PageRequest
from app.models import Bookmark


class BookmarkRepository:
    """Reads and writes one user's bookmarks within one transaction; somebody else's bookmark is a missing one."""

    def __init__(self, db: AsyncSession) -> None:
        self._db = db

    async def list_page(self, user_id: int, page: PageRequest) -> Page[Bookmark]:
        """The user's bookmarks, newest first."""
        statement = select(Bookmark).where(Bookmark.user_id == user_id)
        if page.cursor:
            statement = statement.where(tuple_(Bookmark.created_at, Bookmark.id) < tuple_(*page.cursor))
        statement = statement.order_by(Bookmark.created_at.desc(), Bookmark.id.desc()).limit(page.fetch)
        rows = (await self._db.scalars(statement)).all()
        return Page.cut(rows, page, lambda bookmark: Cursor(bookmark.created_at, bookmark.id))

    async def add(self, bookmark: Bookmark) -> Bookmark:
        """Store a new bookmark.

        Raises:
            NotFoundError: the message it names was deleted in this moment.
        """
        self._db.add(bookmark)
        try:
            await self._db.flush()
        except IntegrityError as exc:
            raise NotFoundError("the message is gone") from exc
        return bookmark

    async def delete(self, bookmark_id: int, *, user_id: int) -> bool:
        """Delete the bookmark; False when there is none."""
        owned = (Bookmark.id == bookmark_id) & (Bookmark.user_id == user_id)
        return await self._db.scalar(delete(Bookmark).where(owned).returning(Bookmark.id)) is not None
