"""The JSON frames of the WebSocket, in both directions; a turn's events are wrapped where they are sent."""

from typing import Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Field, TypeAdapter

from app.core.limits import KEY_PATTERN, MAX_KEY_CHARS, MAX_TOKEN_CHARS
from app.schemas.base import RequestModel, ResponseModel, RowId
from app.schemas.chat import ChatCreate
from app.schemas.errors import ErrorRead
from app.schemas.turns import TurnRead

MAX_REF_CHARS = 64
MAX_EVENT_ID_CHARS = 64


class AuthFrame(RequestModel):
    """The first frame, unless the token came as a sub-protocol; later ones bring a fresh token of the same user."""

    type: Literal["auth"]
    token: str = Field(max_length=MAX_TOKEN_CHARS)


class _Call(RequestModel):
    ref: Annotated[str, Field(max_length=MAX_REF_CHARS)] | None = None
    """Comes back with the answer to this frame."""


class ChatFrame(_Call, ChatCreate):
    """Ask a question; its turn's events follow."""

    model_config = ConfigDict(json_schema_extra={})

    type: Literal["chat"]
    idempotency_key: Annotated[str, Field(min_length=1, max_length=MAX_KEY_CHARS, pattern=KEY_PATTERN)] | None = None


class ResumeFrame(_Call):
    """Join a turn, or go on behind the last event that came."""

    type: Literal["resume"]
    turn_id: RowId
    last_event_id: Annotated[str, Field(max_length=MAX_EVENT_ID_CHARS)] | None = None


class StopFrame(_Call):
    """Stop a turn."""

    type: Literal["stop"]
    turn_id: RowId


CallFrame: TypeAlias = ChatFrame | ResumeFrame | StopFrame
ClientFrame: TypeAlias = AuthFrame | CallFrame
CLIENT_FRAME: TypeAdapter[ClientFrame] = TypeAdapter(Annotated[ClientFrame, Field(discriminator="type")])
CLIENT_FRAME_TYPES = ("auth", "chat", "resume", "stop")


class ReadyFrame(ResponseModel):
    """The token is good; ask."""

    type: Literal["ready"] = "ready"


class TurnFrame(ResponseModel):
    """The turn that was stopped, which is over."""

    type: Literal["turn"] = "turn"
    ref: str | None = None
    data: TurnRead


class ErrorFrame(ErrorRead):
    """What the frame asked for was refused: the error envelope."""

    type: Literal["error"] = "error"
    ref: str | None = None
