"""The fault-playing RAG server's answers as event streams: well-behaved ones, and every way to go wrong."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple

PIECES = ("리스트는 ", "mutable, ", "튜플은 ", "immutable 😀")
PIECES_TEXT = "".join(PIECES)
GATED_FIRST, GATED_REST = "before ", "after"
LATE = "too late"
REASON = "index is being built"

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
KEEP_ALIVE = b": keep-alive\n\n"


class EventStream(NamedTuple):
    """One answer on its way; `reply` is what its `done` event says."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    reply: dict[str, Any]

    async def start(self) -> None:
        self.writer.write(HEAD)
        await self.writer.drain()

    async def send(self, data: bytes) -> None:
        self.writer.write(chunk(data))
        await self.writer.drain()
        # The peer runs in this very loop: it reads this packet before the next is written.
        await asyncio.sleep(0)

    async def end(self) -> None:
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def until_gone(self) -> None:
        """Return when the peer has closed the connection; it says nothing more before."""
        with suppress(ConnectionError):
            await self.reader.read(1)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def unnamed(**data: object) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def deltas(pieces: Iterable[str] = PIECES) -> bytes:
    return b"".join(event("delta", {"text": piece}) for piece in pieces)


def words(number: int) -> list[str]:
    return [f"word{k} " for k in range(number)]


def text_of(word: str, argument: str) -> str:
    """The whole answer to a question that begins with a streaming word."""
    if word == "stream":
        return "".join(words(int(argument)))
    if word == "gated":
        return GATED_FIRST + GATED_REST
    fault, _, size = argument.partition(":")
    return "가" * int(size) if fault == "big" else PIECES_TEXT


async def play_words(stream: EventStream, argument: str) -> None:
    await stream.start()
    for word in words(int(argument)):
        await stream.send(deltas([word]))
    await stream.send(event("done", stream.reply))
    await stream.end()


async def play_fault(stream: EventStream, argument: str) -> None:
    """`sse:<fault>`: one of the bodies below, or one of the behaviours."""
    fault, _, size = argument.partition(":")
    await stream.start()
    if fault in BEHAVIOURS:
        await BEHAVIOURS[fault](stream)
    elif fault == "big":
        await stream.send(deltas(["가" * 1000] * (int(size) // 1000)) + event("done", stream.reply))
    else:
        await stream.send(bodies(stream.reply)[fault])
    await stream.end()


def bodies(reply: dict[str, Any]) -> dict[str, bytes]:
    """What is sent in one piece, by name."""
    done = event("done", reply)
    good = deltas() + done
    return _good_bodies(reply, good) | {
        "no-done": deltas(),
        "only-end-marker": deltas() + b"data: [DONE]\n\n",
        "nothing": KEEP_ALIVE,
        "half-done": deltas() + done[:-1],
        "error-midway": deltas(PIECES[:2]) + event("error", {"error": REASON}) + done,
        "error-typed": unnamed(type="error", error="x" * 1000),
        "refused": deltas(PIECES[:2]) + event("done", {"success": False, "error": REASON}),
        "blank": deltas(["  "]) + event("done", {**reply, "answer": "  "}),
        "no-text-at-all": event("done", {**reply, "answer": None}),
        "not-json": deltas(PIECES[:2]) + b"event: delta\ndata: {\n\n",
        "html": b"data: <html>504 Gateway</html>\n\n",
        "half-character": deltas(PIECES[:2]) + b'event: delta\ndata: {"text": "\\ud800"}\n\n',
        "broken-utf8": deltas(PIECES[:2]) + b'event: delta\ndata: {"text": "\xff\xfe"}\n\n' + done,
        "list": b"event: delta\ndata: []\n\n",
        "number-text": event("delta", {"text": 5}),
        "no-text": event("delta", {}),
        "text-sources": deltas() + event("done", {**reply, "sources": "python_797"}),
        "text-success": deltas() + event("done", {**reply, "success": "yes"}),
    }


def _good_bodies(reply: dict[str, Any], good: bytes) -> dict[str, bytes]:
    done = event("done", reply)
    tokens = b"".join(unnamed(type="token", content=piece) for piece in PIECES)
    return {
        "good": good,
        "double-done": good + done,
        "data-after-done": good + deltas([LATE]) + b"data: {\n\n\xff",
        "keepalives-then-good": KEEP_ALIVE * 3 + good.replace(b"\n\n", b"\n\n" + KEEP_ALIVE),
        "crlf": good.replace(b"\n", b"\r\n"),
        "cr": good.replace(b"\n", b"\r"),
        "byte-order-mark": b"\xef\xbb\xbf" + good,
        "unknown-events": b"retry: 5\n\nevent: ping\ndata: {\n\nid: 7\n\ndata\n\ndata: [DONE]\n\n"
        + unnamed(type="status", text="searching")
        + unnamed(type=[1])
        + good,
        "longer-done": deltas(PIECES[:2]) + done,
        "no-deltas": done,
        "no-answer": deltas() + event("done", {**reply, "answer": None}),
        "different-done": deltas() + event("done", {**reply, "answer": "something else"}),
        "shorter-done": deltas() + event("done", {**reply, "answer": PIECES[0]}),
        "trimmed-done": deltas([*PIECES, " \n"]) + done,
        "token-type": tokens + unnamed(type="done", **reply),
        "bare-done": tokens + b"data: [DONE]\n\n" + unnamed(type="done"),
        "nul": deltas(["a\0b"]) + event("done", {**reply, "answer": "a\0bc\0"}),
        "separators": deltas(["a\u2028b\u0085c\u000bd"]) + event("done", {**reply, "answer": None}),
    }


async def one_byte(stream: EventStream) -> None:
    for byte in deltas() + event("done", stream.reply):
        await stream.send(bytes([byte]))


async def split_multibyte(stream: EventStream) -> None:
    body = deltas() + event("done", stream.reply)
    inside = body.index("😀".encode()) + 2
    await stream.send(body[:inside])
    await stream.send(body[inside:])


async def reset_midway(stream: EventStream) -> None:
    await stream.send(deltas(PIECES[:2]))
    stream.writer.transport.abort()
    raise ConnectionResetError


async def idle(stream: EventStream) -> None:
    await stream.send(deltas(PIECES[:1]))
    await stream.until_gone()
    raise ConnectionResetError


async def late_start(stream: EventStream) -> None:
    await asyncio.sleep(0.4)
    await stream.send(deltas() + event("done", stream.reply))


async def done_then_open(stream: EventStream) -> None:
    await stream.send(deltas() + event("done", stream.reply))
    await stream.until_gone()
    raise ConnectionResetError


async def done_with_end(stream: EventStream) -> None:
    """The last event and the end in one packet."""
    stream.writer.write(chunk(deltas() + event("done", stream.reply)))


async def only_keep_alives(stream: EventStream) -> None:
    while True:
        await stream.send(KEEP_ALIVE)
        await asyncio.sleep(0.01)


async def endless_line(stream: EventStream) -> None:
    await stream.send(deltas(PIECES[:1]) + b"data: ")
    while True:
        await stream.send(b"x" * 65536)


BEHAVIOURS: dict[str, Callable[[EventStream], Awaitable[None]]] = {
    "one-byte": one_byte,
    "split-multibyte": split_multibyte,
    "reset-midway": reset_midway,
    "idle": idle,
    "late-start": late_start,
    "done-then-open": done_then_open,
    "done-with-end": done_with_end,
    "keepalives-only": only_keep_alives,
    "endless-line": endless_line,
}
STREAMS: dict[str, Callable[[EventStream, str], Awaitable[None]]] = {"stream": play_words, "sse": play_fault}
