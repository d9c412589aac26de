"""The examples of the contract, to the letter: what the React front end of the old service relies on."""

import logging
import re

import pytest
from sqlalchemy import text

from app.models import Bookmark, ChatSession, Message
from tests.conftest import PASSWORD, SignedIn, sign_up
from tests.rag import GOOD, SOURCES, FakeRag
from tests.server import LiveServer, make_settings, running_server

CHATBOT = "/api/v1/chatbot"
UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


async def ask(user: SignedIn, message: str, session_id: int | None = None) -> dict[str, int]:
    response = await user.http.post(f"{CHATBOT}/chat/", json={"message": message, "session_id": session_id})
    assert response.status_code == 200, response.text
    body: dict[str, int] = response.json()
    return body


class TestHttpApi:
    async def test_login_gives_an_access_token_that_opens_the_api(self, server: LiveServer) -> None:
        await sign_up(server, "testuser", with_password=True)
        async with server.client() as http:
            login = await http.post("/api/v1/auth/login/", json={"username": "testuser", "password": PASSWORD})
            token = login.json()["access_token"]
            listed = await http.get(f"{CHATBOT}/sessions/", headers={"Authorization": f"Bearer {token}"})
        assert (login.status_code, listed.status_code) == (200, 200)

    async def test_chat_success(self, alice: SignedIn, rag: FakeRag) -> None:
        response = await alice.http.post(f"{CHATBOT}/chat/", json={"message": "Python에서 리스트와 튜플의 차이는?"})
        body = response.json()
        assert body == {
            "success": True,
            "session_id": body["session_id"],
            "message_id": body["message_id"],
            "data": {"response": GOOD["answer"], "sources": SOURCES},
        }
        assert isinstance(body["session_id"], int)
        assert isinstance(body["message_id"], int)

    async def test_chat_failure(self, alice: SignedIn, server: LiveServer, database_url: str) -> None:
        settings = make_settings(database_url=database_url, runpod_rag_url="http://127.0.0.1:9")
        async with running_server(settings) as unlucky, unlucky.client(Authorization=f"Bearer {alice.token}") as http:
            body = (await http.post(f"{CHATBOT}/chat/", json={"message": "hi"})).json()
        assert body.items() >= {"success": False, "error": "RAG 서버에 연결할 수 없습니다."}.items()

    async def test_session_list(self, alice: SignedIn, rag: FakeRag) -> None:
        first = await ask(alice, "Python 기초 질문")
        second = await ask(alice, "두 번째 질문")
        body = (await alice.http.get(f"{CHATBOT}/sessions/")).json()
        assert body["success"] is True
        assert [session["id"] for session in body["data"]] == [second["session_id"], first["session_id"]]
        last = body["data"][1]
        assert last == {
            "id": first["session_id"],
            "title": "Python 기초 질문",
            "message_count": 2,
            "last_message": {
                "role": "assistant",
                "content": GOOD["answer"],
                "created_at": last["last_message"]["created_at"],
            },
            "created_at": last["created_at"],
            "updated_at": last["updated_at"],
        }
        for time in (last["created_at"], last["updated_at"], last["last_message"]["created_at"]):
            assert UTC_TIME.fullmatch(time)
        assert last["created_at"] <= last["updated_at"]

    async def test_session_detail(self, alice: SignedIn, rag: FakeRag) -> None:
        session_id = (await ask(alice, "리스트와 튜플의 차이는?"))["session_id"]
        body = (await alice.http.get(f"{CHATBOT}/sessions/{session_id}/")).json()
        detail = body["data"]
        assert body["success"] is True
        assert detail.keys() == {
            "id",
            "title",
            "messages",
            "message_count",
            "created_at",
            "updated_at",
            "active_turn",
            "retryable_turns",
        }
        assert (detail["id"], detail["title"], detail["message_count"]) == (session_id, "리스트와 튜플의 차이는?", 2)
        for message in detail["messages"]:
            assert message.keys() == {"id", "role", "content", "sources", "metadata", "created_at"}
            assert UTC_TIME.fullmatch(message["created_at"])
        assert [message["role"] for message in detail["messages"]] == ["user", "assistant"]
        assert isinstance(detail["messages"][1]["metadata"]["response_time"], float)

    async def test_session_delete(self, server: LiveServer, alice: SignedIn, rag: FakeRag) -> None:
        session_id = (await ask(alice, "hi"))["session_id"]
        response = await alice.http.delete(f"{CHATBOT}/sessions/{session_id}/delete/")
        assert (response.status_code, response.json()) == (200, {"success": True, "message": "세션이 삭제되었습니다."})
        assert (await alice.http.get(f"{CHATBOT}/sessions/{session_id}/")).status_code == 404
        async with server.database.transaction(read_only=True) as db:
            assert (await db.execute(text("SELECT count(*) FROM chat_messages"))).scalar_one() == 0

    async def test_bookmarks(self, alice: SignedIn) -> None:
        kept = {"content": "리스트는 mutable, 튜플은 immutable", "sources": SOURCES}
        added = await alice.http.post(f"{CHATBOT}/bookmark/", json=kept)
        assert added.status_code == 201
        bookmark = added.json()["data"]
        assert bookmark.items() >= {**kept, "message_id": None}.items()
        listed = (await alice.http.get(f"{CHATBOT}/bookmarks/")).json()
        assert (listed["success"], listed["data"]) == (True, [bookmark])
        deleted = await alice.http.delete(f"{CHATBOT}/bookmark/{bookmark['id']}/")
        assert (deleted.status_code, deleted.json()["success"]) == (200, True)
        assert (await alice.http.get(f"{CHATBOT}/bookmarks/")).json()["data"] == []

    @pytest.mark.parametrize("path", ["sessions", "sessions/", "bookmarks", "bookmarks/", "sessions/9", "sessions/9/"])
    async def test_closing_slash_may_be_left_out(self, alice: SignedIn, path: str) -> None:
        response = await alice.http.get(f"{CHATBOT}/{path}")
        assert response.status_code == (404 if "9" in path else 200)
        assert "location" not in response.headers

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "chat/"),
            ("GET", "sessions/"),
            ("GET", "sessions/1/"),
            ("PATCH", "sessions/1/"),
            ("DELETE", "sessions/1/delete/"),
            ("GET", "bookmarks/"),
            ("POST", "bookmark/"),
            ("DELETE", "bookmark/1/"),
        ],
    )
    @pytest.mark.parametrize("token", [None, "Bearer nonsense", "Basic dGVzdDp0ZXN0", "Bearer"])
    async def test_every_endpoint_needs_a_token(
        self, server: LiveServer, method: str, path: str, token: str | None
    ) -> None:
        async with server.client(**({"Authorization": token} if token else {})) as http:
            response = await http.request(method, f"{CHATBOT}/{path}")
        assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")
        assert response.headers["www-authenticate"] == "Bearer"


class TestTables:
    def test_columns_are_those_of_the_existing_database(self) -> None:
        assert set(ChatSession.__table__.columns.keys()) == {"id", "user_id", "title", "created_at", "updated_at"}
        assert set(Message.__table__.columns.keys()) == {
            "id", "session_id", "role", "content", "sources", "metadata", "created_at"
        }  # fmt: skip
        assert set(Bookmark.__table__.columns.keys()) == {
            "id", "user_id", "message_id", "content", "sources", "created_at"
        }  # fmt: skip


class TestLogLines:
    async def test_lines_that_operators_filter_by(
        self, alice: SignedIn, rag: FakeRag, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        first = await ask(alice, "first")
        await ask(alice, "second", first["session_id"])
        await alice.http.post(f"{CHATBOT}/chat/", json={"message": "slow:5", "session_id": first["session_id"]})
        bookmark = (await alice.http.post(f"{CHATBOT}/bookmark/", json={"content": "x"})).json()["data"]
        await alice.http.delete(f"{CHATBOT}/sessions/{first['session_id']}/delete/")
        lines = caplog.messages
        user_message = next(line for line in lines if line.startswith("[Chat] User message saved: "))
        assert user_message.removeprefix("[Chat] User message saved: ").isdecimal()
        for line in (
            f"[Chat] New session created: {first['session_id']}",
            f"[Chat] Using existing session: {first['session_id']}",
            f"[Chat] Calling RunPod RAG: {rag.url}/api/v1/chat",
            f"[Chat] Response saved: message_id={first['message_id']}, sources=1",
            "[Chat] RAG server error: Connection timeout",
            f"[Session] Deleted: session_id={first['session_id']}, user={alice.id}",
            f"[Bookmark] Created: bookmark_id={bookmark['id']}, user={alice.id}",
        ):
            assert line in lines
