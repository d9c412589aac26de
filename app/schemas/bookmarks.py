"""Bookmarks: frozen copies of answers."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field, JsonValue

from app.schemas.base import RequestModel, ResponseModel, RowId, Sources, Visible
from app.schemas.sources import SOURCE_EXAMPLE, SOURCES_DESCRIPTION

MAX_CONTENT_CHARS = 200_000
CONTENT_EXAMPLE = "리스트는 mutable, 튜플은 immutable"
EXAMPLES: list[JsonValue] = [
    {"content": CONTENT_EXAMPLE, "sources": [SOURCE_EXAMPLE]},
    {"content": CONTENT_EXAMPLE, "sources": [SOURCE_EXAMPLE], "message_id": 456},
]


class BookmarkCreate(RequestModel):
    """What to keep."""

    model_config = ConfigDict(json_schema_extra={"examples": EXAMPLES})

    content: Annotated[str, Field(max_length=MAX_CONTENT_CHARS), Visible] = Field(
        description="The text to keep.", examples=[CONTENT_EXAMPLE]
    )
    sources: Sources = Field(default_factory=list, description=SOURCES_DESCRIPTION, examples=[[SOURCE_EXAMPLE]])
    message_id: RowId | None = Field(
        default=None, description="A message of yours that the text comes from.", examples=[456]
    )


class BookmarkRead(ResponseModel):
    """A bookmark. It stays when its session is deleted; only `message_id` becomes null."""

    id: int = Field(description="The bookmark's id.", examples=[45])
    message_id: int | None = Field(description="Where it comes from, while that exists.", examples=[456])
    content: str = Field(description="The text that was kept.", examples=[CONTENT_EXAMPLE])
    sources: list[dict[str, Any]] = Field(description=SOURCES_DESCRIPTION, examples=[[SOURCE_EXAMPLE]])
    created_at: datetime = Field(description="When, UTC.", examples=["2025-12-01T17:30:00Z"])
