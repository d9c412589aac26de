"""The shapes that travel: what the chat service sends and what it gets back."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

Confidence = Literal["high", "low", "none"]
Mode = Literal["generated", "extractive", "greeting"]
Fallback = Literal["embed", "rerank", "llm"]
QUESTION_LENGTH = 8000
Identifier = int | Annotated[str, StringConstraints(max_length=200)]


class Utterance(BaseModel):
    """One thing that was said before the question."""

    role: str = Field(max_length=20, examples=["user"])
    content: str = Field(max_length=200_000, examples=["리스트가 뭐예요?"])


class ChatRequest(BaseModel):
    """A question, and what the service knows of who asks it; only the question must be there."""

    question: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=QUESTION_LENGTH)] = (
        Field(examples=["Python에서 리스트와 튜플의 차이는?"])
    )
    user_id: Identifier | None = Field(default=None, examples=[1])
    chat_history: Annotated[list[Utterance], Field(max_length=1000)] | None = Field(
        default=None, description="Oldest first, without the question itself."
    )
    session_id: Identifier | None = Field(default=None, examples=[123])


class Source(BaseModel):
    """A passage of the documents; `[n]` in the answer is the n-th of them."""

    chunk_id: str = Field(examples=["9f2c41d07be8a655"], description="Stable while the passage stays as it is.")
    content: str = Field(description="The passage, in Markdown.")
    score: float = Field(ge=0, le=1, examples=[0.95])
    document: str = Field(examples=["ko/lists-and-tuples.md"])
    heading: str = Field(
        examples=["리스트와 튜플 > 리스트(list)와 튜플(tuple)의 차이"], description="The headings above the passage."
    )


class Metadata(BaseModel):
    """How the answer came about."""

    mode: Mode = Field(description="generated: by a language model, extractive: quoted from the sources.")
    confidence: Confidence = Field(
        description="high: an answer, low: the closest passages, none: not in the documents."
    )
    model: str | None = Field(default=None, examples=["gpt-4.1"], description="The language model, if one wrote it.")
    degraded: list[Fallback] = Field(
        default=[], description="Stages whose remote model failed, so that they did with their local form."
    )
    timings: dict[str, float] = Field(
        examples=[{"embed": 0.4, "retrieve": 1.2, "rerank": 0.1, "filter": 0.5, "answer": 0.4, "total": 2.7}],
        description="Milliseconds a stage; in a stream `answer` and `total` hold the time of sending too.",
    )


class ChatResponse(BaseModel):
    """An answer with its sources; no sources when the documents do not hold it."""

    success: Literal[True] = True
    answer: str
    sources: list[Source]
    metadata: Metadata


class Begun(BaseModel):
    """The passages are found; a stream begins here, so that its client need not wait for the first words."""


class Delta(BaseModel):
    """A piece of an answer; all of them, one after the other, are the answer."""

    text: str


Event = Begun | Delta | ChatResponse  # of an answer that is being written; the last one is the answer as a whole


class BrokenOff(BaseModel):
    """The end of a stream whose answer has none."""

    error: str


class Failure(BaseModel):
    """What every error looks like."""

    success: Literal[False] = False
    error: str = Field(
        description="What went wrong, for a person.", examples=["question: String should have at least 1 character"]
    )


class Health(BaseModel):
    """Whether the server can answer, and from how much."""

    status: Literal["ok", "indexing", "failed"]
    chunks: int = 0
    documents: int = 0
    models: dict[Fallback, str] = Field(
        default={}, examples=[{"llm": "gpt-4.1"}], description="The remote models; what is not there is local."
    )
    embedded: bool | None = Field(
        default=None, description="Whether the remote model has embedded all documents; until then local vectors serve."
    )
