"""How `ragchat serve` runs uvicorn: with a limit on request heads, and time to finish when it is told to stop."""

import math

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.core.settings import Settings

MAX_HEAD_BYTES = 64 * 1024
# A request in flight may wait its whole time for the RAG server; this much more is for storing the answer.
STORING_SECONDS = 15


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with the limit that httptools lacks: one unfinished header could take all memory."""

    _reads_head = True
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Feed the parser; hang up on a head that does not come to its end."""
        super().data_received(data)
        if self._reads_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The request's head is too large.")

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


def run_server(app: FastAPI, settings: Settings) -> None:
    """Serve until told to stop; requests in flight finish first."""
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        http=BoundedHttpProtocol,
        ws="none",  # there is none to offer, and uvicorn would log such a request with its query
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.rag_timeout_seconds) + STORING_SECONDS,
    )
