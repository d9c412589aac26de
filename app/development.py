"""Development: both servers as two processes on loopback, with a database, a secret and a demo user under var/."""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from types import FrameType

import typer

from app.services.accounts import open_accounts

DEFAULT_PORT = 8000
LOOPBACK = "127.0.0.1"
FOLDER = Path("var")
DATABASE_URL = f"sqlite:///{FOLDER}/development.db"
DEMO_USER = "demo"
# Where front ends are served from while they are developed: create-react-app, Vite.
FRONT_END_ORIGINS = "http://localhost:3000,http://localhost:5173"
START_SECONDS = 60
STOP_SECONDS = 10
PACE_MS = "30"  # between the pieces of an answer, or a stream would be over before it is seen
# A developer's HTTP_PROXY would be asked for our own loopback addresses.
WITHOUT_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class DevelopmentError(Exception):
    """The servers cannot be started; the text says why."""


def run_development(port: int) -> None:
    """Start everything, print the addresses, and stay until Ctrl-C, SIGTERM, or one of the servers ends.

    Where RUNPOD_RAG_URL names a RAG server, that one is asked and the reference server stays out.

    Raises:
        DevelopmentError: a port is taken, or a server did not start or ended by itself.
    """
    if not _is_free(port):
        raise DevelopmentError(f"Port {port} is in use. Choose another: PORT={port + 1} make run")
    FOLDER.mkdir(exist_ok=True)
    password = _kept(FOLDER / "demo-password", lambda: secrets.token_hex(6))
    own_rag_url = os.environ.get("RUNPOD_RAG_URL") or os.environ.get("RUNPOD_CHATBOT_URL")
    rag_url = own_rag_url or f"http://{LOOPBACK}:{_free_port()}"
    environment = os.environ | _service_environment(port, rag_url)
    _run(["-m", "app.cli", "migrate"], environment)
    asyncio.run(_ensure_demo_user(password))
    with _stop_on_signal(), ExitStack() as running:
        servers = [] if own_rag_url else [running.enter_context(_reference_rag_server(rag_url))]
        servers.append(running.enter_context(_server("service", ["-m", "app.cli", "serve"], environment)))
        if not own_rag_url:
            _wait_until_ready(f"{rag_url}/health", servers)
        _wait_until_ready(f"http://{LOOPBACK}:{port}/health/ready", servers)
        _print_addresses(port, rag_url, password)
        _wait_for_an_end(servers)


def _reference_rag_server(url: str) -> AbstractContextManager["_Server"]:
    environment = {"RAG_PACE_MS": PACE_MS} | os.environ
    environment |= {"HOST": LOOPBACK, "PORT": url.rpartition(":")[2], "RAG_DB": str(FOLDER / "ragserver.db")}
    return _server("reference RAG server", ["-m", "ragserver", "serve"], environment)


def _service_environment(port: int, rag_url: str) -> dict[str, str]:
    """All that decides where data goes is set here, so that no `.env` makes a demo user in a real database."""
    return {
        "ENVIRONMENT": "development",
        "DATABASE_URL": DATABASE_URL,
        "JWT_SECRET_KEY": _kept(FOLDER / "jwt-secret", lambda: secrets.token_urlsafe(48)),
        "RUNPOD_RAG_URL": rag_url,
        "HOST": LOOPBACK,
        "PORT": str(port),
        "DRAIN_SECONDS": str(STOP_SECONDS / 2),  # nobody at a terminal waits a minute for Ctrl-C
        "CORS_ORIGINS": os.environ.get("CORS_ORIGINS", FRONT_END_ORIGINS),
        "LOG_FORMAT": os.environ.get("LOG_FORMAT", "console"),
    }


def _kept(path: Path, make: Callable[[], str]) -> str:
    """A secret that is made once and kept in a file that only its owner reads."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(make())
    return path.read_text().strip()


async def _ensure_demo_user(password: str) -> None:
    async with open_accounts(DATABASE_URL) as accounts:
        await accounts.ensure(DEMO_USER, password)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _run(arguments: list[str], environment: dict[str, str]) -> None:
    if subprocess.run([sys.executable, *arguments], env=environment, check=False).returncode:
        raise DevelopmentError(f"`{' '.join(arguments)}` failed.")


class _Server:
    """One child process with the name that messages give it."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.process = process

    def check_alive(self) -> None:
        if self.process.poll() is not None:
            raise DevelopmentError(f"The {self.name} ended with exit code {self.process.returncode}.")


@contextmanager
def _server(name: str, arguments: list[str], environment: dict[str, str]) -> Iterator[_Server]:
    process = subprocess.Popen([sys.executable, *arguments], env=environment)
    try:
        yield _Server(name, process)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _stop_on_signal() -> Iterator[None]:
    """Turn SIGTERM into the way out that Ctrl-C takes."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Stopped.")
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait_until_ready(url: str, servers: list[_Server]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(url):
        for server in servers:
            server.check_alive()
        if time.monotonic() > deadline:
            raise DevelopmentError(f"{url} did not answer within {START_SECONDS} s.")
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        with WITHOUT_PROXY.open(url, timeout=2) as response:
            return bool(response.status == HTTPStatus.OK)
    except (urllib.error.URLError, OSError):
        return False


def _print_addresses(port: int, rag_url: str, password: str) -> None:
    lines = (
        "",
        f"service:    http://{LOOPBACK}:{port}",
        f"Swagger UI: http://{LOOPBACK}:{port}/docs",
        f"RAG server: {rag_url}",
        "",
        f"user: {DEMO_USER}",
        f"password: {password}",
        "",
        "Stop with Ctrl-C.",
    )
    typer.echo("\n".join(lines))
    sys.stdout.flush()  # whoever reads through a pipe waits for these lines


def _wait_for_an_end(servers: list[_Server]) -> None:
    while True:
        for server in servers:
            server.check_alive()
        time.sleep(0.2)
