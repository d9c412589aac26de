"""A service process on a throw-away PostgreSQL with a RAG server that does as the question says, for benchmarks."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.postgres import create_database, running_postgres  # noqa: E402 - the path comes first
from tests.rag import FakeRag  # noqa: E402
from tests.server import until_ready  # noqa: E402

POOL = 5
PORT = int(os.environ.get("PORT", "18555"))
BASE = f"http://127.0.0.1:{PORT}"
RAGCHAT = [sys.executable, "-m", "app.cli"]


class Service(NamedTuple):
    """What a benchmark works with."""

    pid: int
    token: str
    database_url: str
    rag: FakeRag


@asynccontextmanager
async def running_service(**settings: str) -> AsyncIterator[Service]:
    """The service with a user, signed in."""
    rag = FakeRag()
    await rag.start()
    with running_postgres() as server:
        database_url = await create_database(server, "bench")
        environment = environment_for(database_url, rag.url) | settings
        await run("migrate", environment)
        await run("createuser", environment, "--username", "bench", "--password-stdin", given=b"password123")
        process = await asyncio.create_subprocess_exec(*RAGCHAT, "serve", env=environment, cwd=ROOT)
        try:
            await until_ready(BASE)
            yield Service(process.pid, await sign_in(), database_url, rag)
        finally:
            process.terminate()
            await process.wait()
    await rag.stop()


def environment_for(database_url: str, rag_url: str) -> dict[str, str]:
    """What the service is started with."""
    return os.environ | {
        "DATABASE_URL": database_url,
        "DATABASE_POOL_SIZE": str(POOL),
        "JWT_SECRET_KEY": os.urandom(32).hex(),
        "RUNPOD_RAG_URL": rag_url,
        "PORT": str(PORT),
        "LOG_LEVEL": "WARNING",
        "ACCESS_TOKEN_MINUTES": "60",
        "DRAIN_SECONDS": "2",
    }


async def run(command: str, environment: dict[str, str], *options: str, given: bytes = b"") -> None:
    """Run one `ragchat` command to its end."""
    process = await asyncio.create_subprocess_exec(
        *RAGCHAT, command, *options, env=environment, cwd=ROOT, stdin=asyncio.subprocess.PIPE
    )
    await process.communicate(given)
    if process.returncode:
        sys.exit(f"`ragchat {command}` failed")


async def sign_in() -> str:
    """An access token of the user."""
    async with httpx.AsyncClient(base_url=BASE, timeout=30) as http:
        login = await http.post("/api/v1/auth/login/", json={"username": "bench", "password": "password123"})
        token: str = login.json()["access_token"]
        return token
