"""A RAG server that plays faults: a raw TCP server, told by words in the question what to do, with a journal.

Questions that begin with `stream:`, `gated:` or `sse:` are answered as an event stream when the request accepts one,
else with the same text as JSON.
"""

import asyncio
import json
import re
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from tests.rag_bodies import bodies
from tests.rag_stream import GATED_FIRST, GATED_REST, HEAD, STREAMS, EventStream, chunk, deltas, event, text_of

SOURCES = [{"chunk_id": "python_797", "content": "리스트는 mutable, 튜플은 immutable", "score": 0.95}]
PATIENCE_SECONDS = 10  # a test that waits in vain fails, it does not hang
METADATA = {"model": "gpt-4.1"}
GOOD = {
    "success": True,
    "answer": "리스트(list)와 튜플(tuple)의 가장 큰 차이는...",
    "sources": SOURCES,
    "metadata": METADATA,
}
LIKE_EVENTS = "data: [DONE]\n\nid: 9:9\r\nevent: x\r\u2028\u0085: end"
LINKS = [
    {"chunk_id": "a", "url": "https://docs.example/a", "title": "A"},
    {"url": "HTTP://docs.example/b", "title": None},
    {"chunk_id": "c", "url": "javascript:alert(1)"},
    {"chunk_id": "d", "url": 5},
]

BODIES = bodies(GOOD) | {
    "events": json.dumps({**GOOD, "answer": LIKE_EVENTS}).encode(),
    "links": json.dumps({**GOOD, "sources": LINKS}).encode(),
}


class FakeRag:
    """Listens on loopback; `journal` holds every body it got, `heads` what came before each.

    `gated:<name>` says GATED_FIRST, waits for `release(name)`, and says GATED_REST; as JSON it waits, then says all.
    """

    def __init__(self) -> None:
        self.journal: list[dict[str, Any]] = []
        self.heads: list[str] = []
        self.connections = 0
        self._open = 0
        self._waiting: set[object] = set()
        self._gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._held: Counter[str] = Counter()
        self._left: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, backlog=4096)

    async def stop(self) -> None:
        assert self._server
        self._server.close()

    def forget(self) -> None:
        """Start anew; what the test before left waiting counts no more."""
        self.journal.clear()
        self.heads.clear()
        self.connections = 0
        self._waiting = set()
        for gate in self._gates.values():
            gate.set()
        self._gates.clear()
        self._held.clear()
        self._left.clear()
        self._asked.clear()

    def release(self, name: str) -> None:
        """Let `gated:<name>` go on, now and whenever it is asked again."""
        self._gates[name].set()

    async def until_waiting(self, number: int) -> None:
        """Return when so many slow answers are being made."""
        await self._until(lambda: len(self._waiting) >= number)

    async def until_streaming(self, name: str, number: int = 1) -> None:
        """Return when `gated:<name>` has said its first words, or said so for the n-th time."""
        await self._until(lambda: self._held[name] >= number)

    async def until_gone(self, name: str, number: int = 1) -> None:
        """Return when who asked `gated:<name>` has closed the connection before its release."""
        await self._until(lambda: self._left[name] >= number)

    async def until_closed(self) -> None:
        """Return when no connection is open."""
        await self._until(lambda: self._open == 0)

    @property
    def url(self) -> str:
        assert self._server
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(happened)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
                body = json.loads(await reader.readexactly(int(length[1]) if length else 0))
                self.heads.append(head)
                self.journal.append(body)
                await self._answer(body["question"], head, reader, writer)
        writer.close()
        self._open -= 1
        await self._tell()

    async def _answer(
        self, question: str, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        word, _, rest = question.partition(":")
        argument = rest.split(" ")[0]
        if word not in (*STREAMS, "gated"):
            await FAULTS.get(word, FakeRag.play_good)(self, argument, writer)
            return
        stream = EventStream(reader, writer, {**GOOD, "answer": text_of(word, argument)})
        if re.search(r"^accept:.*text/event-stream", head, re.IGNORECASE | re.MULTILINE):
            await STREAMS.get(word, self.play_gated)(stream, argument)
        else:
            if word == "gated":
                await self._hold(stream, argument)
            await _send(writer, 200, json.dumps(stream.reply).encode())

    async def _hold(self, stream: EventStream, name: str) -> None:
        """Wait for the release, or for the peer to leave."""
        self._held[name] += 1
        await self._tell()
        released = asyncio.create_task(self._gates[name].wait())
        gone = asyncio.create_task(stream.until_gone())
        await asyncio.wait({released, gone}, return_when=asyncio.FIRST_COMPLETED)
        released.cancel()
        # Before the connection is read again, this reader must have let go of it.
        if not gone.cancel():
            self._left[name] += 1
            raise ConnectionResetError
        await asyncio.wait({gone})

    async def play_gated(self, stream: EventStream, name: str) -> None:
        await stream.start()
        await stream.send(deltas([GATED_FIRST]))
        await self._hold(stream, name)
        await stream.send(deltas([GATED_REST]) + event("done", stream.reply))
        await stream.end()

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

    async def play_once(self, fault: str, writer: asyncio.StreamWriter) -> None:
        """A status, or `midway`: an answer that breaks off. The second time and after, all is good."""
        self._asked[fault] += 1
        if self._asked[fault] > 1:
            await self.play_good("", writer)
        elif fault == "midway":
            writer.write(HEAD + chunk(deltas()) + chunk(b""))
        else:
            await self.play_status(fault, writer)

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
    "once": FakeRag.play_once,
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
