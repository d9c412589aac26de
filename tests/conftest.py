"""Fixtures: the databases, the fault-playing RAG server, a live service, users, and their signed-in clients."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from alembic.command import upgrade
from alembic.config import Config
from sqlalchemy import delete, select, update

from app.core.passwords import PasswordHasher
from app.core.settings import Settings
from app.core.tokens import TokenKind
from app.models import User
from app.services.accounts import AccountService
from tests.postgres import create_database, running_postgres
from tests.rag import FakeRag
from tests.server import LiveServer, make_settings, running_server

# The machine's own settings must not leak into tests.
for name in Settings.model_fields:
    os.environ.pop(name.upper(), None)

PASSWORD = "password123"
ALEMBIC_INI = Path(__file__).parent.parent / "alembic.ini"


class SignedIn(NamedTuple):
    """A user and a client that carries their token."""

    id: int
    username: str
    token: str
    http: httpx.AsyncClient


def alembic_config(url: str) -> Config:
    return Config(ALEMBIC_INI, attributes={"database_url": url})


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
async def fresh_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of its own without tables, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/fresh.db"
    return await create_database(request.getfixturevalue("postgres"), f"fresh_{uuid.uuid4().hex}")


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
async def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A migrated database of each kind; every test that uses it runs twice."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('database')}/ragchat.db"
    else:
        url = await create_database(request.getfixturevalue("postgres"), "ragchat")
    await asyncio.to_thread(upgrade, alembic_config(url), "head")
    return url


@pytest.fixture(scope="session")
async def rag_server() -> AsyncIterator[FakeRag]:
    fake = FakeRag()
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
def rag(rag_server: FakeRag) -> FakeRag:
    """The RAG server, with an empty journal."""
    rag_server.forget()
    return rag_server


@pytest.fixture(scope="session")
async def shared_server(database_url: str, rag_server: FakeRag) -> AsyncIterator[LiveServer]:
    settings = make_settings(
        database_url=database_url,
        database_pool_size=5,
        runpod_rag_url=rag_server.url,
        cors_origins="https://spa.example",
    )
    async with running_server(settings) as server:
        yield server


@pytest.fixture
async def own_rag() -> AsyncIterator[FakeRag]:
    """A RAG server that nobody else talks to."""
    fake = FakeRag()
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def patient(database_url: str, rag_server: FakeRag) -> AsyncIterator[LiveServer]:
    """A second service on the same database, that waits for its RAG server as long as in production."""
    settings = make_settings(database_url=database_url, runpod_rag_url=rag_server.url, rag_timeout_seconds=60)
    async with running_server(settings) as server:
        yield server


@pytest.fixture
async def server(shared_server: LiveServer) -> AsyncIterator[LiveServer]:
    """The live service, with no user in its database."""
    async with shared_server.database.transaction() as db:
        await db.execute(delete(User))
    yield shared_server
    await until_idle(shared_server)


@pytest.fixture
async def anonymous(server: LiveServer) -> AsyncIterator[httpx.AsyncClient]:
    async with server.client() as http:
        yield http


async def sign_up(server: LiveServer, username: str, *, with_password: bool = False) -> SignedIn:
    """A new user. Hashing takes its time, so only tests of the login ask for a real password."""
    if with_password:
        passwords = PasswordHasher()
        user = await AccountService(server.database, passwords).create(
            username, PASSWORD, email=f"{username}@example.com"
        )
        passwords.close()
    else:
        user = User(username=username, email="", password_hash="!")
        async with server.database.transaction() as db:
            db.add(user)
    token = server.services.tokens.issue(user.id, TokenKind.ACCESS)
    return SignedIn(user.id, username, token, server.client(Authorization=f"Bearer {token}"))


@pytest.fixture
async def alice(server: LiveServer) -> AsyncIterator[SignedIn]:
    user = await sign_up(server, "alice")
    yield user
    await user.http.aclose()


@pytest.fixture
async def bob(server: LiveServer) -> AsyncIterator[SignedIn]:
    user = await sign_up(server, "bob")
    yield user
    await user.http.aclose()


async def deactivate(server: LiveServer, user_id: int) -> None:
    async with server.database.transaction() as db:
        await db.execute(update(User).where(User.id == user_id).values(is_active=False))


async def until_idle(server: LiveServer) -> None:
    """Return when no database connection is in use; the turns' keeper borrows one now and then."""
    pool = server.database.engine.pool
    async with asyncio.timeout(5):
        while pool.checkedout():  # type: ignore[attr-defined]  # noqa: ASYNC110 - pools tell nobody
            await asyncio.sleep(0.01)


async def count(server: LiveServer, table: type) -> int:
    async with server.database.transaction(read_only=True) as db:
        return len((await db.scalars(select(table))).all())
