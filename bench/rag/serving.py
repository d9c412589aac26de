"""What a `ragserver serve` process costs: how long it takes to be ready, its memory, its answers' times."""

import asyncio
import http.client
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

from ragserver.evaluation.metrics import percentile

ROUNDS = 5
WARM_UP, ALONE, TOGETHER, CLIENTS = 20, 300, 1600, 32
PATIENCE_S = 120
COLUMNS = (
    "documents",
    "chunks",
    "index, MB",
    "ready with indexing, s",
    "ready later, s",
    "MB when indexed",
    "MB when ready later",
    "MB after the answers",
    "p50 / p95, 1 client, ms",
    f"p50 / p95, {CLIENTS} clients, ms",
    f"answers a second, {CLIENTS} clients",
)


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is ready, and what it held then."""

    port: int
    seconds: float
    process: psutil.Process
    memory: int
    chunks: int


@dataclass(frozen=True, slots=True)
class Load:
    """Milliseconds an answer took, and how many there were in a second."""

    p50: float
    p95: float
    rate: float


@dataclass(frozen=True, slots=True)
class Costs:
    """What a folder of documents costs to serve: seconds, and megabytes of memory and of the index."""

    chunks: int
    index: float
    first_start: float
    later_start: float
    memory_after_build: float
    memory_after_start: float
    memory_after_answers: float
    alone: Load
    together: Load


def costs(folder: Path, questions: Sequence[str]) -> Costs:
    """Start the server on a folder with and without an index, and ask it."""
    first, later = [], []
    with tempfile.TemporaryDirectory(prefix="ragserver-") as temporary:
        index = Path(temporary) / "index.db"
        for _ in range(ROUNDS):
            index.unlink(missing_ok=True)
            with serving(folder, index) as running:
                first.append(running)
            with serving(folder, index) as running:
                later.append(running)
        with serving(folder, index) as running:
            alone = asyncio.run(load(running.port, questions, ALONE, 1))
            together = asyncio.run(load(running.port, questions, TOGETHER, CLIENTS))
            memory = running.process.memory_info().rss
        size = index.stat().st_size
    return Costs(
        chunks=running.chunks,
        index=size / 1e6,
        first_start=statistics.median(one.seconds for one in first),
        later_start=statistics.median(one.seconds for one in later),
        memory_after_build=statistics.median(one.memory for one in first) / 1e6,
        memory_after_start=statistics.median(one.memory for one in later) / 1e6,
        memory_after_answers=memory / 1e6,
        alone=alone,
        together=together,
    )


def row(name: str, found: Costs) -> list[str]:
    """Return the cells of COLUMNS."""
    return [
        name,
        f"{found.chunks:,}",
        f"{found.index:.1f}",
        f"{found.first_start:.2f}",
        f"{found.later_start:.2f}",
        f"{found.memory_after_build:.0f}",
        f"{found.memory_after_start:.0f}",
        f"{found.memory_after_answers:.0f}",
        f"{found.alone.p50:.1f} / {found.alone.p95:.1f}",
        f"{found.together.p50:.0f} / {found.together.p95:.0f}",
        f"{found.together.rate:.0f}",
    ]


@contextmanager
def serving(folder: Path, index: Path) -> Iterator[Running]:
    """Run the server from its start; no model's server is asked, whatever the environment says."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    mine = {"RAG_DOCS_DIR": str(folder), "RAG_DB": str(index), "HOST": "127.0.0.1", "PORT": str(port)}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAG_")} | mine
    started = time.perf_counter()
    process = subprocess.Popen(
        [Path(sys.executable).with_name("ragserver"), "serve"],
        cwd=index.parent,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        chunks = wait_until_ready(process, port)
        seconds, watched = time.perf_counter() - started, psutil.Process(process.pid)
        yield Running(port, seconds, watched, watched.memory_info().rss, chunks)
    finally:
        process.terminate()
        process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], port: int) -> int:
    """Ask /health until it says yes, and return how many chunks it says there are."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health")
            answer = connection.getresponse()
            if answer.status == http.client.OK:
                chunks: int = json.load(answer)["chunks"]
                return chunks
        except (OSError, http.client.HTTPException):
            pass  # it does not listen yet
        finally:
            connection.close()
        time.sleep(0.005)
    sys.exit(f"`ragserver serve` was not ready after {PATIENCE_S} s, or ended")


async def load(port: int, questions: Sequence[str], count: int, clients: int) -> Load:
    """Ask so many questions, each client one after the other over one connection."""
    asked = itertools.islice(itertools.cycle(questions), count + WARM_UP * clients)
    times: list[float] = []

    async def client(http: aiohttp.ClientSession, most: int) -> None:
        for question in itertools.islice(asked, most):
            start = time.perf_counter()
            async with http.post("/api/v1/chat", json={"question": question}) as response:
                await response.read()
                response.raise_for_status()
            times.append(1000 * (time.perf_counter() - start))

    connector = aiohttp.TCPConnector(limit=clients)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=connector) as http:
        await asyncio.gather(*(client(http, WARM_UP) for _ in range(clients)))
        times.clear()
        started = time.perf_counter()
        await asyncio.gather(*(client(http, count) for _ in range(clients)))
        took = time.perf_counter() - started
    return Load(percentile(times, 0.5), percentile(times, 0.95), len(times) / took)
