"""A question and its answer."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, JsonValue

from app.schemas.base import RequestModel, ResponseModel, RowId, SuccessModel, Visible
from app.schemas.sources import SOURCE_EXAMPLE, SOURCES_DESCRIPTION

MAX_MESSAGE_CHARS = 8000
# The first one is what Swagger UI's "Try it out" sends, so it must work for somebody who has no session yet.
EXAMPLES: list[JsonValue] = [
    {"message": "Python에서 리스트와 튜플의 차이는?"},
    {"message": "언제 튜플을 쓰나요?", "session_id": 123},
]


class ChatCreate(RequestModel):
    """A question, in a session or as the start of one."""

    model_config = ConfigDict(json_schema_extra={"examples": EXAMPLES})

    message: Annotated[str, Field(max_length=MAX_MESSAGE_CHARS), Visible] = Field(
        description=f"The question: up to {MAX_MESSAGE_CHARS:,} characters, stored exactly as sent. Refused when there "
        "is nothing to see in it (only spaces, control or format characters, combining marks).",
        examples=["Python에서 리스트와 튜플의 차이는?"],
    )
    session_id: RowId | None = Field(
        default=None, description="A session of yours; without it a new one is made.", examples=[123]
    )


class ChatData(ResponseModel):
    """The answer."""

    response: str = Field(description="The answer's text.", examples=["리스트(list)와 튜플(tuple)의 가장 큰 차이는..."])
    sources: list[dict[str, Any]] = Field(description=SOURCES_DESCRIPTION, examples=[[SOURCE_EXAMPLE]])


class ChatRead(SuccessModel):
    """A stored answer."""

    session_id: int = Field(description="The session that the question and the answer are stored in.", examples=[123])
    message_id: int = Field(description="The id of the stored answer.", examples=[456])
    data: ChatData
