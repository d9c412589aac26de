"""A RAG server that plays faults: a raw TCP server, told by words in the question what to do, with a journal."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

SOURCES = [{"chunk_id": "python_797", "content": "리스트는 mutable, 튜플은 immutable", "score": 0.95}]
METADATA = {"model": "gpt-4.1"}
GOOD = {
    "success": True,
    "answer": "리스트(list)와 튜플(tuple)의 가장 큰 차이는...",
    "sources": SOURCES,
    "metadata": METADATA,
}

# Bodies answered with status 200 to a question that holds "body:<name>".
BODIES: dict[str, bytes] = {
    "html": b"<html>504 Gateway</html>",
    "empty": b"",
    "null": b"null",
    "number": b"5",
    "string": b'"x"',
    "array": b"[]",
    "object": b"{}",
    "nan": b'{"success": true, "answer": "x", "metadata": {"a": NaN}}',
    "utf16": json.dumps(GOOD).encode("utf-16"),
    "broken-utf8": b'{"success": true, "answer": "\xff\xfe"}',
    "half-character": b'{"success": true, "answer": "\\ud800"}',
    "deep": b"[" * 100_000,
    "no-answer": b'{"success": true}',
    "null-answer": b'{"success": true, "answer": null}',
    "blank-answer": b'{"success": true, "answer": "  "}',
    "number-answer": b'{"success": true, "answer": 5}',
    "list-answer": b'{"success": true, "answer": ["x"]}',
    "text-sources": b'{"success": true, "answer": "x", "sources": "python_797"}',
    "list-of-text-sources": b'{"success": true, "answer": "x", "sources": ["python_797"]}',
    "list-metadata": b'{"success": true, "answer": "x", "metadata": []}',
    "text-success": b'{"success": "yes", "answer": "x"}',
    "refused": b'{"success": false, "error": "<b>index is being built</b>"}',
    "refused-bare": b'{"success": false}',
    "bare": b'{"success": true, "answer": "only an answer"}',
    "nulls": b'{"success": true, "answer": "nulls", "sources": null, "metadata": null}',
    "nul": b'{"success": true, "answer": "a\\u0000b"}',
    "infinity": b'{"success": true, "answer": "x", "sources": [{"score": 1e400}]}',
    "large": json.dumps({**GOOD, "answer": "x" * 5_000_000}).encode(),
    "cookie": json.dumps(GOOD).encode(),
}


class FakeRag:
    """Listens on loopback; `journal` holds every body it got, `heads` what came before each."""

    def __init__(self) -> None:
        self.journal: list[dict[str, Any]] = []
        self.heads: list[str] = []
        self._waiting: set[object] = set()
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=4096)

    async def stop(self) -> None:
        assert self._server
        self._server.close()

    def forget(self) -> None:
        """Start anew; what the test before left waiting counts no more."""
        self.journal.clear()
        self.heads.clear()
        self._waiting = set()

    async def until_waiting(self, number: int) -> None:
        """Return when so many slow answers are being made."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._waiting) >= number)

    @property
    def url(self) -> str:
        assert self._server
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
                body = json.loads(await reader.readexactly(int(length[1]) if length else 0))
                self.heads.append(head)
                self.journal.append(body)
                await self._answer(body["question"], writer)
        writer.close()

    async def _answer(self, question: str, writer: asyncio.StreamWriter) -> None:
        fault, _, argument = question.partition(":")
        await FAULTS.get(fault, FakeRag.play_good)(self, argument.split(" ")[0], writer)

    async def play_good(self, _argument: str, writer: asyncio.StreamWriter) -> None:
        await _send(writer, 200, json.dumps(GOOD).encode())

    async def play_slow(self, seconds: str, writer: asyncio.StreamWriter) -> None:
        waiting, me = self._waiting, object()
        async with self._changed:
            waiting.add(me)
            self._changed.notify_all()
        await asyncio.sleep(float(seconds))
        waiting.discard(me)
        await self.play_good("", writer)

    async def play_status(self, code: str, writer: asyncio.StreamWriter) -> None:
        await _send(writer, int(code), b'{"detail": "secret of the upstream"}', "Location: http://169.254.169.254/\r\n")

    async def play_body(self, name: str, writer: asyncio.StreamWriter) -> None:
        await _send(writer, 200, BODIES[name], "Set-Cookie: who=first\r\n" if name == "cookie" else "")

    async def play_gzip(self, _argument: str, writer: asyncio.StreamWriter) -> None:
        await _send(writer, 200, b"\x1f\x8b", "Content-Encoding: gzip\r\n")

    async def play_reset(self, after: str, writer: asyncio.StreamWriter) -> None:
        parts = {
            "accept": b"",
            "head": b"HTTP/1.1 200 OK\r\nContent-Le",
            "body": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
        }
        writer.write(parts[after])
        await writer.drain()
        writer.transport.abort()

    async def play_junk(self, _argument: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        await writer.drain()
        writer.close()

    async def play_drip(self, _argument: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.1)


Fault = Callable[[FakeRag, str, asyncio.StreamWriter], Awaitable[None]]
FAULTS: dict[str, Fault] = {
    "slow": FakeRag.play_slow,
    "status": FakeRag.play_status,
    "body": FakeRag.play_body,
    "gzip": FakeRag.play_gzip,
    "reset": FakeRag.play_reset,
    "junk": FakeRag.play_junk,
    "drip": FakeRag.play_drip,
}


async def _send(writer: asyncio.StreamWriter, status: int, body: bytes, headers: str = "") -> None:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
