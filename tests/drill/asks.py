"""A question as its asker sees it: what was sent, what came back, what is known to be accepted."""

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from tests.drill.streams import View

LOST = 0
"""The status of a request without a response."""


OF_ANOTHER = {"turn_in_progress", "idempotency_mismatch"}
"""Errors whose `turn_id` is not that of the question that was sent."""


@dataclass(frozen=True)
class Caller:
    """A signed-in user."""

    id: int
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass(frozen=True)
class Reply:
    """One response, or that there was none."""

    status: int
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0
    at: float = field(default_factory=time.time)

    @property
    def code(self) -> str | None:
        """The stable code of an error."""
        return self.body.get("code")

    @property
    def turn_id(self) -> int | None:
        return self.body.get("turn_id")

    @property
    def text(self) -> str | None:
        """The answer of a `POST chat/`."""
        data = self.body.get("data")
        return data.get("response") if self.status == 200 and isinstance(data, dict) else None

    @property
    def was_replayed(self) -> bool:
        return self.headers.get("idempotent-replayed") == "true"


@dataclass
class Ask:
    """One question with one idempotency key, sent as often as it takes."""

    caller: Caller
    canary: str
    script: str = ""
    session_id: int | None = None
    key: str | None = field(default_factory=lambda: uuid.uuid4().hex)
    replies: list[Reply] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    is_deleted: bool = False
    """Its session or user was deleted on purpose."""

    @property
    def message(self) -> str:
        """The question's text: unique by its canary, and the upstream's orders."""
        return f"질문 canary={self.canary} {self.script}".rstrip()

    @property
    def body(self) -> dict[str, Any]:
        return {"message": self.message} | ({"session_id": self.session_id} if self.session_id else {})

    @property
    def headers(self) -> dict[str, str]:
        return self.caller.headers | ({"Idempotency-Key": self.key} if self.key else {})

    @property
    def is_acknowledged(self) -> bool:
        """Whether the client knows that the question was accepted."""
        return bool(self.turn_ids) or any(200 <= reply.status < 300 for reply in self.replies)

    @property
    def turn_ids(self) -> set[int]:
        """Every turn that the client was told to be this question's; one, if all is well."""
        told = {view.turn_id for view in self.views}
        told |= {reply.turn_id for reply in self.replies if reply.code not in OF_ANOTHER}
        return {turn_id for turn_id in told if turn_id is not None}

    @property
    def answers(self) -> list[str]:
        """Every whole answer that came to the client."""
        texts = [reply.text for reply in self.replies if reply.text is not None]
        return texts + [view.text for view in self.views if view.has_answer]

    @property
    def statuses(self) -> list[int]:
        return [reply.status for reply in self.replies]
