"""The chunks of a stream: the AI SDK's "UI message stream", version 1, so that `useChat` reads it as it stands.

Its clients, versions 5 to 7, refuse unknown types, unknown keys and nulls: what is absent is left out.
"""

from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from pydantic import Field, RootModel
from typing_extensions import TypedDict


class StartMetadata(TypedDict):
    """What the answer belongs to."""

    session_id: int
    turn_id: int
    question_id: int
    attempt: Annotated[int, Field(description="Counts the retries, from 1: another attempt has another text.")]
    offset: Annotated[
        int, Field(description="Code points of the answer that were left out, for `Last-Event-ID` says you have them.")
    ]


class StartChunk(TypedDict):
    """The first chunk of every stream, also of one that goes on where another broke off."""

    type: Literal["start"]
    # The AI SDK's clients know by it a message that they have in part.
    messageId: Annotated[str, Field(description="The same on every connection of the turn.")]
    messageMetadata: StartMetadata


class TextStartChunk(TypedDict):
    """The answer's text begins."""

    type: Literal["text-start"]
    id: str


class TextDeltaChunk(TypedDict):
    """A piece of the answer's text."""

    type: Literal["text-delta"]
    id: str
    delta: str


class TextEndChunk(TypedDict):
    """Nothing is added to the text."""

    type: Literal["text-end"]
    id: str


class SourcesChunk(TypedDict):
    """All sources of the answer, as `POST chat/` gives them."""

    type: Literal["data-sources"]
    data: list[dict[str, Any]]


class SourceUrlChunk(TypedDict):
    """One source that has an address."""

    type: Literal["source-url"]
    sourceId: str
    url: str
    title: NotRequired[str]


class AnswerMetadata(TypedDict):
    """Where the answer is stored."""

    session_id: int
    turn_id: int
    question_id: int
    message_id: int
    metadata: Annotated[dict[str, Any], Field(description="The answer's; `status` is `stopped` when it was stopped.")]


class MetadataChunk(TypedDict):
    """The answer is stored."""

    type: Literal["message-metadata"]
    messageMetadata: AnswerMetadata


class FinishChunk(TypedDict):
    """The turn is completed."""

    type: Literal["finish"]


class ErrorData(TypedDict):
    """The failure, for programs and for a person."""

    code: str
    text: str
    retryable: bool


class ErrorDataChunk(TypedDict):
    """The turn ended without an answer."""

    type: Literal["data-error"]
    data: ErrorData


class ErrorChunk(TypedDict):
    """The same for clients that know this chunk only."""

    type: Literal["error"]
    errorText: str


class AbortChunk(TypedDict):
    """The turn was stopped; the text so far is its answer."""

    type: Literal["abort"]


Chunk: TypeAlias = (
    StartChunk
    | TextStartChunk
    | TextDeltaChunk
    | TextEndChunk
    | SourcesChunk
    | SourceUrlChunk
    | MetadataChunk
    | FinishChunk
    | ErrorDataChunk
    | ErrorChunk
    | AbortChunk
)


class StreamEvent(RootModel[Annotated[Chunk, Field(discriminator="type")]]):
    """The data of one server-sent event."""
