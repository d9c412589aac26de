"""Chat sessions, as a list and one by one."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from app.core.limits import MAX_TITLE_CHARS
from app.schemas.base import RequestModel, ResponseModel, Visible
from app.schemas.sources import SOURCES_DESCRIPTION
from app.schemas.turns import TurnRead

CREATED = "2025-12-01T10:00:00Z"
UPDATED = "2025-12-01T17:30:00Z"

Role = Literal["user", "assistant"]


class LastMessageRead(ResponseModel):
    """The newest message of a session."""

    role: Role = Field(description="Who said it.", examples=["assistant"])
    content: str = Field(description="What was said.", examples=["리스트는 mutable하여..."])
    created_at: datetime = Field(description="When, UTC.", examples=[UPDATED])


class SessionRead(ResponseModel):
    """A session without its messages."""

    id: int = Field(description="The session's id.", examples=[123])
    title: str = Field(description="The first question, or what it was renamed to.", examples=["Python 기초 질문"])
    created_at: datetime = Field(description="When it began, UTC.", examples=[CREATED])
    updated_at: datetime = Field(description="When something was last said in it, UTC.", examples=[UPDATED])


class SessionSummaryRead(SessionRead):
    """One line of the session list."""

    message_count: int = Field(description="Questions and answers together.", examples=[15])
    last_message: LastMessageRead | None = Field(description="The newest message.")


class MessageRead(TypedDict):
    """One stored message."""

    # No model: a thousand dicts, as they come from the repository, are made and written in a quarter of the time.
    id: Annotated[int, Field(description="The message's id.", examples=[2])]
    role: Annotated[Role, Field(description="Who said it.", examples=["assistant"])]
    content: Annotated[str, Field(description="What was said.", examples=["리스트는 mutable..."])]
    sources: Annotated[list[dict[str, Any]], Field(description=SOURCES_DESCRIPTION, examples=[[]])]
    metadata: Annotated[
        dict[str, Any],
        Field(
            description="What the RAG server told about its answer, and `response_time` in seconds.",
            examples=[{"response_time": 2.3}],
        ),
    ]
    created_at: Annotated[datetime, Field(description="When, UTC.", examples=["2025-12-01T10:00:03Z"])]


class SessionDetailRead(SessionRead):
    """A whole conversation, oldest message first."""

    messages: list[MessageRead]
    message_count: int = Field(description="Questions and answers together.", examples=[15])
    active_turn: TurnRead | None = Field(description="The turn that runs in this session; join its stream.")
    retryable_turns: list[TurnRead] = Field(
        description="Turns that ended without being completed, oldest first; `question_id` says of which message.",
        examples=[[]],
    )


class SessionUpdate(RequestModel):
    """What of a session can be changed."""

    title: Annotated[str, Field(max_length=MAX_TITLE_CHARS), Visible] = Field(
        description="The new title.", examples=["Python 기초 질문"]
    )
