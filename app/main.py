"""The application: `create_app(settings)`, and `app.main:app` for ASGI servers."""

import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any, TypedDict

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from app import __version__
from app.core.database import Database
from app.core.logging import configure_logging
from app.core.passwords import PasswordHasher
from app.core.queues import PlacesByUser
from app.core.settings import Settings, SettingsError, load_settings
from app.core.tokens import TokenSigner
from app.dependencies import Services
from app.error_handlers import add_error_handlers
from app.middleware import (
    BodyLimitMiddleware,
    CrashMiddleware,
    RequestLogMiddleware,
    SecurityHeadersMiddleware,
    SlashMiddleware,
)
from app.routers import auth, bookmarks, chat, chat_ws, docs, health, sessions, turns
from app.routers.event_stream import STREAM_HEADER
from app.services.auth import AuthService
from app.services.chat import ChatService
from app.services.history import HistoryLimits
from app.services.rag_client import RagClient
from app.services.turn_follower import TurnFollower
from app.services.turn_keeper import TurnKeeper
from app.services.turn_opening import TurnOpening
from app.services.turn_runner import TurnRunner

DESCRIPTION = """
Ask questions, keep the conversation. Sign in with **Authorize**, then try *Ask a question*.

A question and its answer are a *turn*, which goes on when you leave: join its stream again, stop it, retry it. Send an
`Idempotency-Key` with each question, and sending it again never asks it twice. `WS /api/v1/chatbot/ws/` carries the
same events as JSON frames: `{"type": "auth", "token": "…"}` first, then `{"type": "chat", "message": "…"}`,
`{"type": "resume", "turn_id": 5}`, `{"type": "stop", "turn_id": 5}`.

Every failure has the same envelope: `success: false`, `error` for a person, `code` for programs, `request_id` for
the log. Paths end in a slash and work without it. Unknown fields of a request are ignored; a key given twice counts
with its last value.
"""

logger = logging.getLogger(__name__)


class LifespanState(TypedDict):
    """What every request finds in `request.state`."""

    services: Services


def create_app(settings: Settings) -> FastAPI:
    """The service with these settings; nothing is opened before its lifespan starts."""
    app = FastAPI(
        title="RAG Chat Service",
        version=__version__,
        description=DESCRIPTION,
        lifespan=_lifespan(settings),
        middleware=_middleware(settings),
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    add_error_handlers(app)
    for module in (auth, chat, chat_ws, turns, sessions, bookmarks, health, docs):
        app.include_router(module.router)
    app.mount(docs.ASSETS_URL, docs.assets())
    return app


def _middleware(settings: Settings) -> list[Middleware]:
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(settings.cors_origins),
        allow_methods=["GET", "POST", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Prefer", "X-Request-ID"],
        expose_headers=["Idempotent-Replayed", "Location", "Retry-After", "X-Request-ID", STREAM_HEADER],
        max_age=3600,
    )
    return [
        Middleware(RequestLogMiddleware),
        Middleware(SecurityHeadersMiddleware),
        *([cors] if settings.cors_origins else []),
        Middleware(CrashMiddleware),
        Middleware(BodyLimitMiddleware),
        Middleware(SlashMiddleware),
    ]


def _lifespan(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[LifespanState]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[LifespanState]:
        _warn_about_rag_url(settings)
        database = Database(settings.database_url.get_secret_value(), pool_size=settings.database_pool_size)
        passwords = PasswordHasher()
        rag = build_rag_client(settings)
        runner, follower = TurnRunner(database, rag, drain_seconds=settings.drain_seconds), TurnFollower(database)
        keeper = TurnKeeper(database, runner, follower)
        services = _services(settings, database, passwords, _chat(settings, database, runner, follower))
        # What start-up made stays for good: the collector need not walk it again and again (7 % of a chat's CPU).
        gc.collect()
        gc.freeze()
        keeper.start()
        try:
            yield {"services": services}
        finally:
            await services.chat.drain()
            await keeper.close()
            await rag.close()
            await database.close()
            passwords.close()

    return lifespan


def _services(settings: Settings, database: Database, passwords: PasswordHasher, chat: ChatService) -> Services:
    tokens = TokenSigner(
        settings.jwt_secret_key.get_secret_value(),
        algorithm=settings.jwt_algorithm,
        access=timedelta(minutes=settings.access_token_minutes),
        refresh=timedelta(days=settings.refresh_token_days),
    )
    return Services(
        database=database,
        tokens=tokens,
        auth=AuthService(database, passwords, tokens),
        chat=chat,
        origins=frozenset(settings.cors_origins),
        sockets=PlacesByUser(),
    )


def _chat(settings: Settings, database: Database, runner: TurnRunner, follower: TurnFollower) -> ChatService:
    limits = HistoryLimits(settings.rag_history_messages, settings.rag_history_chars)
    opening = TurnOpening(database, runner, limits, openings=max(1, settings.database_pool_size - 2))
    return ChatService(database, opening, runner, follower)


def build_rag_client(settings: Settings) -> RagClient:
    """The client for the configured RAG server, if there is one."""
    return RagClient(
        settings.rag_url,
        api_key=settings.rag_api_key.get_secret_value() if settings.rag_api_key else None,
        deadline_seconds=settings.rag_timeout_seconds,
    )


def _warn_about_rag_url(settings: Settings) -> None:
    if settings.rag_url is None:
        logger.warning("RUNPOD_RAG_URL environment variable not set!")
    elif settings.configured_rag_url and "://" not in settings.configured_rag_url:
        logger.warning("The RAG server's URL has no scheme, using %s", settings.rag_url)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attribute can be anything
    """`app`, built from the environment when an ASGI server asks for it: importing this module reads nothing."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        settings = load_settings(Settings)
    except SettingsError as exc:
        raise SystemExit(f"The service cannot start.\n{exc}") from None
    configure_logging(settings.log_level, settings.log_format)
    globals()["app"] = create_app(settings)
    return globals()["app"]
