"""A real uvicorn with the service in it, on loopback, in the tests' own event loop."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr
from sqlalchemy import event

from app.core.database import Database
from app.core.settings import Settings
from app.dependencies import Services
from app.main import create_app
from app.server import DrainingServer, server_config

SECRET = "a secret that only the tests of this service use"


class _Server(DrainingServer):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # Ctrl-C is pytest's


@dataclass(frozen=True)
class LiveServer:
    url: str
    database_url: str
    services: Services
    uvicorn: DrainingServer

    def tell_to_stop(self) -> None:
        """What SIGTERM does; `running_server` then waits for the end."""
        self.uvicorn.handle_exit(signal.SIGTERM, None)

    @property
    def database(self) -> Database:
        return self.services.database

    def client(self, **headers: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=20)

    @contextmanager
    def statements(self) -> Iterator[list[tuple[str, Any]]]:
        """The SQL statements that run within the block, with their parameters, as the driver gets them."""
        seen: list[tuple[str, Any]] = []

        def note(_connection: object, _cursor: object, statement: str, parameters: object, *_more: object) -> None:
            seen.append((statement, parameters))

        engine = self.database.engine.sync_engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            event.remove(engine, "before_cursor_execute", note)


def make_settings(**values: Any) -> Settings:  # noqa: ANN401 - each setting has a type of its own
    defaults = {
        "environment": "test",
        "jwt_secret_key": SecretStr(SECRET),
        "rag_timeout_seconds": 1.0,
        "port": 0,
        "drain_seconds": 5,
    }
    return Settings(_env_file=None, **{**defaults, **values})


@asynccontextmanager
async def running_server(settings: Settings) -> AsyncIterator[LiveServer]:
    server = _Server(server_config(create_app(settings), settings))
    task = asyncio.create_task(server.serve())
    while not server.started:
        if task.done():
            task.result()
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        database_url = settings.database_url.get_secret_value()
        yield LiveServer(f"http://127.0.0.1:{port}", database_url, server.lifespan.state["services"], server)
    finally:
        server.should_exit = True
        await task


async def until_ready(url: str) -> None:
    """Return when the service at the address takes requests."""
    async with asyncio.timeout(30), httpx.AsyncClient() as http:
        while True:
            with suppress(httpx.TransportError):
                if (await http.get(f"{url}/health/ready")).status_code == httpx.codes.OK:
                    return
            await asyncio.sleep(0.05)
