"""What every request and response shares: ids, texts, free-form JSON, the two kinds of model."""

import re
import unicodedata
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from app.core.limits import MAX_ID, MAX_LIMIT

MAX_JSON_DEPTH = 20
MAX_SOURCES = 200
NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")
FILLERS = "\u115f\u1160\u2800\u3164\uffa0"  # letters and symbols by their category, blanks on the screen
INVISIBLE = ("Z", "M", "Cc", "Cf")  # separators, combining marks, controls, format characters

Data = TypeVar("Data")


class RequestModel(BaseModel):
    """A request body: types are taken strictly, fields that we do not know are ignored."""

    model_config = ConfigDict(strict=True, frozen=True)


class ResponseModel(BaseModel):
    """A response body, read from rows and named tuples alike."""

    model_config = ConfigDict(from_attributes=True)


class SuccessModel(ResponseModel):
    """What every success begins with."""

    success: bool = Field(default=True, description="Always true; failures have the error envelope.")


class Success(SuccessModel, Generic[Data]):
    """What most successes look like."""

    data: Data


class PageOf(Success[list[Data]], Generic[Data]):
    """A list, whole or one page of it."""

    next_cursor: str | None = Field(
        default=None, description="Pass it as `cursor` for the next page; null when there is none.", examples=[None]
    )


class Done(SuccessModel):
    """Something was done, and there is nothing to return but a sentence."""

    message: str = Field(description="A sentence for a person.", examples=["세션이 삭제되었습니다."])


class UnreadableBody(NamedTuple):
    """Stands for a request body that is not JSON.

    No schema takes it, so it is refused like any wrong value, and after the caller was asked who they are: without a
    token, a broken body is a 401 as every other.
    """

    reason: str


def storable(text: str) -> str:
    """Refuse what no database stores: NUL, and halves of characters."""
    if NOT_STORABLE.search(text):
        raise PydanticCustomError("bad_characters", "holds NUL or half a character")
    return text


def visible(text: str) -> str:
    """Refuse what no database stores, and a text in which nothing can be seen."""
    if all(char in FILLERS or unicodedata.category(char).startswith(INVISIBLE) for char in text):
        raise PydanticCustomError("blank", "is blank")
    return storable(text)


def storable_json(value: Any, depth: int = 0) -> Any:  # noqa: ANN401 - any JSON
    """Refuse JSON that is nested too deep, or holds what no database stores."""
    if depth > MAX_JSON_DEPTH:
        raise PydanticCustomError("too_deep", "is nested too deep")
    if isinstance(value, str):
        storable(value)
    elif isinstance(value, float) and not (-float("inf") < value < float("inf")):
        raise PydanticCustomError("not_finite", "holds a number that JSON does not have")
    elif isinstance(value, dict | list):
        for part in (*value.keys(), *value.values()) if isinstance(value, dict) else value:
            storable_json(part, depth + 1)
    return value


def _decimal(value: Any) -> Any:  # noqa: ANN401 - whatever came as a path segment
    # int() also takes "+1", "1_000", " 1" and digits of other scripts: one number, one address.
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise PydanticCustomError("int_parsing", "is not a number")
    return value


# In an Annotated these stand behind the length, so that nobody's megabyte is walked character by character.
Storable = AfterValidator(storable)
Visible = AfterValidator(visible)
RowId = Annotated[int, Field(ge=1, le=MAX_ID)]
PathId = Annotated[int, BeforeValidator(_decimal), Field(ge=1, le=MAX_ID)]
PageLimit = Annotated[int, BeforeValidator(_decimal), Field(ge=1, le=MAX_LIMIT)]
Sources = Annotated[list[dict[str, Any]], Field(max_length=MAX_SOURCES), AfterValidator(storable_json)]
