"""One viewer of a turn: collects what it sees over any number of connections, and checks what each says."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, NamedTuple

# What may follow what; the text of a chunk's type is its name in the protocol.
CONTENT = ("text-start", "text-delta")
AFTER: dict[str, tuple[str, ...]] = {
    "start": ("",),
    "text-start": ("start",),
    "text-delta": CONTENT,
    "text-end": CONTENT,
    "data-sources": ("text-end",),
    "source-url": ("data-sources", "source-url"),
    "message-metadata": ("data-sources", "source-url", "text-end"),
    "finish": ("message-metadata",),
    "data-error": (*CONTENT, "text-end"),
    "error": ("data-error",),
    "abort": (*CONTENT, "text-end"),
    "[DONE]": ("finish", "error", "abort"),
}
ENDS = ("finish", "error", "abort")


class ServerEvent(NamedTuple):
    """One server-sent event."""

    id: str
    data: str


async def events_of(chunks: AsyncIterator[bytes]) -> AsyncGenerator[ServerEvent, None]:
    """The events of a body; comments and `retry` are for others."""
    rest, event_id, data = b"", "", []
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            name, _, value = line.decode().rstrip("\r").partition(":")
            if name == "id":
                event_id = value.removeprefix(" ")
            elif name == "data":
                data.append(value.removeprefix(" "))
            elif not name and not value and data:
                yield ServerEvent(event_id, "\n".join(data))
                data = []


class View:
    """What one viewer has seen of a turn."""

    def __init__(self) -> None:
        self.turn_id: int | None = None
        self.session_id: int | None = None
        self.attempt = 0
        self.text = ""
        self.earlier: dict[int, str] = {}
        """What was seen of attempts before."""
        self.last_event_id = ""
        self.end: str | None = None
        self.code: str | None = None
        self.message_id: int | None = None
        self.sources: list[dict[str, Any]] | None = None
        self.problems: list[str] = []
        self.events = 0
        self._before = ""
        self._resumes = False

    def connect(self, *, resumes: bool = False) -> None:
        """Another connection begins; one that resumes told the server what was seen."""
        self._before = ""
        self._resumes = resumes
        self.end = None

    def take(self, event: ServerEvent) -> None:
        """See one event."""
        self.events += 1
        chunk: dict[str, Any] = {"type": event.data} if event.data == "[DONE]" else json.loads(event.data)
        kind = str(chunk["type"])
        if self._before not in AFTER.get(kind, ()):
            self.problems.append(f"turn {self.turn_id}: {kind} after {self._before or 'nothing'}")
        self._before = kind
        if kind == "start":
            self._start(chunk["messageMetadata"])
        elif kind == "text-delta":
            self.text += chunk["delta"]
        elif kind == "data-sources":
            self.sources = chunk["data"]
        elif kind == "message-metadata":
            self.message_id = chunk["messageMetadata"]["message_id"]
        elif kind == "data-error":
            self.code = chunk["data"]["code"]
        elif kind in ENDS:
            self.end = kind
        self._check_id(event.id, kind)

    @property
    def is_over(self) -> bool:
        """Whether the stream came to its end, not only to the end of a connection."""
        return self._before == "[DONE]"

    @property
    def has_answer(self) -> bool:
        """Whether it ended with the whole answer."""
        return self.end == "finish" and self.is_over

    def _start(self, metadata: dict[str, int]) -> None:
        known = (self.turn_id, self.session_id)
        new = (metadata["turn_id"], metadata["session_id"])
        if self.turn_id is not None and known != new:
            self.problems.append(f"turn and session {known} became {new}")
        self.turn_id, self.session_id = new
        attempt, offset = metadata["attempt"], metadata["offset"]
        if attempt < self.attempt:
            self.problems.append(f"turn {self.turn_id}: attempt {attempt} came after {self.attempt}")
        if attempt != self.attempt:
            if self.attempt:
                self.earlier[self.attempt] = self.text
            self.attempt, self.text = attempt, ""
        if offset > len(self.text):
            self.problems.append(f"turn {self.turn_id}: a gap, {len(self.text)} seen and goes on at {offset}")
        if offset < len(self.text) and self._resumes:
            self.problems.append(f"turn {self.turn_id}: {len(self.text)} seen and said, and it begins at {offset}")
        self.text = self.text[:offset]

    def _check_id(self, event_id: str, kind: str) -> None:
        if kind == "[DONE]" and not event_id:
            return
        turn, _, rest = event_id.partition(":")
        points, _, attempt = rest.partition(":")
        expected = (str(self.turn_id), str(len(self.text)), "" if self.attempt == 1 else str(self.attempt))
        if (turn, points, attempt) != expected:
            self.problems.append(f"{kind} has id {event_id!r}, expected {':'.join(filter(None, expected))!r}")
        self.last_event_id = event_id
