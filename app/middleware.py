"""What happens around every request, as plain ASGI: id and access log, headers, crashes, body limit, slash."""

import logging
import re
import time
import uuid

from starlette.datastructures import Headers
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
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
API_HEADERS = (
    *SECURITY_HEADERS,
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
# Swagger UI's page starts itself with an inline script, and sets styles on its elements.
DOCS_POLICY = (
    b"default-src 'self'; img-src 'self' data:; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
    b" frame-ancestors 'none'"
)
DOCS_HEADERS = (*SECURITY_HEADERS, (b"content-security-policy", DOCS_POLICY))
TLS_ONLY = (b"strict-transport-security", b"max-age=31536000")

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("app.access")


class RequestLogMiddleware:
    """Gives every request an id, for its log lines and its response, and writes one line when it is over."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            elif message["type"] == "websocket.close":
                status = message["code"]
            await send(message)

        async def receive_and_look() -> Message:
            nonlocal status
            message = await receive()
            if message["type"] == "websocket.disconnect":
                status = status or message["code"]
            return message

        with bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive_and_look, send_with_id)
            finally:
                level = logging.INFO if scope["path"].startswith(API_PREFIX) else logging.DEBUG
                took = 1000 * (time.perf_counter() - started)
                # As it came, percent signs and all: decoded, a path could pass for another of our log lines.
                path = scope["raw_path"].decode("latin-1")
                access_logger.log(level, "%s %s %s %.1f ms", scope.get("method", "WEBSOCKET"), path, status, took)


class SecurityHeadersMiddleware:
    """Sets the headers that keep browsers from guessing, framing and caching."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        added = DOCS_HEADERS if scope["path"].startswith(DOCS_PREFIX) else API_HEADERS
        if scope["scheme"] == "https":
            added = (*added, TLS_ONLY)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *added]
            await send(message)

        return await self.app(scope, receive, send_with_headers)


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
