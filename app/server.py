"""How `ragchat serve` runs uvicorn: with a limit on request heads, and time to finish when it is told to stop."""

import asyncio
import socket
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.core.settings import Settings

MAX_HEAD_BYTES = 64 * 1024
MAX_FRAME_BYTES = 1024 * 1024
# Who takes nothing for so long is gone, or slower than any person reads; others need the memory.
STUCK_SECONDS = 30
# When the turns are over, their last responses are still on their way.
CLOSING_SECONDS = 2


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with two limits that it lacks: of a request's head, and of not reading."""

    _reads_head = True
    _head_bytes = 0
    _stuck: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Feed the parser; hang up on a head that does not come to its end."""
        super().data_received(data)
        if self._reads_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The request's head is too large.")

    def pause_writing(self) -> None:
        """The client does not read as fast as we write: give it a while."""
        super().pause_writing()
        self._stuck = self.loop.call_later(STUCK_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        if self._stuck:
            self._stuck.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        super().connection_lost(exc)
        if self._stuck:
            self._stuck.cancel()

    def on_message_begin(self) -> None:
        """A new request begins on the connection."""
        super().on_message_begin()
        self._reads_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """The head is whole; refuse one that came too large in one piece."""
        self._reads_head = False
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES:
            raise ValueError("the head is too large")  # the parser hands it on as an error: 400, and the end
        super().on_headers_complete()


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which goes on listening while its turns come to their end.

    uvicorn itself closes the door first: clients would see refused connections where readiness should say 503, and
    could not look at the turns that still run.
    """

    _draining: asyncio.Task[None] | None = None

    async def main_loop(self) -> None:
        """Serve until told to stop, and then until nothing runs, the time is up, or it is said twice."""
        await super().main_loop()
        chat = self.lifespan.state["services"].chat
        self._draining = asyncio.create_task(chat.drain())
        with suppress(asyncio.CancelledError):
            await self._draining
        await chat.drain()  # nothing is left to do, unless it was hurried

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close; whoever does not take the last of their response is hung up on, which is no error of ours."""
        asyncio.get_running_loop().call_later(CLOSING_SECONDS / 2, self._hang_up)
        await super().shutdown(sockets)

    def _hang_up(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to stop: the first one begins it, another one hurries."""
        super().handle_exit(sig, frame)
        if self._draining:
            self._draining.get_loop().call_soon_threadsafe(self._hurry)

    def _hurry(self) -> None:
        self.lifespan.state["services"].chat.hurry()
        if self._draining:
            self._draining.cancel()


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How uvicorn is to serve the app."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=BoundedHttpProtocol,
        ws="websockets-sansio",
        ws_max_size=MAX_FRAME_BYTES,
        ws_per_message_deflate=False,  # unpacking a small frame could take any amount of memory
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=CLOSING_SECONDS,
    )


def run_server(app: FastAPI, settings: Settings) -> None:
    """Serve until told to stop; turns that run finish first."""
    DrainingServer(server_config(app, settings)).run()
