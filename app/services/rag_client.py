"""The RAG server, as the rest of the service sees it: a question goes in, an answer or a named RagError comes out."""

import asyncio
import time
from collections.abc import Sequence
from http.cookiejar import DefaultCookiePolicy
from typing import Any, NamedTuple, TypedDict

import httpx
from pydantic_core import to_json
from stamina import AsyncRetryingCaller
from stamina.instrumentation import set_on_retry_hooks

from app.core.errors import (
    RagNotConfiguredError,
    RagNotJsonError,
    RagRedirectError,
    RagResetError,
    RagStatusError,
    RagTimeoutError,
    RagUnavailableError,
)
from app.services.circuit_breaker import CircuitBreaker
from app.services.rag_reply import Reply, check_size, parse_reply
from app.services.rag_stream import OnDelta, is_event_stream, read_stream
from app.services.rag_transport import AiohttpTransport

CHAT_PATH = "/api/v1/chat"
CONNECT_SECONDS = 3
IDLE_SECONDS = 20
TOO_MANY_REQUESTS = 429
AWAY = {502, 503, 504}  # what a proxy says when nothing is behind it
NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout)
# Nothing was sent, so nothing can be done twice. Three times 3 s and waits of 0.4 s at most: within 10 s.
CONNECTING = AsyncRetryingCaller(attempts=3, timeout=None, wait_initial=0.1, wait_max=0.4, wait_jitter=0.2)
HEADERS = {
    "User-Agent": "rag-chat-service",
    "Accept": "application/json",
    # Compressed answers are not asked for: unpacking one could take any amount of memory.
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
}
STREAMING = {"Accept": "text/event-stream, application/json"}

# The library's own line about each retry would go past our log; what failed at last is logged by who asked.
set_on_retry_hooks([])


class HistoryMessage(TypedDict):
    """One earlier utterance, as the RAG server takes it."""

    role: str
    content: str


class RagAnswer(NamedTuple):
    """What the RAG server answered, and after how many seconds."""

    text: str
    sources: list[dict[str, Any]]
    metadata: dict[str, Any]
    response_time: float


class RagClient:
    """Asks one RAG server."""

    def __init__(  # noqa: PLR0913 - settings and stand-ins, all but the first by name
        self,
        base_url: str | None,
        *,
        api_key: str | None = None,
        deadline_seconds: float = 60,
        idle_seconds: float = IDLE_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self.url = f"{base_url.rstrip('/')}{CHAT_PATH}" if base_url else None
        self._deadline = deadline_seconds
        self._idle_seconds = idle_seconds
        self._breaker = breaker or CircuitBreaker()
        self._headers = HEADERS | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
        self._http = httpx.AsyncClient(
            transport=transport or AiohttpTransport(),
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
            follow_redirects=False,
            trust_env=False,
        )
        # Nothing that one user's answer sets is kept beyond it.
        self._http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))

    async def ask(
        self,
        question: str,
        *,
        user_id: int,
        chat_history: Sequence[HistoryMessage],
        session_id: int,
        on_delta: OnDelta | None = None,
    ) -> RagAnswer:
        """The RAG server's answer.

        With `on_delta` the RAG server may stream: each piece of text is handed on as it arrives, and the answer's
        text is all the pieces, byte for byte. After a failure the pieces stay what they were.

        Raises:
            RagError: there is none; the class says which kind of failure, the exception's message why.
        """
        payload = {"question": question, "user_id": user_id, "chat_history": chat_history, "session_id": session_id}
        return await self._call(payload, self._breaker, on_delta)

    async def check(self) -> None:
        """Return when the RAG server answers the contract's probe.

        Raises:
            RagError: it does not, or not as the contract says.
        """
        # Whoever asks for the state of things wants it new: a breaker that has seen no failure.
        await self._call({"question": "test"}, CircuitBreaker())

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def _call(
        self, payload: dict[str, Any], breaker: CircuitBreaker, on_delta: OnDelta | None = None
    ) -> RagAnswer:
        if self.url is None:
            raise RagNotConfiguredError("no RAG server is configured")
        started = time.perf_counter()
        reply = await self._post(self.url, to_json(payload), breaker, on_delta)
        return RagAnswer(
            text=reply.answer or "",
            sources=reply.sources or [],
            metadata=reply.metadata or {},
            response_time=round(time.perf_counter() - started, 3),
        )

    async def _post(self, url: str, content: bytes, breaker: CircuitBreaker, on_delta: OnDelta | None) -> Reply:
        headers = self._headers | STREAMING if on_delta else self._headers
        try:
            async with asyncio.timeout(self._deadline):
                # Put together here: the client would merge URLs, headers and cookies again for every question.
                request = httpx.Request("POST", url, headers=headers, content=content)
                return await self._exchange(request, breaker, on_delta)
        except (TimeoutError, httpx.ReadTimeout) as exc:
            raise RagTimeoutError("Connection timeout") from exc
        except httpx.ConnectTimeout as exc:
            raise RagUnavailableError("Connection timeout") from exc
        except (httpx.ConnectError, httpx.InvalidURL, UnicodeError) as exc:  # the last: a host that IDNA does not know
            raise RagUnavailableError(f"Connection failed: {exc}") from exc
        except httpx.TransportError as exc:
            raise RagResetError(f"Connection lost: {exc}") from exc

    async def _exchange(self, request: httpx.Request, breaker: CircuitBreaker, on_delta: OnDelta | None) -> Reply:
        # A probe of a server that is away is one connection, not three.
        response = await CONNECTING(
            lambda exc: breaker.closed and isinstance(exc, NOT_CONNECTED), self._send, request, breaker
        )
        try:
            _check_status(response)
            if on_delta and is_event_stream(response):
                return await read_stream(response, on_delta, idle_seconds=self._idle_seconds)
            reply = parse_reply(await _read(response))
        finally:
            await response.aclose()
        if on_delta:
            on_delta(reply.answer or "")
        return reply

    async def _send(self, request: httpx.Request, breaker: CircuitBreaker) -> httpx.Response:
        """The response's head. Time-outs, broken connections and cancellations say nothing about who is away."""
        breaker.admit()
        try:
            response = await self._http.send(request, stream=True)
        except NOT_CONNECTED:
            breaker.record_failure()
            raise
        if response.status_code in AWAY:
            breaker.record_failure()
        else:
            breaker.record_life()
        return response


def _check_status(response: httpx.Response) -> None:
    if response.is_redirect:
        raise RagRedirectError(f"HTTP {response.status_code} to another address")
    if response.status_code == TOO_MANY_REQUESTS:
        raise RagUnavailableError("HTTP 429, too many requests")
    if response.status_code != httpx.codes.OK:
        raise RagStatusError(f"HTTP {response.status_code}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise RagNotJsonError("the answer is compressed, though that was not asked for")


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        check_size(len(body))
    return bytes(body)
