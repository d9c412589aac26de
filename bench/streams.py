"""Many open streams on one replica, and a storm of stops. Run by `make bench`.

A thousand answers are held open half-way: what they cost in memory, whether they hold database connections, whether
health still answers. Then ten thousand turns are stopped, each twice, at random moments, also while they connect; after
that forty of forty questions must be answered.
"""

import asyncio
import json
import random
import time

import aiohttp
import asyncpg
import psutil
from service import BASE, Service, running_service

STREAMS, STOPS, AT_ONCE, AFTER = 1000, 10_000, 100, 40
SEED = 3
CHATBOT = f"{BASE}/api/v1/chatbot"


async def main() -> None:
    """Start everything, measure, print."""
    async with running_service(RAG_TIMEOUT_SECONDS="300") as service:
        headers = {"Authorization": f"Bearer {service.token}"}
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)  # uvicorn closes after 5 s
        async with aiohttp.ClientSession(headers=headers, connector=connector) as http:
            await ask(http, "warm-up")
            results = {"streams": await open_streams(http, service), "stops": await storm(http, service)}
    print(json.dumps(results, indent=2))


async def ask(http: aiohttp.ClientSession, message: str, **headers: str) -> dict[str, object]:
    """One question, whole."""
    async with http.post(f"{CHATBOT}/chat/", json={"message": message}, headers=headers) as response:
        body: dict[str, object] = await response.json()
        return body


async def open_streams(http: aiohttp.ClientSession, service: Service) -> dict[str, object]:
    """A thousand streams that say their first words, and the others when all are open."""
    process = psutil.Process(service.pid)
    before, finished = process.memory_info().rss, 0
    opening = asyncio.Semaphore(AT_ONCE)  # more at once would be refused: see docs/adr/0006
    opened = 0

    async def stream() -> None:
        nonlocal finished, opened
        await opening.acquire()
        async with http.post(f"{CHATBOT}/chat/stream/", json={"message": "gated:open"}) as response:
            async for line in response.content:
                if b"before" in line:
                    opening.release()
                    opened += 1
                finished += line == b"data: [DONE]\n"

    started = time.perf_counter()
    streams = [asyncio.create_task(stream()) for _ in range(STREAMS)]
    async with asyncio.timeout(60):
        while opened < STREAMS:  # noqa: ASYNC110 - a counter tells nobody
            await asyncio.sleep(0.05)
    took = time.perf_counter() - started
    memory = process.memory_info().rss - before
    held, slowest = await look_around(http, service)
    service.rag.release("open")
    await asyncio.gather(*streams)
    return {
        "open": STREAMS,
        "seconds to open": round(took, 1),
        "kB a stream": round(memory / STREAMS / 1000, 1),
        "database connections in use, at most": held,
        "slowest health answer, ms": slowest,
        "finished": finished,
    }


async def look_around(http: aiohttp.ClientSession, service: Service) -> tuple[int, float]:
    """For five seconds: connections that do something or hold a transaction, and how long health takes."""
    connection = await asyncpg.connect(service.database_url)
    busy = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ragchat' AND state LIKE 'idle in transaction%'"
    )
    held, slowest, end = 0, 0.0, time.perf_counter() + 5
    while time.perf_counter() < end:
        held = max(held, await connection.fetchval(busy))
        started = time.perf_counter()
        async with http.get(f"{BASE}/health/ready") as response:
            response.raise_for_status()
        slowest = max(slowest, time.perf_counter() - started)
        await asyncio.sleep(0.05)
    await connection.close()
    return held, round(1000 * slowest, 1)


async def storm(http: aiohttp.ClientSession, service: Service) -> dict[str, object]:
    """Ten thousand turns, each stopped twice; then forty that are not."""
    chance = random.Random(SEED)
    ends: dict[str, int] = {}
    room = asyncio.Semaphore(AT_ONCE)

    async def stop(turn_id: object) -> str:
        async with http.post(f"{CHATBOT}/turns/{turn_id}/stop/") as response:
            return str((await response.json())["data"]["status"])

    async def play() -> None:
        async with room:
            turn = await ask(http, "gated:storm", Prefer="respond-async")
            await asyncio.sleep(chance.random() / 20)
            first, second = await asyncio.gather(stop(turn["turn_id"]), stop(turn["turn_id"]))
            assert first == second
            ends[first] = ends.get(first, 0) + 1

    started = time.perf_counter()
    await asyncio.gather(*(play() for _ in range(STOPS)))
    took = time.perf_counter() - started
    answers = await asyncio.gather(*(ask(http, f"after {number}") for number in range(AFTER)))
    await service.rag.until_closed()
    return {
        "turns": STOPS,
        "ends": ends,
        "seconds": round(took, 1),
        "answered after": f"{sum(bool(answer.get('success')) for answer in answers)} of {AFTER}",
        "descriptors after": psutil.Process(service.pid).num_fds(),
    }


if __name__ == "__main__":
    asyncio.run(main())
