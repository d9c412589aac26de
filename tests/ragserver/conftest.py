"""A real server on loopback for every test that asks over HTTP."""

import asyncio
import gc
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import uvicorn

from ragserver.app import create_app
from ragserver.config import Settings
from tests.ragserver.models import FakeModels

# The machine's own settings must not leak into tests, nor into the processes that they start.
for name in Settings.model_fields:
    os.environ.pop(name.upper(), None)

# Never used on loopback, but a client that makes its own reads every certificate of the system first.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
Serve = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture(scope="session", autouse=True)
def _frozen() -> Iterator[None]:
    """Keep the collector, which runs whenever an index was built, from looking through all that pytest imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@asynccontextmanager
async def _serving(settings: Settings, embed_pause_s: float = 5) -> AsyncIterator[httpx.AsyncClient]:
    # With its protocol named, asyncio sets TCP_NODELAY; without, each answer waits 40 ms for a delayed ACK.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        address = listener.getsockname()
        config = uvicorn.Config(create_app(settings, embed_pause_s), log_config=None, lifespan="on")
        config.load()
        server = uvicorn.Server(config)
        # What `serve` does, without its loop that ticks ten times a second and its signal handlers.
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[listener])
        url = f"http://{address[0]}:{address[1]}"
        try:
            async with httpx.AsyncClient(base_url=url, trust_env=False, verify=NO_TLS) as client:
                yield client
        finally:
            await _stop(server)


async def _stop(server: uvicorn.Server) -> None:
    """What `Server.shutdown` does, without its pauses of 0.1 s."""
    for listening in server.servers:
        listening.close()
    for connection in list(server.server_state.connections):
        connection.shutdown()
    async with asyncio.timeout(10):
        while server.server_state.connections or server.server_state.tasks:  # noqa: ASYNC110 - they tell nobody
            await asyncio.sleep(0.001)
    await server.lifespan.shutdown()


async def ready(client: httpx.AsyncClient) -> dict[str, Any]:
    """Wait until the index is there and return what /health says of it."""
    async with asyncio.timeout(10):
        while (answered := await client.get("/health")).status_code != httpx.codes.OK:  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.005)  # or the thread that builds it hardly gets the interpreter
    health: dict[str, Any] = answered.json()
    return health


async def embedded(client: httpx.AsyncClient) -> None:
    """Wait until the remote model has embedded the documents."""
    async with asyncio.timeout(10):
        while not (await ready(client))["embedded"]:
            pass


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Start a server with these settings, ready to answer; its index is the test's own."""

    @asynccontextmanager
    async def start(*, embed_pause_s: float = 5, **settings: object) -> AsyncIterator[httpx.AsyncClient]:
        chosen: dict[str, Any] = {"rag_db": tmp_path / "index.db", **settings}
        async with _serving(Settings(**chosen), embed_pause_s) as client:
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


@pytest.fixture
async def models() -> AsyncIterator[FakeModels]:
    """Servers of all three models, in every dialect."""
    async with FakeModels() as running:
        yield running


@pytest.fixture
def bakery(tmp_path: Path) -> Path:
    """A folder with three documents about bread; each says "flour" once."""
    folder = tmp_path / "bakery"
    folder.mkdir()
    (folder / "oven.md").write_text("# Oven\n\nDust the stone with flour and bake at 240 degrees.\n")
    (folder / "sourdough.md").write_text("# Sourdough\n\nFeed the starter with flour every morning.\n")
    (folder / "yeast.md").write_text("# Yeast\n\nMix dry yeast with flour before the water.\n")
    return folder
