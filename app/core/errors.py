"""The promises about failure: one class a case, each with a stable code, a status and a text for a person.

AppError
├── NotAuthenticatedError  401      ├── DatabaseUnavailableError  503
├── NotFoundError          404      ├── OverloadedError           503
├── MethodNotAllowedError  405      ├── InternalError             500
├── BodyTooLargeError      413      └── RagError
├── UnsupportedMediaTypeError 415       ├── RagNotConfiguredError  503   ├── RagStatusError    502
├── InvalidRequestError    422          ├── RagUnavailableError    503   ├── RagBadAnswerError 502
├── TurnInProgressError    409          ├── RagTimeoutError        504   │   (NotJson, Shape, TooLarge, Redirect)
├── TurnStoppedError       409          └── RagResetError          502   └── RagRefusedError   502
├── IdempotencyMismatchError 422
├── TurnInterruptedError   503
└── ShuttingDownError      503
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from app.core import texts
from app.core.texts import Text


class FieldProblem(NamedTuple):
    """One field of a request and what is wrong with it; never the rejected value, it may be a password."""

    field: str
    problem: str


class AppError(Exception):
    """A failure that clients may rely on. Whatever is not an AppError is a bug."""

    code: ClassVar[str]
    status: ClassVar[int]
    text: Text
    retryable: ClassVar[bool] = False
    headers: Mapping[str, str] = {}
    session_id: int | None = None
    """The session in which the question of a failed chat is stored, so that the client can go on in it."""
    turn_id: int | None = None
    """The turn that this is about, so that the client can look at it, join it or retry it."""

    def __init__(self, reason: str = "", *, text: Text | None = None) -> None:
        super().__init__(reason or self.code)
        if text is not None:
            self.text = text


class NotAuthenticatedError(AppError):
    """No valid access token, or wrong credentials."""

    code, status, text = "not_authenticated", 401, texts.not_authenticated
    headers: Mapping[str, str] = {"WWW-Authenticate": "Bearer"}


class NotFoundError(AppError):
    """No such row, or somebody else's: the two look alike."""

    code, status, text = "not_found", 404, texts.not_found


class MethodNotAllowedError(AppError):
    """The path exists, the method does not."""

    code, status, text = "method_not_allowed", 405, texts.method_not_allowed


class BodyTooLargeError(AppError):
    """The request body is over the limit."""

    code, status, text = "body_too_large", 413, texts.body_too_large


class UnsupportedMediaTypeError(AppError):
    """The request body is not JSON by its Content-Type."""

    code, status, text = "unsupported_media_type", 415, texts.unsupported_media_type


class InvalidRequestError(AppError):
    """A value in path, query or body is refused; `problems` names the fields."""

    code, status, text = "invalid_request", 422, texts.invalid_request

    def __init__(self, problems: Sequence[FieldProblem] = (), *, text: Text | None = None) -> None:
        super().__init__("; ".join(f"{field}: {problem}" for field, problem in problems), text=text)
        self.problems = tuple(problems)


class DatabaseUnavailableError(AppError):
    """The database does not answer, or every connection stayed in use."""

    code, status, text, retryable = "database_unavailable", 503, texts.database_unavailable, True


class OverloadedError(AppError):
    """More work is waiting than can be done in time; nothing of this request was accepted."""

    code, status, text, retryable = "overloaded", 503, texts.overloaded, True
    headers: Mapping[str, str] = {"Retry-After": "1"}


class TurnInProgressError(AppError):
    """The session has a question that is being answered; `turn_id` names it."""

    code, status, text, retryable = "turn_in_progress", 409, texts.turn_in_progress, True


class TurnStoppedError(AppError):
    """The turn was stopped before any of its answer was there."""

    code, status, text, retryable = "turn_stopped", 409, texts.turn_stopped, True


class IdempotencyMismatchError(AppError):
    """The idempotency key was used for another request."""

    code, status, text = "idempotency_mismatch", 422, texts.idempotency_mismatch


class TurnInterruptedError(AppError):
    """The process that worked on the turn is gone, and with it the end of the answer."""

    code, status, text, retryable = "turn_interrupted", 503, texts.turn_interrupted, True


class ShuttingDownError(AppError):
    """This process is about to end and takes nothing new; another one will."""

    code, status, text, retryable = "shutting_down", 503, texts.shutting_down, True
    headers: Mapping[str, str] = {"Retry-After": "1"}


class InternalError(AppError):
    """A bug of ours; the log has it under the request id."""

    code, status, text = "internal_error", 500, texts.internal_error


class RagError(AppError):
    """The RAG server gave no answer. The exception's own message is the reason for the log, never for the client."""

    code, status, text, retryable = "rag_error", 502, texts.rag_error, True


class RagNotConfiguredError(RagError):
    """No RAG server's URL is set."""

    code, status, text, retryable = "rag_not_configured", 503, texts.rag_not_configured, False


class RagUnavailableError(RagError):
    """No connection came about: refused, unknown host, no route; or the RAG server asked to come back later."""

    code, status, text = "rag_unavailable", 503, texts.rag_unavailable


class RagTimeoutError(RagError):
    """The deadline passed before the whole answer was there."""

    code, status, text = "rag_timeout", 504, texts.rag_timeout


class RagResetError(RagError):
    """The connection broke after the question was sent."""


class RagStatusError(RagError):
    """The RAG server answered with a 4xx or 5xx."""


class RagBadAnswerError(RagError):
    """The RAG server answered something that is not the contract's answer."""

    code, text = "rag_bad_answer", texts.rag_bad_answer


class RagNotJsonError(RagBadAnswerError):
    """The answer is not JSON."""


class RagShapeError(RagBadAnswerError):
    """The answer is JSON, its fields are not the contract's."""


class RagTooLargeError(RagBadAnswerError):
    """The answer is larger than we read."""


class RagRedirectError(RagBadAnswerError):
    """The RAG server sent us elsewhere; questions go to the configured address only."""


class RagRefusedError(RagError):
    """The RAG server said `success: false`."""

    code, text = "rag_refused", texts.rag_refused


# What a turn may end in, as its row names it.
_ENDS: tuple[type[AppError], ...] = (
    RagNotConfiguredError,
    RagUnavailableError,
    RagTimeoutError,
    RagBadAnswerError,
    RagRefusedError,
    RagError,
    DatabaseUnavailableError,
    TurnInterruptedError,
    TurnStoppedError,
    ShuttingDownError,
)
_BY_CODE = {kind.code: kind for kind in _ENDS}


def error_of(code: str) -> AppError:
    """The error that a turn's stored code stands for."""
    return _BY_CODE.get(code, InternalError)(code)
