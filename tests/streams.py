"""Reads the service's streams as strictly as a browser's EventSource would."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

DONE = "[DONE]"


@dataclass
class Stream:
    """One connection: the events as they came."""

    response: httpx.Response
    ids: list[str] = field(default_factory=list)
    chunks: list[dict[str, Any]] = field(default_factory=list)
    comments: int = 0
    retry: int | None = None
    is_done: bool = False

    @property
    def text(self) -> str:
        return "".join(chunk["delta"] for chunk in self.chunks if chunk["type"] == "text-delta")

    @property
    def types(self) -> list[str]:
        """The kinds of chunks, with each run of deltas as one."""
        types = [chunk["type"] for chunk in self.chunks]
        return [kind for k, kind in enumerate(types) if kind != "text-delta" or types[k - 1] != kind]

    @property
    def start(self) -> dict[str, Any]:
        metadata: dict[str, Any] = self.chunks[0]["messageMetadata"]
        return metadata

    def of(self, kind: str) -> dict[str, Any]:
        """The one chunk of this kind."""
        (chunk,) = (chunk for chunk in self.chunks if chunk["type"] == kind)
        return chunk

    async def read(self) -> None:
        """Read to the end."""
        async for _ in self:
            pass

    async def until_text(self, text: str) -> None:
        """Read until the answer has come so far."""
        async for _ in self:
            if self.text == text:
                return
        raise AssertionError(f"the stream ended with {self.text!r}")

    async def __aiter__(self) -> AsyncIterator[None]:
        async for line in self._lines:
            self._take(line)
            yield

    def __post_init__(self) -> None:
        self._lines = _lines(self.response)

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        assert name in ("", "id", "data", "retry"), f"no EventSource takes {line!r}"
        assert not self.is_done or not line, "something came behind [DONE]"
        if line.startswith(":"):
            self.comments += 1
        elif name == "id":
            self.ids.append(value)
        elif name == "retry":
            self.retry = int(value)
        elif value == DONE:
            self.is_done = True
        elif name == "data":
            self.chunks.append(json.loads(value))


async def _lines(response: httpx.Response) -> AsyncIterator[str]:
    """Lines as EventSource knows them; httpx's own also end at U+2028 and the like."""
    rest = ""
    async for text in response.aiter_text():
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            yield line


@asynccontextmanager
async def streaming(http: httpx.AsyncClient, url: str, **options: Any) -> AsyncIterator[Stream]:  # noqa: ANN401
    """A stream that is left when the block ends; POST when there is a body."""
    async with http.stream("POST" if "json" in options else "GET", url, **options) as response:
        if response.status_code != httpx.codes.OK:
            await response.aread()
            raise AssertionError(f"{response.status_code}: {response.text}")
        yield Stream(response)


async def read_stream(http: httpx.AsyncClient, url: str, **options: Any) -> Stream:  # noqa: ANN401
    """The whole stream."""
    async with streaming(http, url, **options) as stream:
        await stream.read()
    return stream
