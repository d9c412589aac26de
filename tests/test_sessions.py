"""Sessions: lists in pages, details, renaming, deleting, and whose they are."""

import pytest
from sqlalchemy import insert

from app.models import ChatSession, Message
from tests.conftest import SignedIn
from tests.rag import FakeRag
from tests.server import LiveServer

SESSIONS = "/api/v1/chatbot/sessions/"
CHAT = "/api/v1/chatbot/chat/"


async def add_sessions(server: LiveServer, user: SignedIn, number: int, *, messages: int = 2) -> list[int]:
    """Sessions in the order in which they were made; all carry the same time, as a migration would leave them."""
    async with server.database.transaction() as db:
        rows = [{"user_id": user.id, "title": f"session {i}"} for i in range(number)]
        ids = list(await db.scalars(insert(ChatSession).returning(ChatSession.id, sort_by_parameter_order=True), rows))
        said = [
            {"session_id": session_id, "role": "assistant" if i % 2 else "user", "content": f"{session_id}.{i}"}
            for session_id in ids
            for i in range(messages)
        ]
        if said:
            await db.execute(insert(Message), said)
    return ids


class TestList:
    async def test_without_a_limit_everything_comes(self, server: LiveServer, alice: SignedIn) -> None:
        ids = await add_sessions(server, alice, 30)
        body = (await alice.http.get(SESSIONS)).json()
        assert [session["id"] for session in body["data"]] == ids[::-1]
        assert body["next_cursor"] is None

    async def test_pages_join_to_the_whole_list(self, server: LiveServer, alice: SignedIn) -> None:
        ids = await add_sessions(server, alice, 25)
        seen, cursor = [], None
        for expected in (10, 10, 5):
            body = (
                await alice.http.get(SESSIONS, params={"limit": 10, **({"cursor": cursor} if cursor else {})})
            ).json()
            assert len(body["data"]) == expected
            seen += [session["id"] for session in body["data"]]
            cursor = body["next_cursor"]
        assert (seen, cursor) == (ids[::-1], None)

    async def test_page_that_ends_the_list_has_no_next(self, server: LiveServer, alice: SignedIn) -> None:
        await add_sessions(server, alice, 10)
        assert (await alice.http.get(SESSIONS, params={"limit": 10})).json()["next_cursor"] is None

    async def test_cursor_without_a_limit_gives_the_rest(self, server: LiveServer, alice: SignedIn) -> None:
        ids = await add_sessions(server, alice, 5)
        cursor = (await alice.http.get(SESSIONS, params={"limit": 2})).json()["next_cursor"]
        rest = (await alice.http.get(SESSIONS, params={"cursor": cursor})).json()
        assert [session["id"] for session in rest["data"]] == ids[2::-1]

    async def test_page_stays_right_while_sessions_come_and_go(
        self, server: LiveServer, alice: SignedIn, rag: FakeRag
    ) -> None:
        ids = await add_sessions(server, alice, 6)
        first = (await alice.http.get(SESSIONS, params={"limit": 3})).json()
        await alice.http.post(CHAT, json={"message": "a new one"})
        await alice.http.delete(f"{SESSIONS}{ids[3]}/delete/")
        second = (await alice.http.get(SESSIONS, params={"limit": 3, "cursor": first["next_cursor"]})).json()
        assert [session["id"] for session in second["data"]] == ids[2::-1]

    async def test_cursor_of_another_user_shows_none_of_their_rows(
        self, server: LiveServer, alice: SignedIn, bob: SignedIn
    ) -> None:
        mine = await add_sessions(server, bob, 2)
        await add_sessions(server, alice, 5)
        cursor = (await alice.http.get(SESSIONS, params={"limit": 1})).json()["next_cursor"]
        seen = (await bob.http.get(SESSIONS, params={"cursor": cursor})).json()["data"]
        assert [session["id"] for session in seen] == mine[::-1]

    async def test_session_without_messages_has_no_last_message(self, server: LiveServer, alice: SignedIn) -> None:
        await add_sessions(server, alice, 1, messages=0)
        (session,) = (await alice.http.get(SESSIONS)).json()["data"]
        assert (session["message_count"], session["last_message"]) == (0, None)

    async def test_last_message_is_the_newest(self, server: LiveServer, alice: SignedIn) -> None:
        (session_id,) = await add_sessions(server, alice, 1, messages=7)
        (session,) = (await alice.http.get(SESSIONS)).json()["data"]
        assert session["message_count"] == 7
        assert session["last_message"]["content"] == f"{session_id}.6"

    @pytest.mark.parametrize("number", [1, 40])
    async def test_number_of_statements_does_not_grow(self, server: LiveServer, alice: SignedIn, number: int) -> None:
        ids = await add_sessions(server, alice, number, messages=number)
        with server.statements() as listing:
            await alice.http.get(SESSIONS)
        with server.statements() as reading:
            await alice.http.get(f"{SESSIONS}{ids[0]}/")
        assert len([s for s, _ in listing if s.startswith("SELECT")]) == 2  # the user, the list
        assert (
            len([s for s, _ in reading if s.startswith("SELECT")]) == 4
        )  # the user, the session, its running turn, its messages

    async def test_index_serves_the_order(self, server: LiveServer, alice: SignedIn) -> None:
        await add_sessions(server, alice, 300)
        with server.statements() as seen:
            await alice.http.get(SESSIONS, params={"limit": 50})
        statement, parameters = seen[-1]
        async with server.database.transaction() as db:
            connection = await db.connection()
            is_sqlite = connection.dialect.name == "sqlite"
            if not is_sqlite:
                # So few rows are read and sorted faster without an index; the question is whether it can serve.
                await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
                await connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
                await connection.exec_driver_sql("SET LOCAL enable_sort = off")
            explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
            plan = str((await connection.exec_driver_sql(f"{explain} {statement}", parameters)).all())
        assert "ix_chat_sessions_user_id_updated_at" in plan
        # SQLite sorts what came out of the page once more, at most 51 rows; the page itself must not need a sort.
        assert "TEMP B-TREE" not in plan.partition("SCAN anon_1")[0]
        assert "Presorted Key: chat_sessions.updated_at" in plan or is_sqlite


class TestRename:
    async def test_title_changes_and_the_place_in_the_list_stays(self, server: LiveServer, alice: SignedIn) -> None:
        ids = await add_sessions(server, alice, 2)
        response = await alice.http.patch(f"{SESSIONS}{ids[0]}/", json={"title": "Python 기초 질문"})
        renamed = response.json()["data"]
        assert (response.status_code, renamed["id"], renamed["title"]) == (200, ids[0], "Python 기초 질문")
        listed = (await alice.http.get(SESSIONS)).json()["data"]
        assert [(s["id"], s["title"]) for s in listed] == [(ids[1], "session 1"), (ids[0], "Python 기초 질문")]

    @pytest.mark.parametrize("title", ["", "  ", "x" * 256, None, 5, "a\x00b"])
    async def test_unfit_title_is_refused(self, server: LiveServer, alice: SignedIn, title: object) -> None:
        (session_id,) = await add_sessions(server, alice, 1)
        response = await alice.http.patch(f"{SESSIONS}{session_id}/", json={"title": title})
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
        assert (await alice.http.get(SESSIONS)).json()["data"][0]["title"] == "session 0"


class TestOwnership:
    async def test_somebody_elses_session_is_a_missing_one(
        self, server: LiveServer, alice: SignedIn, bob: SignedIn, rag: FakeRag
    ) -> None:
        (theirs,) = await add_sessions(server, bob, 1)
        for session_id in (theirs, theirs + 1_000_000):
            answers = [
                await alice.http.get(f"{SESSIONS}{session_id}/"),
                await alice.http.patch(f"{SESSIONS}{session_id}/", json={"title": "mine now"}),
                await alice.http.delete(f"{SESSIONS}{session_id}/delete/"),
                await alice.http.post(CHAT, json={"message": "hi", "session_id": session_id}),
            ]
            for answer in answers:
                body = answer.json()
                assert answer.status_code == 404
                assert {**body, "request_id": ""} == {
                    "success": False,
                    "error": "요청한 항목을 찾을 수 없습니다.",
                    "code": "not_found",
                    "request_id": "",
                    "retryable": False,
                }
        detail = (await bob.http.get(f"{SESSIONS}{theirs}/")).json()["data"]
        assert (detail["title"], detail["message_count"]) == ("session 0", 2)
        assert rag.journal == []
