"""The RAG server, as the rest of the service sees it: a question goes in, an answer or a named RagError comes out."""

import asyncio
import time
from collections.abc import Sequence
from http.cookiejar import DefaultCookiePolicy
from typing import Any, NamedTuple, TypedDict

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json, to_json

from app.core.errors import (
    RagNotConfiguredError,
    RagNotJsonError,
    RagRedirectError,
    RagRefusedError,
    RagResetError,
    RagShapeError,
    RagStatusError,
    RagTimeoutError,
    RagTooLargeError,
    RagUnavailableError,
)
from app.services.rag_transport import AiohttpTransport

CHAT_PATH = "/api/v1/chat"
CONNECT_SECONDS = 3
MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_REASON_CHARS = 300
TOO_MANY_REQUESTS = 429
HEADERS = {
    "User-Agent": "rag-chat-service",
    "Accept": "application/json",
    # Compressed answers are not asked for: unpacking one could take any amount of memory.
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
}


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


class _Reply(BaseModel):
    """The contract's answer; sources and metadata may be missing."""

    model_config = ConfigDict(strict=True)

    success: bool
    answer: str | None = None
    sources: list[dict[str, Any]] | None = None
    metadata: dict[str, Any] | None = None
    error: Any = None


class RagClient:
    """Asks one RAG server."""

    def __init__(
        self,
        base_url: str | None,
        *,
        api_key: str | None = None,
        deadline_seconds: float = 60,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = f"{base_url.rstrip('/')}{CHAT_PATH}" if base_url else None
        self._deadline = deadline_seconds
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
        self, question: str, *, user_id: int, chat_history: Sequence[HistoryMessage], session_id: int
    ) -> RagAnswer:
        """The RAG server's answer.

        Raises:
            RagError: there is none; the class says which kind of failure, the exception's message why.
        """
        return await self._call(
            {"question": question, "user_id": user_id, "chat_history": chat_history, "session_id": session_id}
        )

    async def check(self) -> None:
        """Return when the RAG server answers the contract's probe.

        Raises:
            RagError: it does not, or not as the contract says.
        """
        await self._call({"question": "test"})

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def _call(self, payload: dict[str, Any]) -> RagAnswer:
        if self.url is None:
            raise RagNotConfiguredError("no RAG server is configured")
        started = time.perf_counter()
        body = await self._post(self.url, to_json(payload))
        reply = _parse(body)
        return RagAnswer(
            # PostgreSQL's text cannot hold NUL; the answer is worth more than the character.
            text=(reply.answer or "").replace("\x00", "\ufffd"),
            sources=reply.sources or [],
            metadata=reply.metadata or {},
            response_time=round(time.perf_counter() - started, 3),
        )

    async def _post(self, url: str, content: bytes) -> bytes:
        try:
            async with asyncio.timeout(self._deadline):
                # Put together here: the client would merge URLs, headers and cookies again for every question.
                return await self._send(httpx.Request("POST", url, headers=self._headers, content=content))
        except (TimeoutError, httpx.ReadTimeout) as exc:
            raise RagTimeoutError("Connection timeout") from exc
        except httpx.ConnectTimeout as exc:
            raise RagUnavailableError("Connection timeout") from exc
        except (httpx.ConnectError, httpx.InvalidURL, UnicodeError) as exc:  # the last: a host that IDNA does not know
            raise RagUnavailableError(f"Connection failed: {exc}") from exc
        except httpx.TransportError as exc:
            raise RagResetError(f"Connection lost: {exc}") from exc

    async def _send(self, request: httpx.Request) -> bytes:
        response = await self._http.send(request, stream=True)
        try:
            _check_status(response)
            return await _read(response)
        finally:
            await response.aclose()


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
        if len(body) > MAX_BODY_BYTES:
            raise RagTooLargeError(f"more than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _parse(body: bytes) -> _Reply:
    try:
        reply = _Reply.model_validate(from_json(body, allow_inf_nan=False))
    except ValidationError as exc:
        raise RagShapeError(_first_problem(exc)) from None
    except ValueError as exc:
        raise RagNotJsonError(f"not JSON: {exc}") from None
    if not reply.success:
        raise RagRefusedError(f"success is false: {str(reply.error)[:MAX_REASON_CHARS]}")
    if not (reply.answer and reply.answer.strip()):
        raise RagShapeError("the answer is missing or blank")
    return reply


def _first_problem(exc: ValidationError) -> str:
    problem = exc.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'answer'}: {problem['msg']}"
