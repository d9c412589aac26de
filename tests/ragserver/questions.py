"""Asking the server, for the tests."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

CHAT = "/api/v1/chat"
AS_EVENTS = {"Accept": "text/event-stream, application/json"}
Event = tuple[str, dict[str, Any]]

_OPENING = ": found\n\n"
_EVENT = re.compile(r"event: ([a-z]+)\ndata: ([^\r\n]+)\n\n")


async def ask(client: httpx.AsyncClient, question: str, **more: object) -> dict[str, Any]:
    """Return the body of a successful answer."""
    answered = await client.post(CHAT, json={"question": question, **more})
    assert answered.status_code == httpx.codes.OK, answered.text
    body: dict[str, Any] = answered.json()
    assert body["success"] is True
    return body


async def stream(client: httpx.AsyncClient, question: str, **more: object) -> list[Event]:
    """Return the events of an answer; the whole body must be events."""
    answered = await client.post(CHAT, json={"question": question, **more}, headers=AS_EVENTS)
    assert answered.status_code == httpx.codes.OK, answered.text
    text = answered.content.decode()
    assert text.startswith(_OPENING), text
    return events_in(text)


def events_in(text: str) -> list[Event]:
    """Return the name and the data of each event in a stream, or in its rest; it may open with its comment."""
    text = text.removeprefix(_OPENING)
    assert not _EVENT.sub("", text), text
    return [(name, json.loads(data)) for name, data in _EVENT.findall(text)]


def said_in(events: list[Event]) -> list[str]:
    """Return the pieces of the answer in a stream."""
    return [data["text"] for name, data in events if name == "delta"]


@asynccontextmanager
async def begun(client: httpx.AsyncClient, question: str) -> AsyncIterator[Event]:
    """Ask for a stream and give its first event; leave without having read the others."""
    async with client.stream("POST", CHAT, json={"question": question}, headers=AS_EVENTS) as answered:
        received = ""
        async for text in answered.aiter_text():
            received += text
            if found := _EVENT.match(received.removeprefix(_OPENING)):
                yield found[1], json.loads(found[2])
                return
