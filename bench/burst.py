"""Many chats at once on a slow RAG server, through a pool of few connections. Run by `make bench`.

Starts a real service process on a throw-away PostgreSQL and a RAG server that takes two seconds; asks 500 questions
at once; then looks how the number of SQL statements and the time of a list grow with rows that belong to others.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable

import asyncpg
import httpx
from service import BASE, POOL, PORT, running_service

CHATS, SECONDS = 500, 2
SIZES = (1_000, 10_000, 100_000, 1_000_000)
SESSIONS = "/api/v1/chatbot/sessions/"


async def main() -> None:
    """Start everything, measure, print."""
    async with running_service() as service:
        print(json.dumps(await measure(service.database_url, service.token), indent=2))


async def measure(url: str, token: str) -> dict[str, object]:
    """The burst, then the growth."""
    limits = httpx.Limits(max_connections=CHATS, max_keepalive_connections=CHATS)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=BASE, timeout=30, limits=limits, headers=headers) as http:
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
