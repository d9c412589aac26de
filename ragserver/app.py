"""The HTTP side: the contract's one endpoint, its health, and one envelope for every error."""

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Annotated, Any, Final, TypedDict

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import HTTPException, RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from ragserver import examples
from ragserver.config import Settings
from ragserver.contract import ChatRequest, ChatResponse, Failure, Health
from ragserver.indexing import refuse_foreign_file
from ragserver.negotiation import prefers_events
from ragserver.opening import Opened, open_pipeline
from ragserver.pipeline import Pipeline
from ragserver.remote.models import open_models
from ragserver.streaming import EventStream

_logger = logging.getLogger(__name__)
_RETRY_AFTER_S: Final = "2"
_MOST_BYTES: Final = 8 * 1024 * 1024  # many times what the chat service sends
_EMBED_PAUSE_S: Final = 12.0  # longer than the endpoint rests after a failure


class State(TypedDict):
    """What lives as long as the server; the pipeline is there when its task is done."""

    settings: Settings
    opening: asyncio.Task[Opened]


async def get_pipeline(request: Request) -> Pipeline:
    """Return the pipeline; a 503 while the index is built or when it could not be."""
    if opened := _opened(request.state.opening):
        return opened.pipeline
    raise HTTPException(503, "The index is not ready.", headers={"Retry-After": _RETRY_AFTER_S})


async def authorise(request: Request) -> None:
    """Let a request pass that carries the key, or every one when no key is set."""
    key = request.state.settings.rag_api_key
    if key is None:
        return
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(), key.get_secret_value().encode())
    if scheme.lower() != "bearer" or not same:
        raise HTTPException(401, "A valid API key is needed.", headers={"WWW-Authenticate": "Bearer"})


async def is_streamed(request: Request) -> bool:
    """Tell whether the answer is to be sent while it is written."""
    return prefers_events(",".join(request.headers.getlist("Accept")))


PipelineDep = Annotated[Pipeline, Depends(get_pipeline)]
StreamedDep = Annotated[bool, Depends(is_streamed)]


async def chat(asked: ChatRequest, pipeline: PipelineDep, streamed: StreamedDep) -> ChatResponse | EventStream:
    """Answer a question from the documents, with the passages that the answer cites; on request as a stream."""
    # Finding the passages takes a few milliseconds, so it stays in the loop.
    if streamed:
        return await EventStream.begin(pipeline.stream(asked.question, asked.chat_history or ()))
    return await pipeline.ask(asked.question, asked.chat_history or ())


async def health(request: Request, response: Response) -> Health:
    """Tell whether the index is ready and how much is in it; 503 before it is."""
    opening: asyncio.Task[Opened] = request.state.opening
    if opened := _opened(opening):
        return opened.health()
    response.status_code = 503
    return Health(status="failed" if opening.done() else "indexing")


def create_app(settings: Settings, embed_pause_s: float = _EMBED_PAUSE_S) -> FastAPI:
    """Return the ASGI application; its index is opened, and built where needed, once it is started.

    Args:
        settings: What an operator has set.
        embed_pause_s: How long after a first failure the documents are sent to the embedding model again.
    """
    app = FastAPI(
        title="Reference RAG server",
        lifespan=_lifespan(settings, embed_pause_s),
        redirect_slashes=False,
        docs_url=None,  # their pages come from the internet, and are blank without; /openapi.json has it all
        redoc_url=None,
        max_body_size=_MOST_BYTES,
        exception_handlers={
            StarletteHTTPException: _http_failure,
            RequestValidationError: _invalid,
            Exception: _bug,
        },
    )
    responses: dict[int | str, dict[str, Any]] = {
        200: examples.answered(),
        413: {"description": "The body is too large."},
        **{status: {"model": Failure} for status in (401, 422, 503)},
    }
    dependencies = [Depends(authorise)]
    app.post("/api/v1/chat", response_model=ChatResponse, dependencies=dependencies, responses=responses)(chat)
    app.get("/health", responses={503: {"model": Health}})(health)
    return app


def _lifespan(settings: Settings, embed_pause_s: float) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        refuse_foreign_file(settings.rag_db)  # fails the start, where building it fails only the health
        async with open_models(settings) as models:
            opening = asyncio.create_task(open_pipeline(settings, models))
            embedding = asyncio.create_task(_embed(opening, embed_pause_s))
            yield State(settings=settings, opening=opening)
            embedding.cancel()
            with suppress(Exception):  # reported when it happened
                (await opening).store.close()
            await asyncio.wait([embedding])

    return lifespan


async def _embed(opening: asyncio.Task[Opened], pause_s: float) -> None:
    """Report how the opening ended, then have the documents embedded where a remote model does that."""
    try:
        opened = await asyncio.shield(opening)
    except Exception:
        _logger.exception("The index could not be opened")
        return
    _logger.info("Ready: %d chunks of %d documents", opened.store.chunks, opened.store.documents)
    if opened.embedded:
        try:
            await opened.embedded.keep_complete(pause_s)
        except Exception:
            _logger.exception("The documents are no longer embedded until the server is started again")


def _opened(opening: asyncio.Task[Opened]) -> Opened | None:
    return opening.result() if opening.done() and not opening.exception() else None


async def _http_failure(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, StarletteHTTPException)  # noqa: S101 - it is registered for nothing else
    return _failure(exc.status_code, str(exc.detail), exc.headers)


async def _invalid(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)  # noqa: S101 - it is registered for nothing else
    first = exc.errors()[0]
    where = ".".join(str(step) for step in first["loc"] if step != "body")
    return _failure(422, f"{where}: {first['msg']}" if where else first["msg"])


async def _bug(_: Request, __: Exception) -> Response:
    return _failure(500, "Internal error.")  # the server logs it with its trace


def _failure(status: int, error: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(Failure(error=error).model_dump(), status, headers)
