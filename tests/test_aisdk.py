"""The AI SDK's real clients, versions 5, 6 and 7, and a plain fetch reader, against the live service.

They run on SQLite only: what they see is the stream, which is the same on both databases.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from alembic.command import upgrade

from tests.aisdk.clients import VERSIONS, Clients, find_npm, lay_out
from tests.conftest import SignedIn, alembic_config
from tests.rag import BODIES, SOURCES, FakeRag
from tests.rag_stream import GATED_FIRST, GATED_REST
from tests.server import LiveServer, make_settings, running_server

CHAT = "/api/v1/chatbot/chat/"
TURNS = "/api/v1/chatbot/turns"

each_version = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture(scope="module")
async def database_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('aisdk-database')}/ragchat.db"
    await asyncio.to_thread(upgrade, alembic_config(url), "head")
    return url


@pytest.fixture(scope="module")
async def shared_server(database_url: str, rag_server: FakeRag) -> AsyncIterator[LiveServer]:
    """A service that waits for the RAG server longer than a busy machine takes to start node."""
    settings = make_settings(database_url=database_url, runpod_rag_url=rag_server.url, rag_timeout_seconds=20)
    async with running_server(settings) as server:
        yield server


@pytest.fixture(scope="session")
async def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    npm, folder = find_npm(), tmp_path_factory.mktemp("aisdk")
    await asyncio.to_thread(lay_out, npm, folder)
    return folder


@pytest.fixture
async def clients(server: LiveServer, alice: SignedIn, scripts: Path) -> AsyncIterator[Clients]:
    clients = Clients(scripts, server.url, alice.token)
    yield clients
    for client in clients.running:
        await client.stop()


async def turn_of(alice: SignedIn, message: dict[str, Any]) -> dict[str, Any]:
    """The turn that a client's message belongs to, as the service tells it."""
    response = await alice.http.get(f"{TURNS}/{message['metadata']['turn_id']}/")
    turn: dict[str, Any] = response.json()["data"]
    return turn


@each_version
class TestAiSdk:
    async def test_reads_the_whole_answer(
        self, clients: Clients, alice: SignedIn, version: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        page = {"chunk_id": "page", "content": "x", "url": "https://docs.example/list", "title": "목록"}
        body = {"success": True, "answer": "리스트 🙂\n\n튜플", "sources": [*SOURCES, page], "metadata": {"model": "m"}}
        monkeypatch.setitem(BODIES, "page", json.dumps(body).encode())
        end = await (await clients.ai_sdk(version, "send", "body:page")).end()
        question, answer = end["messages"]
        turn = await turn_of(alice, answer)
        assert (end["status"], end.get("error")) == ("ready", None)
        assert end["finishes"] == [{"isAbort": False, "isDisconnect": False, "isError": False}]
        assert question["text"] == "body:page"
        assert answer["text"] == turn["response"] == body["answer"]
        text, sources, url = answer["parts"]
        assert (text["type"], text["state"]) == ("text", "done")
        assert sources == {"type": "data-sources", "data": turn["sources"]}
        assert turn["sources"] == body["sources"]
        assert (url["type"], url["url"], url["title"]) == ("source-url", page["url"], page["title"])
        told = {key: answer["metadata"][key] for key in ("session_id", "turn_id", "question_id", "message_id")}
        assert told == {
            "session_id": turn["session_id"],
            "turn_id": turn["id"],
            "question_id": turn["question_id"],
            "message_id": turn["message_id"],
        }

    async def test_goes_on_in_the_same_session(self, clients: Clients, alice: SignedIn, version: str) -> None:
        end = await (await clients.ai_sdk(version, "conversation", "stream:3")).end()
        first, second = [await turn_of(alice, message) for message in end["messages"][1::2]]
        assert [first["response"], second["response"]] == [message["text"] for message in end["messages"][1::2]]
        assert first["id"] != second["id"]
        assert first["session_id"] == second["session_id"]

    async def test_shows_a_failure_and_asks_again_for_the_same_turn(
        self, clients: Clients, alice: SignedIn, version: str
    ) -> None:
        end = await (await clients.ai_sdk(version, "retry", "status:500")).end()
        _question, answer = end["messages"]
        turn = await turn_of(alice, answer)
        assert end["status"] == "error"
        assert end["error"] == turn["error"]["text"]
        assert answer["parts"][-1] == {"type": "data-error", "data": turn["error"]}
        assert [part["data"]["code"] for part in end["data"]] == ["rag_error", "rag_error"]
        assert (turn["status"], turn["attempt"], answer["metadata"]["attempt"]) == ("failed", 2, 2)

    async def test_shows_a_refusal_with_its_code(self, clients: Clients, version: str) -> None:
        end = await (await clients.ai_sdk(version, "send", "   ")).end()
        assert end["status"] == "error"
        assert json.loads(end["error"])["code"] == "invalid_request"

    async def test_keeps_the_partial_text_of_a_stopped_turn(
        self, clients: Clients, alice: SignedIn, version: str
    ) -> None:
        client = await clients.ai_sdk(version, "send", "gated:stop")
        turn_id = (await client.until("text"))["turn_id"]
        stopped = (await alice.http.post(f"{TURNS}/{turn_id}/stop/")).json()["data"]
        end = await client.end()
        assert stopped["status"] == "cancelled"
        assert (end["status"], end.get("error")) == ("ready", None)
        assert end["messages"][1]["parts"] == [{"type": "text", "text": stopped["response"], "state": "done"}]
        assert stopped["response"] != ""

    @pytest.mark.parametrize("scenario", ["leave", "cut", "drain"])
    async def test_comes_back_and_has_the_whole_text_once(
        self, clients: Clients, alice: SignedIn, rag: FakeRag, version: str, scenario: str
    ) -> None:
        client = await clients.ai_sdk(version, scenario, f"gated:{scenario}")
        await client.until("gone")
        await client.until("response")
        rag.release(scenario)
        end = await client.end()
        assert (end["status"], end.get("error")) == ("ready", None)
        _question, answer = end["messages"]
        turn = await turn_of(alice, answer)
        assert turn["status"] == "completed"
        assert answer["text"] == turn["response"]
        assert len(rag.journal) == 1

    @pytest.mark.parametrize("question", ["once:500", "gated:stopped"])
    async def test_asks_again_for_the_same_turn_on_a_page_that_was_opened_later(
        self, clients: Clients, alice: SignedIn, rag: FakeRag, version: str, question: str
    ) -> None:
        body = (await alice.http.post(CHAT, json={"message": question}, headers={"Prefer": "respond-async"})).json()
        if question == "gated:stopped":
            await rag.until_streaming("stopped")
            await alice.http.post(f"{TURNS}/{body['turn_id']}/stop/")
            rag.release("stopped")
        else:
            await alice.http.get(f"{TURNS}/{body['turn_id']}/stream/")
        client = await clients.ai_sdk(version, "again", str(body["session_id"]))
        end = await client.end()
        turn = (await alice.http.get(f"{TURNS}/{body['turn_id']}/")).json()["data"]
        assert (turn["status"], turn["attempt"], end["status"]) == ("completed", 2, "ready")
        assert [message["role"] for message in end["messages"]] == ["user", "assistant"]
        assert end["messages"][1]["text"] == turn["response"]

    async def test_a_stopped_answer_is_made_again(
        self, clients: Clients, alice: SignedIn, rag: FakeRag, version: str
    ) -> None:
        client = await clients.ai_sdk(version, "stopped", "gated:again")
        await rag.until_streaming("again")
        (session,) = (await alice.http.get("/api/v1/chatbot/sessions/")).json()["data"]
        detail = (await alice.http.get(f"/api/v1/chatbot/sessions/{session['id']}/")).json()["data"]
        await alice.http.post(f"{TURNS}/{detail['active_turn']['id']}/stop/")
        await client.until("stopped")
        rag.release("again")
        end = await client.end()
        assert [message["text"] for message in end["messages"]] == ["gated:again", GATED_FIRST + GATED_REST]
        assert len(rag.journal) == 2

    async def test_joins_on_a_page_that_was_opened_later(
        self, clients: Clients, alice: SignedIn, rag: FakeRag, version: str
    ) -> None:
        asked = await alice.http.post(
            "/api/v1/chatbot/chat/", json={"message": "gated:reload"}, headers={"Prefer": "respond-async"}
        )
        await rag.until_streaming("reload")
        client = await clients.ai_sdk(version, "reload", str(asked.json()["session_id"]))
        await client.until("response")
        rag.release("reload")
        end = await client.end()
        question, answer = end["messages"]
        assert (end["status"], question["text"]) == ("ready", "gated:reload")
        assert answer["text"] == (await turn_of(alice, answer))["response"]


class TestPlainReader:
    async def test_takes_a_lost_connection_up_where_it_broke_off(
        self, clients: Clients, alice: SignedIn, rag: FakeRag
    ) -> None:
        client = await clients.plain("gated:plain")
        assert "last_event_id" not in await client.until("response")
        await client.until("response")
        rag.release("plain")
        chunks = (await client.end())["chunks"]
        first, second = (chunk["messageMetadata"] for chunk in chunks if chunk["type"] == "start")
        deltas = [chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta"]
        turn = await turn_of(alice, {"metadata": first})
        assert (first["offset"], second["offset"]) == (0, len(deltas[0]))
        assert "".join(deltas) == turn["response"]
        assert chunks[-1] == {"type": "finish"}

    async def test_reads_line_separators_inside_of_texts(self, clients: Clients, alice: SignedIn, rag: FakeRag) -> None:
        chunks = (await (await clients.plain("sse:separators")).end())["chunks"]
        deltas = [chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta"]
        assert "".join(deltas) == "a\u2028b\u0085c\u000bd"

    async def test_says_why_it_was_refused(self, clients: Clients) -> None:
        assert (await (await clients.plain("   ")).end())["error"]["code"] == "invalid_request"
