"""Turns: a question and its answer, while it is made and after."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from app.schemas.base import ResponseModel, SuccessModel
from app.schemas.sources import SOURCE_EXAMPLE, SOURCES_DESCRIPTION

TurnStatusName = Literal["running", "completed", "failed", "cancelled", "interrupted"]


class TurnErrorRead(ResponseModel):
    """Why a turn ended without an answer."""

    code: str = Field(description="As in the error envelope.", examples=["rag_timeout"])
    text: str = Field(description="A sentence for a person.", examples=["RAG 서버의 응답 시간이 초과되었습니다."])
    retryable: bool = Field(description="Whether another attempt may succeed.", examples=[True])


class TurnRead(ResponseModel):
    """A turn with what there is of its answer."""

    id: int = Field(description="The turn's id.", examples=[5])
    session_id: int = Field(description="The session it belongs to.", examples=[123])
    question_id: int = Field(description="The id of the stored question.", examples=[455])
    message_id: int | None = Field(
        description="The id of the stored answer; null without one. While a stopped turn is tried again, and when that "
        "fails, it is the stopped answer, which the next one replaces.",
        examples=[456],
    )
    status: TurnStatusName = Field(
        description="`running` until it ends: `completed`, `failed`, `cancelled` by a stop, or `interrupted` because "
        "the process that worked on it is gone. All ends but `completed` can be retried.",
        examples=["completed"],
    )
    attempt: int = Field(description="Counts the retries, from 1.", examples=[1])
    response: str = Field(description="The answer, or how far it came.", examples=["리스트(list)와 튜플(tuple)의..."])
    sources: list[dict[str, Any]] = Field(description=SOURCES_DESCRIPTION, examples=[[SOURCE_EXAMPLE]])
    error: TurnErrorRead | None = Field(description="Null unless the turn ended without an answer.", examples=[None])
    created_at: datetime = Field(description="When it was accepted, UTC.", examples=["2025-12-01T10:00:00Z"])
    finished_at: datetime | None = Field(
        description="When it ended, UTC; null while it runs.", examples=["2025-12-01T10:00:03Z"]
    )


class TurnAccepted(SuccessModel):
    """The question is stored; its answer is being made."""

    session_id: int = Field(description="The session that the question is stored in.", examples=[123])
    turn_id: int = Field(description="Look at it at `turns/{id}/`, join it at `turns/{id}/stream/`.", examples=[5])
    status: Literal["running"] = Field(default="running", description="Always `running`.")
