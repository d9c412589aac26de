"""What happens around every request, as plain ASGI: id and access log, headers, crashes, body limit, slash."""

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from app.core.errors import InternalError
from app.error_handlers import envelope

MAX_BODY_BYTES = 1024 * 1024
REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
API_PREFIX = "/api/"
DOCS_PREFIX = "/docs"
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
API_POLICY = "default-src 'none'; frame-ancestors 'none'"
# Swagger UI's page starts itself with an inline script, and sets styles on its elements.
DOCS_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " frame-ancestors 'none'"
)

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("app.access")


class RequestLogMiddleware:
    """Gives every request an id, for its log lines and its response, and writes one line when it is over."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        with bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, send_with_id)
            finally:
                level = logging.INFO if scope["path"].startswith(API_PREFIX) else logging.DEBUG
                took = 1000 * (time.perf_counter() - started)
                access_logger.log(level, "%s %s %s %.1f ms", scope["method"], scope["path"], status, took)


class SecurityHeadersMiddleware:
    """Sets the headers that keep browsers from guessing, framing and caching."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                is_docs = scope["path"].startswith(DOCS_PREFIX)
                headers["Content-Security-Policy"] = DOCS_POLICY if is_docs else API_POLICY
                if not is_docs:
                    headers.setdefault("Cache-Control", "no-store")
                if scope["scheme"] == "https":
                    headers["Strict-Transport-Security"] = "max-age=31536000"
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class CrashMiddleware:
    """Turns a bug into one log record and the error envelope. Inside CORS, so that front ends can read it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        has_started = False

        async def watching_send(message: Message) -> None:
            nonlocal has_started
            has_started = has_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watching_send)
        except Exception:
            logger.exception("Unhandled exception in %s %s", scope["method"], scope["path"])
            if has_started:
                raise  # the server then cuts the connection: half a response must not look whole
            await envelope(Request(scope), InternalError())(scope, receive, send)


class BodyLimitMiddleware:
    """Refuses a body over the limit, before it is read when its length is declared.

    FastAPI's own limit answers in plain text, past every exception handler; this one's error becomes the envelope.
    """

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_BODY_BYTES) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        declared = Headers(scope=scope).get("content-length", "")
        is_too_large = declared.isdecimal() and int(declared) > self.max_bytes
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            if is_too_large:
                raise HTTPException(413)
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise HTTPException(413)
            return message

        return await self.app(scope, receive_within_limit, send)


class SlashMiddleware:
    """Adds the closing slash that the contract's paths have, so that both forms are one route and need no redirect."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and scope["path"].startswith(API_PREFIX) and not scope["path"].endswith("/"):
            scope = {**scope, "path": scope["path"] + "/", "raw_path": scope["raw_path"] + b"/"}
        await self.app(scope, receive, send)


def _request_id(scope: Scope) -> str:
    """The client's own id where it can do no harm in a log, else a new one."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
