"""Many chats at once on a slow RAG server, through a pool of few connections. Run by `make bench`.

Starts a real service process on a throw-away PostgreSQL and a RAG server that takes two seconds; asks 500 questions
at once; then looks how the number of SQL statements and the time of a list grow with rows that belong to others.
"""

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import httpx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.postgres import create_database, running_postgres  # noqa: E402 - the path comes first
from tests.rag import FakeRag  # noqa: E402
from tests.server import until_ready  # noqa: E402

CHATS, SECONDS, POOL = 500, 2, 5
SIZES = (1_000, 10_000, 100_000, 1_000_000)
PORT = int(os.environ.get("PORT", "18555"))
RAGCHAT = [sys.executable, "-m", "app.cli"]
BASE = f"http://127.0.0.1:{PORT}"
SESSIONS = "/api/v1/chatbot/sessions/"


async def main() -> None:
    """Start everything, measure, print."""
    rag = FakeRag()
    await rag.start()
    with running_postgres() as server:
        database_url = await create_database(server, "bench")
        environment = environment_for(database_url, rag.url)
        await run("migrate", environment)
        await run("createuser", environment, "--username", "bench", "--password-stdin", given=b"password123")
        service = await asyncio.create_subprocess_exec(*RAGCHAT, "serve", env=environment, cwd=ROOT)
        try:
            results = await measure(database_url)
        finally:
            service.terminate()
            await service.wait()
    await rag.stop()
    print(json.dumps(results, indent=2))


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
    }


async def run(command: str, environment: dict[str, str], *options: str, given: bytes = b"") -> None:
    """Run one `ragchat` command to its end."""
    process = await asyncio.create_subprocess_exec(
        *RAGCHAT, command, *options, env=environment, cwd=ROOT, stdin=asyncio.subprocess.PIPE
    )
    await process.communicate(given)
    if process.returncode:
        sys.exit(f"`ragchat {command}` failed")


async def measure(url: str) -> dict[str, object]:
    """The burst, then the growth."""
    limits = httpx.Limits(max_connections=CHATS, max_keepalive_connections=CHATS)
    async with httpx.AsyncClient(base_url=BASE, timeout=30, limits=limits) as http:
        await until_ready(BASE)
        login = await http.post("/api/v1/auth/login/", json={"username": "bench", "password": "password123"})
        token = login.json()["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        return {"burst": await burst(token), "growth": await growth(http, url)}


async def burst(token: str) -> dict[str, object]:
    """All questions at once, each over a connection of its own; a bare client, so that it is not what is measured."""
    body = json.dumps({"message": f"slow:{SECONDS}"})
    head = f"POST /api/v1/chatbot/chat/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n"
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    async def ask() -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer.startswith(b"HTTP/1.1 200") and b'"success":true' in answer

    started = time.perf_counter()
    answered = sum(await asyncio.gather(*(ask() for _ in range(CHATS))))
    took = time.perf_counter() - started
    return {"chats": CHATS, "pool": POOL, "answered": answered, "failed": CHATS - answered, "seconds": round(took, 2)}


async def growth(http: httpx.AsyncClient, url: str) -> list[dict[str, object]]:
    """The first page of 50 sessions and a session's detail, beside more and more messages of others."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO users (username, email, password_hash, is_active, is_staff, is_superuser, date_joined) "
        "SELECT 'other' || i, '', '!', true, false, false, now() FROM generate_series(1, 1000) i"
    )
    own = (await http.get(SESSIONS, params={"limit": 1})).json()["data"][0]["id"]
    rows, stored = [], 0
    for size in SIZES:
        await fill(connection, size - stored)
        stored = size
        page = await median_ms(lambda: http.get(SESSIONS, params={"limit": 50}))
        detail = await median_ms(lambda: http.get(f"{SESSIONS}{own}/"))
        rows.append({"messages of others": size, "first 50 sessions, ms": page, "detail, ms": detail})
    await connection.close()
    return rows


async def fill(connection: asyncpg.Connection, messages: int) -> None:
    """That many more messages, twenty to a session, spread over the other users."""
    await connection.execute(
        "WITH made AS (INSERT INTO chat_sessions (user_id, title, created_at, updated_at) "
        "SELECT (SELECT min(id) FROM users WHERE username LIKE 'other%') + i % 1000, 'theirs', now(), now() "
        "FROM generate_series(1, $1::int) i RETURNING id) "
        "INSERT INTO chat_messages (session_id, role, content, created_at) "
        "SELECT id, CASE WHEN j % 2 = 0 THEN 'assistant' ELSE 'user' END, repeat('text ', 40), now() "
        "FROM made, generate_series(1, 20) j",
        messages // 20,
    )
    await connection.execute("VACUUM ANALYZE")


async def median_ms(call: Callable[[], Awaitable[httpx.Response]]) -> float:
    """The median time of a hundred calls, after twenty."""
    times = []
    for _ in range(120):
        started = time.perf_counter()
        response = await call()
        times.append(1000 * (time.perf_counter() - started))
        response.raise_for_status()
    return round(statistics.median(times[20:]), 2)


if __name__ == "__main__":
    asyncio.run(main())
