"""What the RAG server may reply: the contract's shape, its limits, and the named error for everything else."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from app.core.errors import RagNotJsonError, RagRefusedError, RagShapeError, RagTooLargeError

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_REASON_CHARS = 300


class Reply(BaseModel):
    """The contract's answer; sources and metadata may be missing."""

    model_config = ConfigDict(strict=True)

    success: bool
    answer: str | None = None
    sources: list[dict[str, Any]] | None = None
    metadata: dict[str, Any] | None = None
    error: Any = None


class StreamedReply(Reply):
    """What ends a stream; its name says already that it went well, and its text was streamed before."""

    success: bool = True


def parse_reply(body: bytes) -> Reply:
    """The reply that came as one JSON document, with an answer in it."""
    reply = read_fields(Reply, parse_json(body))
    if is_blank(reply.answer):
        raise RagShapeError("the answer is missing or blank")
    return reply.model_copy(update={"answer": without_nul(reply.answer or "")})


def read_fields(shape: type[Reply], data: object) -> Reply:
    """The reply's fields, of a RAG server that did not refuse."""
    try:
        reply = shape.model_validate(data)
    except ValidationError as exc:
        raise RagShapeError(_first_problem(exc)) from None
    if not reply.success:
        raise refusal("success is false", reply.error)
    return reply


def parse_json(data: str | bytes) -> object:
    """Any JSON value."""
    try:
        value: object = from_json(data, allow_inf_nan=False)
    except ValueError as exc:
        raise RagNotJsonError(f"not JSON: {exc}") from None
    return value


def refusal(what: str, reason: object) -> RagRefusedError:
    """The RAG server's own words, cut: they go to the log."""
    return RagRefusedError(f"{what}: {str(reason)[:MAX_REASON_CHARS]}")


def is_blank(text: str | None) -> bool:
    """Whether there is nothing to read."""
    return not (text and text.strip())


def without_nul(text: str) -> str:
    """PostgreSQL's text cannot hold NUL; the answer is worth more than the character."""
    return text.replace("\x00", "\ufffd")


def check_size(size: int) -> None:
    """Refuse a body that is larger than we read."""
    if size > MAX_BODY_BYTES:
        raise RagTooLargeError(f"more than {MAX_BODY_BYTES} bytes")


def _first_problem(exc: ValidationError) -> str:
    problem = exc.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'answer'}: {problem['msg']}"
