"""The `ragchat` command, as operators run it."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.postgres import free_port
from tests.rag import FakeRag
from tests.server import SECRET, until_ready

RAGCHAT = [sys.executable, "-m", "app.cli"]
LOGIN = "/api/v1/auth/login/"


def ragchat(folder: Path, *arguments: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RAGCHAT, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def process(folder: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        [*RAGCHAT, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(15)
        except subprocess.TimeoutExpired:
            started.kill()
        assert started.stdout
        started.stdout.close()


def read_until(started: subprocess.Popen[str], last: str) -> str:
    """What a process printed, up to a line."""
    assert started.stdout
    seen = ""
    for line in started.stdout:
        seen += line
        if last in line:
            break
    return seen


class TestUsers:
    @pytest.fixture
    def migrated(self, tmp_path: Path) -> Path:
        assert ragchat(tmp_path, "migrate").returncode == 0
        return tmp_path

    def test_migrate_makes_the_embedded_database(self, migrated: Path) -> None:
        assert (migrated / "var/ragchat.db").exists()

    @pytest.mark.parametrize("command", ["createuser", "createsuperuser"])
    def test_script_gives_the_password_on_standard_input(self, migrated: Path, command: str) -> None:
        options = ("--username", "ada", "--email", "ada@example.com", "--password-stdin")
        made = ragchat(migrated, command, *options, given="password123\n")
        assert (made.returncode, "ada" in made.stdout) == (0, True)
        again = ragchat(migrated, command, *options, given="password123\n")
        assert (again.returncode, again.stderr.strip()) == (1, "username: is already taken")

    def test_person_is_asked(self, migrated: Path) -> None:
        made = ragchat(migrated, "createsuperuser", given="root\npassword123\npassword123\n")
        assert (made.returncode, "Created superuser root." in made.stdout) == (0, True)

    @pytest.mark.parametrize(
        ("username", "password", "problem"),
        [
            ("\ufdfa" * 100, "password123", "username"),
            ("ada", "short", "password"),
            ("", "password123", "username"),
            ("a b", "password123", "username"),
        ],
    )
    def test_unfit_account_is_refused(self, migrated: Path, username: str, password: str, problem: str) -> None:
        made = ragchat(migrated, "createuser", "--username", username, "--password-stdin", given=password)
        assert made.returncode == 1
        assert made.stderr.startswith(f"{problem}: ")
        assert "Traceback" not in made.stderr

    def test_database_that_is_away_is_named(self, tmp_path: Path) -> None:
        away = {"DATABASE_URL": "postgresql://u:hidden@127.0.0.1:9/none"}
        for arguments in (("migrate",), ("createuser", "--username", "ada", "--password-stdin")):
            ended = ragchat(tmp_path, *arguments, given="password123", **away)
            assert ended.returncode == 1
            assert "database cannot be reached" in ended.stderr
            assert "Traceback" not in ended.stderr
            assert "hidden" not in ended.stderr


class TestOpenapi:
    def test_prints_the_committed_document(self, tmp_path: Path) -> None:
        printed = ragchat(tmp_path, "openapi").stdout
        assert printed == (Path(__file__).parent.parent / "docs/openapi.json").read_text()


class TestCheck:
    async def test_says_what_is_reachable_without_secrets(self, tmp_path: Path, rag: FakeRag) -> None:
        await asyncio.to_thread(ragchat, tmp_path, "migrate")
        checked = await asyncio.to_thread(
            ragchat, tmp_path, "check", JWT_SECRET_KEY=SECRET, RUNPOD_RAG_URL=rag.url, RAG_API_KEY="hidden"
        )
        assert checked.returncode == 0
        assert f"RUNPOD_RAG_URL={rag.url}" in checked.stdout
        assert checked.stdout.endswith("database: ok\nRAG server: ok\n")
        assert SECRET not in checked.stdout
        assert "hidden" not in checked.stdout

    async def test_database_that_is_not_migrated_is_named(self, tmp_path: Path, rag: FakeRag) -> None:
        environment = {"JWT_SECRET_KEY": SECRET, "RUNPOD_RAG_URL": rag.url}
        checked = await asyncio.to_thread(ragchat, tmp_path, "check", **environment)
        assert checked.returncode == 1
        assert "database: " in checked.stdout
        assert "no such table" in checked.stdout

    @pytest.mark.parametrize("url", ["postgresql://h:abc/db", "postgresql://h/db#x", "sqlite:////proc/none/x.db"])
    def test_url_that_leads_nowhere_is_answered_without_a_traceback(self, tmp_path: Path, url: str) -> None:
        checked = ragchat(tmp_path, "check", JWT_SECRET_KEY=SECRET, DATABASE_URL=url)
        assert checked.returncode == 1
        assert "Traceback" not in checked.stderr
        assert "database: " in checked.stdout

    def test_user_before_the_tables_is_told_what_is_missing(self, tmp_path: Path) -> None:
        made = ragchat(tmp_path, "createuser", "--username", "ada", "--password-stdin", given="password123")
        assert made.returncode == 1
        assert "no such table" in made.stderr
        assert "argon2" not in made.stderr

    def test_says_why_something_is_not(self, tmp_path: Path) -> None:
        away = {"DATABASE_URL": "postgresql://u:hidden@127.0.0.1:9/none", "RUNPOD_RAG_URL": "http://127.0.0.1:9"}
        checked = ragchat(tmp_path, "check", JWT_SECRET_KEY=SECRET, **away)
        assert checked.returncode == 1
        assert "DATABASE_URL=postgresql://u:***@127.0.0.1:9/none" in checked.stdout
        assert re.search(r"database: .*refused", checked.stdout, re.IGNORECASE)
        assert "RAG server: Connection failed" in checked.stdout

    def test_settings_that_cannot_be_used_are_named(self, tmp_path: Path) -> None:
        checked = ragchat(tmp_path, "check", PORT="x", JWT_SECRET_KEY="")
        assert checked.returncode == 1
        assert "PORT: " in checked.stderr


class TestServe:
    def test_production_refuses_to_start_without_a_secret(self, tmp_path: Path) -> None:
        ended = ragchat(tmp_path, "serve")
        assert ended.returncode == 1
        assert "JWT_SECRET_KEY: must be set" in ended.stderr
        assert "Traceback" not in ended.stderr

    async def test_requests_in_flight_finish_when_it_is_told_to_stop(self, tmp_path: Path, rag: FakeRag) -> None:
        port = free_port()
        environment = {"JWT_SECRET_KEY": SECRET, "RUNPOD_RAG_URL": rag.url, "PORT": str(port)}
        await asyncio.to_thread(ragchat, tmp_path, "migrate")
        options = ("--username", "ada", "--password-stdin")
        await asyncio.to_thread(ragchat, tmp_path, "createuser", *options, given="password123")
        with process(tmp_path, "serve", **environment) as server:
            base_url = f"http://127.0.0.1:{port}"
            await until_ready(base_url)
            async with httpx.AsyncClient(base_url=base_url) as http:
                login = await http.post(LOGIN, json={"username": "ada", "password": "password123"})
                http.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
                asking = asyncio.create_task(http.post("/api/v1/chatbot/chat/", json={"message": "slow:1"}))
                await rag.until_waiting(1)
                server.send_signal(signal.SIGTERM)
                assert (await asking).status_code == 200
            # uvicorn raises the signal again when all is done.
            assert await asyncio.to_thread(server.wait, 10) in (0, -signal.SIGTERM)

    async def test_request_head_without_end_is_cut_off(self, tmp_path: Path) -> None:
        port = free_port()
        await asyncio.to_thread(ragchat, tmp_path, "migrate")
        with process(tmp_path, "serve", JWT_SECRET_KEY=SECRET, PORT=str(port)):
            await until_ready(f"http://127.0.0.1:{port}")
            many, one = b"X-A: " + b"a" * 8192 + b"\r\n", b"X-A: " + b"a" * 200_000 + b"\r\n\r\n"
            for piece, pieces in ((many, 100), (one, 1)):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n")
                with suppress(ConnectionError):
                    for _ in range(pieces):
                        writer.write(piece)
                        await writer.drain()
                    status = await asyncio.wait_for(reader.readline(), 5)
                    assert b" 400 " in status
                writer.close()
            async with httpx.AsyncClient() as http:
                answer = await http.get(f"http://127.0.0.1:{port}/health/live", headers={"X-A": "a" * 8192})
            assert answer.status_code == 200


class TestDev:
    async def test_first_question_gets_an_answer_from_real_documents(self, tmp_path: Path) -> None:
        port = free_port()
        with process(tmp_path, "dev", "--port", str(port)) as dev:
            printed = await asyncio.to_thread(read_until, dev, "Stop with Ctrl-C.")
            assert "user: demo\n" in printed
            password = next(line for line in printed.splitlines() if line.startswith("password: "))
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
                body = {"username": "demo", "password": password.removeprefix("password: ")}
                login = await http.post(LOGIN, json=body)
                http.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
                for question, word in (
                    ("Python에서 리스트와 튜플의 차이는?", "튜플"),
                    ("What is the difference between a list and a tuple in Python?", "immutable"),
                ):
                    answer = (await http.post("/api/v1/chatbot/chat/", json={"message": question})).json()
                    assert word in answer["data"]["response"]
                    assert answer["data"]["sources"][0].keys() >= {"chunk_id", "content", "score"}
                assert len((await http.get("/api/v1/chatbot/sessions/")).json()["data"]) == 2
            dev.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(dev.wait, 15) == 0
        assert {"development.db", "jwt-secret", "demo-password"} <= {path.name for path in (tmp_path / "var").iterdir()}
        assert (tmp_path / "var/jwt-secret").stat().st_mode & 0o077 == 0

    async def test_own_rag_server_is_asked_where_one_is_named(self, tmp_path: Path, rag: FakeRag) -> None:
        port = free_port()
        with process(tmp_path, "dev", "--port", str(port), RUNPOD_RAG_URL=rag.url) as dev:
            printed = await asyncio.to_thread(read_until, dev, "Stop with Ctrl-C.")
            ready = await asyncio.to_thread(httpx.get, f"http://127.0.0.1:{port}/health/ready")
        assert f"RAG server: {rag.url}\n" in printed
        assert ready.status_code == 200
        assert not (tmp_path / "var/ragserver.db").exists()

    def test_taken_port_is_named(self, tmp_path: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            ended = ragchat(tmp_path, "dev", "--port", str(taken.getsockname()[1]))
        assert ended.returncode == 1
        assert "is in use" in ended.stderr
