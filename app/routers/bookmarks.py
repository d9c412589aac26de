"""Bookmarks: list, add, delete."""

import logging

from fastapi import APIRouter

from app.core import texts
from app.core.errors import (
    BodyTooLargeError,
    DatabaseUnavailableError,
    InvalidRequestError,
    NotAuthenticatedError,
    NotFoundError,
    UnsupportedMediaTypeError,
)
from app.dependencies import BookmarksDep, CurrentUser, Language, MessagesDep, PageDep
from app.models import Bookmark
from app.routers.json_route import JsonRoute
from app.schemas.base import Done, PageOf, PathId, Success
from app.schemas.bookmarks import BookmarkCreate, BookmarkRead
from app.schemas.errors import errors

router = APIRouter(
    route_class=JsonRoute,
    prefix="/api/v1/chatbot",
    tags=["bookmarks"],
    responses=errors(NotAuthenticatedError, InvalidRequestError, DatabaseUnavailableError),
)
logger = logging.getLogger(__name__)


@router.get("/bookmarks/", summary="List your bookmarks")
async def list_bookmarks(user: CurrentUser, bookmarks: BookmarksDep, page: PageDep) -> PageOf[BookmarkRead]:
    """Newest first; all of them, or a page when `limit` is given."""
    found = await bookmarks.list_page(user.id, page)
    return PageOf[BookmarkRead](data=found.items, next_cursor=found.next_cursor)


@router.post(
    "/bookmark/",
    summary="Add a bookmark",
    status_code=201,
    responses=errors(NotFoundError, BodyTooLargeError, UnsupportedMediaTypeError),
)
async def add_bookmark(
    body: BookmarkCreate, user: CurrentUser, bookmarks: BookmarksDep, messages: MessagesDep
) -> Success[BookmarkRead]:
    """Keep a copy of an answer. A `message_id` must be of a message of yours."""
    if body.message_id is not None and not await messages.is_owned(body.message_id, user_id=user.id):
        raise NotFoundError
    bookmark = await bookmarks.add(Bookmark(user_id=user.id, **body.model_dump()))
    logger.info("[Bookmark] Created: bookmark_id=%s, user=%s", bookmark.id, user.id)
    return Success[BookmarkRead](data=BookmarkRead.model_validate(bookmark))


@router.delete("/bookmark/{bookmark_id}/", summary="Delete a bookmark", responses=errors(NotFoundError))
async def delete_bookmark(bookmark_id: PathId, user: CurrentUser, bookmarks: BookmarksDep, language: Language) -> Done:
    """Delete one of your bookmarks."""
    if not await bookmarks.delete(bookmark_id, user_id=user.id):
        raise NotFoundError
    return Done(message=texts.bookmark_deleted.for_language(language))
