"""A server on loopback, in the tests' own event loop, that stands for every server of models."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from tests.ragserver.models import dialects
from tests.ragserver.models.wire import Asked, Fault, Wire

PATIENCE_S = 10  # a test that waits in vain fails, it does not hang


class FakeModels:
    """Answers `<url>/<dialect>/…/{embeddings,rerank,chat/completions}`.

    `faults` says what is played in place of an answer, by stage ("embeddings", "rerank", "chat"). `journal` holds
    every request, `pieces` what the language model says, and `most_tokens` is where texts become too long.
    """

    def __init__(self) -> None:
        self.journal: list[Asked] = []
        self.faults: dict[str, Fault] = {}
        self.pieces: tuple[str, ...] = ("리스트는 바꿀 수 ", "있습니다 [1].", " 😀\n")
        self.most_tokens = 8192
        self.connections = 0
        self.open = 0  # connections
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        await self.until(lambda: self.open == 0)

    def url(self, dialect: str) -> str:
        """The base URL of a server that speaks so."""
        assert self._server
        root = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/{dialect}"
        return root if dialect == "tei" else f"{root}/v1"

    def settings(self, dialect: str = "vllm") -> dict[str, Any]:
        """Settings that use this server for all three models."""
        return {f"rag_{stage}_url": self.url(dialect) for stage in ("embed", "rerank", "llm")} | {"rag_timeout_s": 6}

    def asked(self, stage: str) -> list[dict[str, Any]]:
        """What this stage was sent, in order."""
        return [asked.body for asked in self.journal if asked.stage == stage]

    async def until_closed(self) -> None:
        """Return when no connection is open."""
        await self.until(lambda: self.open == 0)

    async def until(self, happened: Callable[[], bool]) -> None:
        """Return when it is so; looked at whenever a question comes or a connection ends."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(happened)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        wire = Wire(reader, writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                asked = await wire.next()
                self.journal.append(asked)
                await self._tell()
                await self._answer(asked, wire)
        wire.close()
        self.open -= 1
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _answer(self, asked: Asked, wire: Wire) -> None:
        async def good() -> None:
            if asked.stage == "chat":
                await self._write(asked, wire)
            elif asked.stage == "rerank" and asked.dialect in {"ollama", "openai"}:
                await wire.respond(404, b"404 page not found", "text/plain")
            else:
                status, payload = dialects.answer(asked, self.most_tokens)
                await wire.respond(status, json.dumps(payload).encode())

        fault = self.faults.get(asked.stage)
        await (fault(asked, wire, good) if fault else good())

    async def _write(self, asked: Asked, wire: Wire) -> None:
        await wire.begin_events()
        for event in dialects.events(asked.dialect, self.pieces):
            await wire.event(event)
        await wire.end_events()
