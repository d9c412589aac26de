"""The error envelope."""

from typing import Any, Literal

from pydantic import Field

from app.core.errors import AppError
from app.schemas.base import ResponseModel


class FieldProblemRead(ResponseModel):
    """One field and what is wrong with it."""

    field: str = Field(description="The field's path.", examples=["message"])
    problem: str = Field(description="What is wrong with it, for developers.", examples=["is blank"])


class ErrorRead(ResponseModel):
    """What every failure looks like."""

    success: Literal[False] = Field(default=False, description="Always false.")
    error: str = Field(
        description="A sentence for a person: Korean, or English when `Accept-Language` prefers it.",
        examples=["RAG 서버에 연결할 수 없습니다."],
    )
    code: str = Field(description="Stable, for programs; each code has one status.", examples=["rag_unavailable"])
    request_id: str = Field(description="The log has it too.", examples=["4f2a9c1e6b7d4d0c8a3e5f60718293a4"])
    retryable: bool = Field(description="Whether the same request may succeed later.", examples=[True])
    session_id: int | None = Field(
        default=None, description="Where the question of a failed chat is stored.", examples=[123]
    )
    turn_id: int | None = Field(
        default=None, description="The turn that this is about: look at it, join it or retry it.", examples=[5]
    )
    fields: list[FieldProblemRead] | None = Field(default=None, description="With `invalid_request`: what is wrong.")


def errors(*kinds: type[AppError]) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of an operation that may end in these errors; codes of one status share an entry."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        entry = responses.setdefault(kind.status, {"model": ErrorRead, "description": "", "content": {}})
        entry["description"] = " · ".join(filter(None, (entry["description"], f"`{kind.code}`")))
        examples = entry["content"].setdefault("application/json", {}).setdefault("examples", {})
        examples[kind.code] = {"summary": kind.text.en, "value": _example(kind)}
    return responses


def _example(kind: type[AppError]) -> dict[str, Any]:
    return {
        "success": False,
        "error": kind.text.ko,
        "code": kind.code,
        "request_id": "4f2a9c1e6b7d4d0c8a3e5f60718293a4",
        "retryable": kind.retryable,
    }
