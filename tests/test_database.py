"""Migrations, transactions, and what happens when the database is away."""

import asyncio
import os
import sys
from pathlib import Path

import asyncpg
import pytest
from alembic.command import check, downgrade, upgrade
from sqlalchemy import inspect, select, text, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.core.database import Database, libpq_dsn, without_password
from app.core.errors import DatabaseUnavailableError
from app.models import Base, Message, MessageRole, User
from app.repositories.sessions import ChatSessionRepository
from tests.conftest import SignedIn, alembic_config, sign_up
from tests.rag import FakeRag
from tests.server import LiveServer, make_settings, running_server

CONTRACT_INDEXES: dict[str, set[tuple[str, ...]]] = {
    "chat_sessions": {("updated_at",), ("user_id", "updated_at")},
    "chat_messages": {("session_id", "created_at"), ("role",)},
    "chat_bookmarks": {("user_id", "created_at")},
}


class TestMigrations:
    async def test_go_up_down_and_up_and_match_the_models(self, fresh_database_url: str) -> None:
        config = alembic_config(fresh_database_url)
        await asyncio.to_thread(upgrade, config, "head")
        await asyncio.to_thread(downgrade, config, "base")
        await asyncio.to_thread(upgrade, config, "head")
        await asyncio.to_thread(check, config)

    async def test_three_replicas_may_migrate_at_once(self, fresh_database_url: str) -> None:
        environment = {**os.environ, "DATABASE_URL": fresh_database_url}
        command = [sys.executable, "-m", "app.cli", "migrate"]
        replicas = [await asyncio.create_subprocess_exec(*command, env=environment) for _ in range(3)]
        assert [await replica.wait() for replica in replicas] == [0, 0, 0]

    async def test_tables_carry_the_contracts_indexes(self, server: LiveServer) -> None:
        def indexes(connection: Connection, table: str) -> set[tuple[str, ...]]:
            return {tuple(map(str, index["column_names"])) for index in inspect(connection).get_indexes(table)}

        async with server.database.engine.connect() as connection:
            for table, expected in CONTRACT_INDEXES.items():
                assert expected <= await connection.run_sync(indexes, table)

    async def test_defaults_hold_for_rows_that_others_insert(self, server: LiveServer, alice: SignedIn) -> None:
        async with server.database.transaction() as db:
            await db.execute(
                text(
                    "INSERT INTO chat_sessions (id, user_id, title, created_at, updated_at) "
                    "VALUES (7, :user_id, 'moved', '2025-12-01 10:00:00+00', '2025-12-01 17:30:00+00')"
                ),
                {"user_id": alice.id},
            )
            await db.execute(
                text(
                    "INSERT INTO chat_messages (session_id, role, content, created_at) "
                    "VALUES (7, 'user', 'old', '2025-12-01 10:00:00+00')"
                )
            )
        session = (await alice.http.get("/api/v1/chatbot/sessions/7/")).json()["data"]
        assert (session["created_at"], session["updated_at"]) == ("2025-12-01T10:00:00Z", "2025-12-01T17:30:00Z")
        assert (session["messages"][0]["sources"], session["messages"][0]["metadata"]) == ([], {})

    async def test_role_is_user_or_assistant(self, server: LiveServer, alice: SignedIn) -> None:
        async with server.database.transaction() as db:
            session_id = await ChatSessionRepository(db).add(alice.id, "a session")
        with pytest.raises(IntegrityError, match=r"ck_chat_messages_role|CHECK constraint"):
            await self._add_message(server, session_id, "system")
        await self._add_message(server, session_id, "user")

    @staticmethod
    async def _add_message(server: LiveServer, session_id: int, role: str) -> None:
        statement = (
            "INSERT INTO chat_messages (session_id, role, content, created_at) "
            "VALUES (:session_id, :role, 'x', '2025-12-01 10:00:00+00')"
        )
        async with server.database.transaction() as db:
            await db.execute(text(statement), {"session_id": session_id, "role": role})

    def test_roles_are_stored_by_value(self) -> None:
        assert Message.__table__.c.role.type.enums == [role.value for role in MessageRole]  # type: ignore[attr-defined]

    def test_every_table_has_a_model(self) -> None:
        assert set(Base.metadata.tables) == {"users", "chat_sessions", "chat_messages", "chat_bookmarks", "chat_turns"}


class TestTransactions:
    async def test_read_modify_write_loses_nothing(self, server: LiveServer, alice: SignedIn) -> None:
        async def add_one() -> None:
            async with server.database.transaction() as db:
                statement = select(User.email).where(User.id == alice.id).with_for_update()
                number = int(await db.scalar(statement) or 0)
                await db.execute(update(User).where(User.id == alice.id).values(email=str(number + 1)))

        await asyncio.gather(*(add_one() for _ in range(20)))
        async with server.database.transaction(read_only=True) as db:
            assert await db.scalar(select(User.email).where(User.id == alice.id)) == "20"

    async def test_block_that_raises_leaves_nothing(self, server: LiveServer, alice: SignedIn) -> None:
        async def change_and_raise() -> None:
            async with server.database.transaction() as db:
                await db.execute(update(User).values(email="changed"))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await change_and_raise()
        async with server.database.transaction(read_only=True) as db:
            assert await db.scalar(select(User.email).where(User.id == alice.id)) == ""

    async def test_fifty_writers_at_once_all_get_their_turn(self, server: LiveServer, alice: SignedIn) -> None:
        posts = [alice.http.post("/api/v1/chatbot/bookmark/", json={"content": f"{i}"}) for i in range(50)]
        assert {response.status_code for response in await asyncio.gather(*posts)} == {201}


async def run(database: Database, statement: str, **values: str) -> None:
    async with database.transaction() as db:
        await db.execute(text(statement), values)


class TestAway:
    async def test_refused_connection_is_unavailable(self) -> None:
        database = Database("postgresql://nobody@127.0.0.1:9/none", pool_size=1)
        with pytest.raises(DatabaseUnavailableError):
            await run(database, "SELECT 1")
        await database.close()

    async def test_requests_get_503_in_the_envelope(self, alice: SignedIn) -> None:
        settings = make_settings(database_url="postgresql://nobody@127.0.0.1:9/none")
        async with running_server(settings) as away, away.client(Authorization=f"Bearer {alice.token}") as http:
            for response in (
                await http.get("/api/v1/chatbot/sessions/"),
                await http.post("/api/v1/chatbot/chat/", json={"message": "hi"}),
                await http.post("/api/v1/auth/login/", json={"username": "a", "password": "b"}),
                await http.get("/health/ready"),
            ):
                assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
                assert response.json()["retryable"] is True
            assert (await http.get("/health/live")).json() == {"status": "ok"}

    async def test_answers_are_stored_though_the_server_cut_every_connection_meanwhile(
        self, server: LiveServer, alice: SignedIn, rag: FakeRag
    ) -> None:
        if server.database.engine.dialect.name == "sqlite":
            pytest.skip("SQLite has no server that could cut")
        asking = [
            asyncio.create_task(alice.http.post("/api/v1/chatbot/chat/", json={"message": "slow:0.5"}))
            for _ in range(8)
        ]
        await rag.until_waiting(8)
        others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'ragchat'"
        connection = await asyncpg.connect(libpq_dsn(server.database_url))
        await connection.execute(f"SELECT pg_terminate_backend(pid) {others}")
        await connection.close()
        assert [response.status_code for response in await asyncio.gather(*asking)] == [200] * 8

    async def test_answer_is_stored_when_the_database_comes_back(self, fresh_database_url: str, rag: FakeRag) -> None:
        await asyncio.to_thread(upgrade, alembic_config(fresh_database_url), "head")
        settings = make_settings(database_url=fresh_database_url, runpod_rag_url=rag.url)
        async with running_server(settings) as server:
            user = await sign_up(server, "carol")
            asking = asyncio.create_task(user.http.post("/api/v1/chatbot/chat/", json={"message": "slow:0.3"}))
            await rag.until_waiting(1)
            await run(server.database, "ALTER TABLE chat_messages RENAME TO hidden")
            await asyncio.wait([asking], timeout=1)
            await run(server.database, "ALTER TABLE hidden RENAME TO chat_messages")
            assert (await asking).status_code == 200
            await user.http.aclose()
        assert len(rag.journal) == 1

    async def test_question_whose_answer_cannot_be_stored_names_its_turn(
        self, fresh_database_url: str, rag: FakeRag, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.services.turn_endings.STORING_SECONDS", 0.2)
        await asyncio.to_thread(upgrade, alembic_config(fresh_database_url), "head")
        settings = make_settings(database_url=fresh_database_url, runpod_rag_url=rag.url)
        async with running_server(settings) as server:
            user = await sign_up(server, "carol")
            asking = asyncio.create_task(user.http.post("/api/v1/chatbot/chat/", json={"message": "slow:0.5"}))
            await rag.until_waiting(1)
            async with server.database.transaction() as db:
                await db.execute(text("ALTER TABLE chat_messages RENAME TO hidden"))
            body = (await asking).json()
            await user.http.aclose()
        assert (body["code"], body["session_id"], body["turn_id"]) == ("database_unavailable", 1, 1)

    async def test_sqlite_writers_do_not_queue_for_ever(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.core.database.POOL_WAIT_SECONDS", 0.1)
        database = Database(f"sqlite:///{tmp_path}/x.db", pool_size=2)
        async with database.transaction():
            with pytest.raises(DatabaseUnavailableError):
                await run(database, "CREATE TABLE spare (id int)")
        await run(database, "CREATE TABLE spare (id int)")
        await database.close()

    async def test_wrong_statement_is_a_bug_and_not_unavailable(self, server: LiveServer) -> None:
        with pytest.raises(DBAPIError):
            await run(server.database, "SELEC 1")

    async def test_parameters_are_not_in_the_text_of_an_error(self, server: LiveServer) -> None:
        with pytest.raises(DBAPIError) as caught:
            await run(server.database, "SELECT :private FROM users WHERE no_such_column = 1", private="PRIVATE")
        assert "PRIVATE" not in str(caught.value)

    async def test_database_that_is_not_migrated_is_not_ready(
        self, fresh_database_url: str, alice: SignedIn, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings = make_settings(database_url=fresh_database_url)
        async with running_server(settings) as empty, empty.client(Authorization=f"Bearer {alice.token}") as http:
            for path in ("/health/ready", "/api/v1/chatbot/sessions/"):
                response = await http.get(path)
                assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
                assert "users" not in response.text
        assert any("users" in line for line in caplog.messages)

    async def test_login_or_database_that_the_server_refuses_is_unavailable(self, postgres: str) -> None:
        for url in (f"{postgres}/no_such_database", postgres.replace("postgres@", "nobody@") + "/postgres"):
            database = Database(url, pool_size=1)
            with pytest.raises(DatabaseUnavailableError):
                await run(database, "SELECT 1")
            await database.close()

    async def test_server_in_read_only_mode_is_unavailable_for_writing(self, postgres: str) -> None:
        database = Database(f"{postgres}/postgres?default_transaction_read_only=on", pool_size=1)
        await run(database, "SELECT 1")
        with pytest.raises(DatabaseUnavailableError, match="read-only"):
            await run(database, "CREATE TABLE spare (id int)")
        await database.close()


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "dsn"),
        [
            ("postgres://u:p%40@h:5433/db", "postgresql://u:p%40@h:5433/db"),
            ("postgresql://u@h/db?sslmode=require", "postgresql://u@h/db?sslmode=require"),
            ("postgresql+asyncpg://u@h/db?ssl=verify-full", "postgresql://u@h/db?sslmode=verify-full"),
        ],
    )
    def test_postgresql_urls_are_understood_as_libpq_would(self, url: str, dsn: str) -> None:
        assert libpq_dsn(url) == dsn

    async def test_sslmode_is_obeyed(self, postgres: str) -> None:
        plain = Database(f"{postgres}/postgres?sslmode=prefer", pool_size=1)
        await run(plain, "SELECT 1")
        await plain.close()
        strict = Database(f"{postgres}/postgres?sslmode=require", pool_size=1)
        with pytest.raises(DatabaseUnavailableError, match="SSL"):
            await run(strict, "SELECT 1")
        await strict.close()

    async def test_folder_of_an_sqlite_file_is_made(self, tmp_path: Path) -> None:
        database = Database(f"sqlite:///{tmp_path}/a/b/c.db", pool_size=1)
        await run(database, "SELECT 1")
        await database.close()
        assert (tmp_path / "a/b/c.db").exists()

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("postgresql://u:secret@h/db", "postgresql://u:***@h/db"),
            ("postgresql://u@h/db", "postgresql://u@h/db"),
            ("postgresql://h/db?user=u&password=secret", "postgresql://h/db?user=u&password=***"),
            ("postgresql://u:secret@h1:5432,h2:5432/db", "postgresql://u:***@h1:5432,h2:5432/db"),
            ("sqlite:///var/ragchat.db", "sqlite:///var/ragchat.db"),
        ],
    )
    def test_password_is_hidden(self, url: str, shown: str) -> None:
        assert without_password(url) == shown
