"""The RAG server that plays faults, in a process of its own: `python -m tests.drill.upstream <journal>`.

Prints its port. Each call gives two lines of the journal, appended and never changed: one when the request is there,
one when it ended, with the text that was sent and how it ended. `journal.py` reads them.
"""

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from tests.drill.script import SSE_HEAD, Script
from tests.drill.wire import HOST, reset

SOURCES = [
    {"chunk_id": "python_797", "content": "리스트는 mutable", "score": 0.95},
    {"chunk_id": "python_798", "content": "튜플은 immutable", "score": 0.9, "url": "https://docs.example/tuple"},
]
METADATA = {"model": "drill"}


class BrokenError(Exception):
    """The script says that the connection breaks here; the text is the end that the journal gets."""


class Call:
    """One request, while it is answered."""

    def __init__(self, script: Script, number: int, writer: asyncio.StreamWriter, *, is_stream: bool) -> None:
        self.script, self.number, self.writer, self.is_stream = script, number, writer, is_stream
        self.deltas = script.deltas(number)
        self.sent = ""

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        """One piece of a chunked body."""
        await self.write(b"%x\r\n%b\r\n" % (len(data), data))

    def encode(self, event: str, data: object) -> bytes:
        """One event, with the line ends of the script."""
        text = f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
        ends = {"crlf": "\r\n", "cr": "\r"}
        return text.replace("\n", ends.get(self.script.fault, "\n")).encode()

    async def event(self, event: str, data: object) -> None:
        encoded = self.encode(event, data)
        if self.script.fault == "split":  # one byte a packet, also within a character
            for byte in encoded:
                await self.chunk(bytes([byte]))
                await asyncio.sleep(0)
        else:
            await self.chunk(encoded)

    async def delta(self, text: str) -> None:
        await self.event("delta", {"text": text})
        self.sent += text

    async def done(self) -> None:
        answer = "".join(self.deltas)
        await self.event("done", {"success": True, "answer": answer, "sources": SOURCES, "metadata": METADATA})

    def break_off(self, why: str) -> None:
        reset(self.writer)
        raise BrokenError(why)


async def answer_away(call: Call) -> None:
    await call.write(b"HTTP/1.1 503 Away\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    call.writer.close()
    raise BrokenError("away")


async def answer_json(call: Call) -> None:
    """The contract's answer, after the time that the deltas would take."""
    script = call.script
    await asyncio.sleep(script.ttft + script.gap * (script.length - 1))
    text = "".join(call.deltas)
    body = json.dumps({"success": True, "answer": text, "sources": SOURCES, "metadata": METADATA}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    if script.fault == "reset":
        await call.write((head + body)[: script.after])
        call.break_off("reset")
    if script.fault == "drip":
        await drip(call, head)
    if script.fault == "error":
        body = b'{"success": false, "error": "told to"}'
        head = head.replace(head.split(b": ")[-1].strip(), str(len(body)).encode())
    await call.write(head + body)
    call.sent = text


async def answer_stream(call: Call) -> None:
    """Deltas, then `done`; with whatever the script wants to go wrong in between."""
    script = call.script
    await asyncio.sleep(script.ttft)
    if script.fault == "reset" and script.after < len(SSE_HEAD):
        await call.write(SSE_HEAD[: script.after])
        call.break_off("reset")
    if script.fault == "drip":
        await drip(call, SSE_HEAD)
    await call.write(SSE_HEAD)
    for number, text in enumerate(call.deltas):
        if number:
            await asyncio.sleep(script.gap)
        await STREAM_FAULTS.get(script.fault, nothing)(call, number)
        await call.delta(text)
    if script.fault == "nodone":
        call.writer.close()
        raise BrokenError("no done")
    await call.done()
    if script.fault == "doubledone":
        await call.done()
    if script.fault == "afterdone":
        await call.event("delta", {"text": "after the end"})
    await call.write(b"0\r\n\r\n")


async def nothing(_call: Call, _number: int) -> None:
    """No fault."""


async def reset_midway(call: Call, number: int) -> None:
    if number == max(1, call.script.after - len(SSE_HEAD)):
        call.break_off("reset")


async def error_midway(call: Call, number: int) -> None:
    if number == call.script.after:
        await call.event("error", {"error": "told to"})
        await call.write(b"0\r\n\r\n")
        raise BrokenError("error")


async def keep_alives(call: Call, number: int) -> None:
    while number == call.script.after:
        await call.chunk(b": still there\n\n")
        await asyncio.sleep(1)


async def hang(call: Call, number: int) -> None:
    if number == call.script.after:
        await asyncio.sleep(600)


async def drip(call: Call, head: bytes) -> None:
    """One byte, five seconds, for ever."""
    await call.write(head)
    while True:
        await (call.chunk if call.is_stream else call.write)(b" " if not call.is_stream else b":")
        await asyncio.sleep(5)


STREAM_FAULTS: dict[str, Callable[[Call, int], Awaitable[None]]] = {
    "reset": reset_midway,
    "error": error_midway,
    "keepalives": keep_alives,
    "hang": hang,
}


class Upstream:
    """The server and its journal."""

    def __init__(self, journal: Path) -> None:
        self._journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._calls = 0
        self._is_away = False
        self._by_canary: Counter[str] = Counter()

    def toggle(self) -> None:
        """Go away, or come back: who is away answers 503, as the proxy in front of a stopped pod does."""
        self._is_away = not self._is_away

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests."""
        first: bytes | None = b""
        with suppress(asyncio.IncompleteReadError, OSError):
            while first is not None:
                first = await self._serve_one(first, reader, writer)
        writer.close()

    async def _serve_one(
        self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes | None:
        """Answer one request; gives back what was read of the next one already, or None at the end."""
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
        body = json.loads(await reader.readexactly(int(length[1]) if length else 0))
        is_stream = re.search(r"^accept:.*text/event-stream", head, re.IGNORECASE | re.MULTILINE) is not None
        call = self._begin(str(body["question"]), writer, is_stream=is_stream)
        play = answer_away if self._is_away else answer_stream if is_stream else answer_json
        answer = asyncio.create_task(play(call))
        gone = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
            goes_on = self._end(call, answer)
            return (gone.result() if gone.done() else b"") if goes_on else None
        finally:
            answer.cancel()
            gone.cancel()
            await asyncio.gather(answer, gone, return_exceptions=True)

    def _begin(self, question: str, writer: asyncio.StreamWriter, *, is_stream: bool) -> Call:
        self._calls += 1
        script = Script.parse(question)
        self._by_canary[script.canary] += 1
        if self._by_canary[script.canary] > script.times:
            script = script.without_trouble
        self._write(call=self._calls, canary=script.canary, at=time.time(), stream=is_stream)
        return Call(script, self._calls, writer, is_stream=is_stream)

    def _end(self, call: Call, answer: "asyncio.Task[None]") -> bool:
        if not answer.done():
            end = "caller gone"
        else:
            problem = answer.exception()
            end = "done" if problem is None else str(problem) or type(problem).__name__
        self._write(call=call.number, sent=call.sent, whole="".join(call.deltas), end=end)
        return end == "done" and not call.is_stream

    def _write(self, **values: object) -> None:
        os.write(self._journal, json.dumps(values, ensure_ascii=False).encode() + b"\n")


async def main(journal: Path) -> None:
    """Serve until killed."""
    upstream = Upstream(journal)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, upstream.toggle)
    server = await asyncio.start_server(upstream.serve, HOST, 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - who started us reads it
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
