"""Clients of the service: ask, watch, leave as rudely as wanted, come back, ask again."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import Any

from app.core.tokens import TokenSigner
from tests.drill.asks import LOST, Ask, Caller, Reply
from tests.drill.streams import View, events_of
from tests.drill.wire import Exchange, LostError

API = "/api/v1/chatbot"
ASYNC = {"Prefer": "respond-async"}
AGAIN_SECONDS = 0.3
# What a client that sends again may meet on the way to its answer.
RETRYABLE = {LOST, 409, 429, 502, 503, 504}


def signer(secret: str) -> TokenSigner:
    """Signs tokens as the replicas do."""
    return TokenSigner(secret, algorithm="HS256", access=timedelta(hours=8), refresh=timedelta(days=1))


class Clients:
    """Sends requests to one port: the balancer's, or that of a replica or a proxy."""

    def __init__(self, port: int, *, patience: float = 90) -> None:
        self.port = port
        self._patience = patience

    async def call(self, method: str, path: str, caller: Caller, *, body: object = None, **headers: str) -> Reply:
        """One request to the end of its response."""
        return await self._send(method, path, caller.headers | headers, body)

    async def post(self, ask: Ask, **headers: str) -> Reply:
        """`POST chat/`: wait for the whole answer."""
        reply = await self._send("POST", f"{API}/chat/", ask.headers | headers, ask.body)
        ask.replies.append(reply)
        return reply

    async def start(self, ask: Ask) -> Reply:
        """`POST chat/` that answers as soon as the question is accepted."""
        return await self.post(ask, **ASYNC)

    async def turn(self, ask: Ask, turn_id: int | None = None) -> Reply:
        """The turn's state."""
        return await self.call("GET", f"{API}/turns/{turn_id or _turn_of(ask)}/", ask.caller)

    async def stop(self, ask: Ask) -> Reply:
        """Stop the turn."""
        return await self.call("POST", f"{API}/turns/{_turn_of(ask)}/stop/", ask.caller)

    async def delete_session(self, caller: Caller, session_id: int) -> Reply:
        """Delete a session."""
        return await self.call("DELETE", f"{API}/sessions/{session_id}/delete/", caller)

    async def stream(self, ask: Ask, *, until: Callable[[View], bool] | None = None) -> View:
        """`POST chat/stream/`, to its end, or until the condition holds; then with a RST."""
        view = View()
        ask.views.append(view)
        exchange = await self._open("POST", f"{API}/chat/stream/", ask, ask.headers, body=ask.body)
        if exchange is not None:
            await self.watch(exchange, view, until=until)
        return view

    async def join(self, ask: Ask, view: View | None = None, *, until: Callable[[View], bool] | None = None) -> View:
        """`GET turns/{id}/stream/`: join the turn, or resume where the view is."""
        resumes = view is not None and bool(view.last_event_id)
        if view is None:
            view = View()
            ask.views.append(view)
        headers = ask.caller.headers | ({"Last-Event-ID": view.last_event_id} if resumes else {})
        turn_id = view.turn_id or _turn_of(ask)
        exchange = await self._open("GET", f"{API}/turns/{turn_id}/stream/", ask, headers)
        if exchange is not None:
            await self.watch(exchange, view, until=until, resumes=resumes)
        return view

    async def watch(
        self,
        exchange: Exchange,
        view: View,
        *,
        until: Callable[[View], bool] | None = None,
        resumes: bool = False,
        is_rude: bool = True,
    ) -> None:
        """Take events until the stream ends, breaks, or shows what was waited for; who is rude leaves with a RST."""
        view.connect(resumes=resumes)
        try:
            async with asyncio.timeout(self._patience), aclosing(events_of(exchange.chunks())) as events:
                async for event in events:
                    view.take(event)
                    if until and until(view):
                        (exchange.reset if is_rude else exchange.close)()
                        return
        except (LostError, TimeoutError):
            exchange.reset()

    async def settle(self, ask: Ask, *, seconds: float = 60) -> Reply | None:
        """Send the same request again until its answer is there, as a client that never gives up does."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            reply = await self.post(ask)
            if reply.status not in RETRYABLE:
                return reply
            await asyncio.sleep(AGAIN_SECONDS)
        return None

    async def _open(
        self, method: str, path: str, ask: Ask, headers: dict[str, str], *, body: object = None
    ) -> Exchange | None:
        """The stream; an error instead of one becomes a reply."""
        exchange, reply = await self._request(method, path, headers, body, takes_stream=True)
        if reply is not None:
            ask.replies.append(reply)
        return exchange if reply is None else None

    async def _send(self, method: str, path: str, headers: dict[str, str], body: object) -> Reply:
        _, reply = await self._request(method, path, headers, body)
        assert reply is not None
        return reply

    async def _request(
        self, method: str, path: str, headers: dict[str, str], body: object, *, takes_stream: bool = False
    ) -> tuple[Exchange | None, Reply | None]:
        started, exchange = time.monotonic(), None
        try:
            async with asyncio.timeout(self._patience):
                exchange = await Exchange.send(self.port, method, path, headers=headers, body=body)
                await exchange.head()
                if takes_stream and exchange.status == 200:
                    return exchange, None
                content = await exchange.json()
        except (LostError, TimeoutError):
            if exchange:
                exchange.reset()
            return exchange, Reply(LOST, seconds=time.monotonic() - started)
        return exchange, Reply(exchange.status, content, exchange.headers, time.monotonic() - started)


def _turn_of(ask: Ask) -> int:
    (turn_id,) = ask.turn_ids
    return turn_id


@asynccontextmanager
async def background(*work: Coroutine[Any, Any, object]) -> AsyncIterator[list["asyncio.Task[object]"]]:
    """The work goes on beside the block, and has ended when the block has."""
    tasks = [asyncio.create_task(item) for item in work]
    try:
        yield tasks
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
