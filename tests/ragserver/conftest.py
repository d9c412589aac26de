"""A real server on loopback for every test that asks over HTTP."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import uvicorn

from ragserver import answer
from ragserver.answer import Write
from ragserver.app import create_app
from ragserver.config import Settings

# Never used on loopback, but a client that makes its own reads every certificate of the system first.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
Serve = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@asynccontextmanager
async def _serving(settings: Settings, write: Write = answer.write) -> AsyncIterator[httpx.AsyncClient]:
    # With its protocol named, asyncio sets TCP_NODELAY; without, each answer waits 40 ms for a delayed ACK.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        address = listener.getsockname()
        config = uvicorn.Config(create_app(settings, write), log_config=None, lifespan="on")
        config.load()
        server = uvicorn.Server(config)
        # What `serve` does, without its loop that ticks ten times a second and its signal handlers.
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[listener])
        url = f"http://{address[0]}:{address[1]}"
        async with httpx.AsyncClient(base_url=url, trust_env=False, verify=NO_TLS) as client:
            yield client
        await server.shutdown(sockets=[listener])


async def ready(client: httpx.AsyncClient) -> dict[str, Any]:
    """Wait until the index is there and return what /health says of it."""
    async with asyncio.timeout(10):
        while (answered := await client.get("/health")).status_code != httpx.codes.OK:
            pass
    health: dict[str, Any] = answered.json()
    return health


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Start a server with these settings, ready to answer; its index is the test's own."""

    @asynccontextmanager
    async def start(write: Write = answer.write, **settings: object) -> AsyncIterator[httpx.AsyncClient]:
        chosen: dict[str, Any] = {"rag_db": tmp_path / "index.db", **settings}
        async with _serving(Settings(**chosen), write) as client:
            await ready(client)
            yield client

    return start


@pytest.fixture
def serve_at_once(tmp_path: Path) -> Serve:
    """Start a server like `serve`, but do not wait for its index."""

    def start(**settings: object) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        chosen: dict[str, Any] = {"rag_db": tmp_path / "index.db", **settings}
        return _serving(Settings(**chosen))

    return start


@pytest_asyncio.fixture(scope="session")
async def rag(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A client of one server over the packaged documents."""
    settings = Settings(rag_db=tmp_path_factory.mktemp("ragserver") / "index.db")
    async with _serving(settings) as client:
        await ready(client)
        yield client


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder with one document about bread."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "bread.md").write_text("# Sourdough\n\nFeed the sourdough starter with flour every morning.\n")
    return folder
