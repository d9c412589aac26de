"""Every failure becomes the one error envelope."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from app.core import texts
from app.core.errors import (
    AppError,
    BodyTooLargeError,
    DatabaseUnavailableError,
    FieldProblem,
    InternalError,
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
    UnsupportedMediaTypeError,
)
from app.core.texts import Text
from app.schemas.base import UnreadableBody
from app.schemas.errors import ErrorRead

logger = logging.getLogger(__name__)

# What Starlette and FastAPI raise by themselves; their 400 is a body that cannot be read.
BY_STATUS: Mapping[int, type[AppError]] = {
    400: InvalidRequestError,
    404: NotFoundError,
    405: MethodNotAllowedError,
    413: BodyTooLargeError,
}
# The sentence for a person follows the first problem; any other kind has the general one.
TEXT_BY_PROBLEM: Mapping[str, Text] = {
    "blank": texts.text_blank,
    "string_too_long": texts.text_too_long,
    "bad_characters": texts.text_has_bad_characters,
    "string_unicode": texts.text_has_bad_characters,
}


def add_error_handlers(app: FastAPI) -> None:
    """Answer every kind of failure with the envelope; crashes are the middleware's."""

    @app.exception_handler(AppError)
    async def _app_error(request: Request, error: AppError) -> Response:
        if isinstance(error, DatabaseUnavailableError):
            logger.error("Database unavailable: %s", error)
        return envelope(request, error)

    @app.exception_handler(RequestValidationError)
    async def _validation_error(request: Request, exc: RequestValidationError) -> Response:
        return envelope(request, _from_validation(request, exc))

    @app.exception_handler(HTTPException)
    async def _http_exception(request: Request, exc: HTTPException) -> Response:
        error = BY_STATUS.get(exc.status_code, InternalError)()
        return envelope(request, error, exc.headers or {})


def envelope(request: Request, error: AppError, headers: Mapping[str, str] | None = None) -> Response:
    """The response for a failure, in the client's language."""
    language = request.headers.get("accept-language", "")
    body = error_read(error, language, getattr(request.state, "request_id", ""))
    content = body.model_dump_json(exclude_none=True)
    return Response(content, error.status, {**error.headers, **(headers or {})}, media_type="application/json")


def error_read(error: AppError, language: str, request_id: str) -> ErrorRead:
    """The envelope for a failure."""
    return ErrorRead(
        error=error.text.for_language(language),
        code=error.code,
        request_id=request_id,
        retryable=error.retryable,
        session_id=error.session_id,
        turn_id=error.turn_id,
        fields=getattr(error, "problems", None) or None,
    )


def _from_validation(request: Request, exc: RequestValidationError) -> AppError:
    if isinstance(exc.body, bytes) and not _is_json(request.headers.get("content-type", "")):
        return UnsupportedMediaTypeError()
    if isinstance(exc.body, UnreadableBody):
        return InvalidRequestError([FieldProblem("body", _printable(exc.body.reason))])
    return invalid_request(exc.errors())


def invalid_request(problems: Sequence[Mapping[str, Any]]) -> InvalidRequestError:
    """The error for pydantic's list of what is wrong with a request."""
    text = TEXT_BY_PROBLEM.get(problems[0]["type"])
    if problems[0]["type"] == "blank" and problems[0]["loc"][-1] == "message":
        text = texts.message_blank
    # Only where and what: the rejected value may be a password. Where may be a key that the client made up.
    fields = [FieldProblem(_printable(_path(problem)), _printable(problem["msg"])) for problem in problems]
    return InvalidRequestError(fields, text=text)


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def _path(problem: Mapping[str, Any]) -> str:
    """The field's path without "body" or "query" before it."""
    where, *path = map(str, problem["loc"])
    return ".".join(path) or where


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()[:200]
