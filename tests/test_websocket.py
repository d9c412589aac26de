"""The chat over a WebSocket."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from jose import jwt
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from app.core.tokens import TokenKind
from app.routers.chat_ws import MAX_CALLS, MAX_CONNECTIONS_PER_USER
from tests.conftest import SignedIn, deactivate
from tests.rag import SOURCES, FakeRag
from tests.rag_stream import GATED_FIRST, GATED_REST
from tests.server import SECRET, LiveServer

PATH = "/api/v1/chatbot/ws/"
SPA = "https://spa.example"


class Socket:
    """One connection, in JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, **frame: object) -> None:
        await self.connection.send(json.dumps(frame))

    async def receive(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(await self.connection.recv())
        return frame

    async def read_turn(self, ref: str | None = None) -> list[dict[str, Any]]:
        """The chunks of the turn with this ref, up to its end."""
        chunks = []
        while (frame := await self.receive())["type"] != "done":
            assert (frame["type"], frame.get("ref")) == ("event", ref)
            chunks.append(frame["event"])
        return chunks

    async def until_closed(self) -> int:
        await self.connection.wait_closed()
        assert self.connection.close_code
        return self.connection.close_code


@asynccontextmanager
async def socket(server: LiveServer, path: str = PATH, **options: Any) -> AsyncIterator[Socket]:  # noqa: ANN401
    async with connect(server.url.replace("http", "ws") + path, proxy=None, **options) as connection:
        yield Socket(connection)


@asynccontextmanager
async def signed_in(server: LiveServer, user: SignedIn) -> AsyncIterator[Socket]:
    async with socket(server) as ws:
        await ws.send(type="auth", token=user.token)
        assert await ws.receive() == {"type": "ready"}
        yield ws


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta")


class TestChat:
    async def test_answer_comes_as_the_events_of_the_stream(
        self, server: LiveServer, alice: SignedIn, rag: FakeRag
    ) -> None:
        async with signed_in(server, alice) as ws:
            await ws.send(type="chat", message="stream:3", ref="a")
            chunks = await ws.read_turn("a")
        assert chunks[0]["type"] == "start"
        assert text_of(chunks) == "word0 word1 word2 "
        assert {"type": "data-sources", "data": SOURCES} in chunks
        assert chunks[-1] == {"type": "finish"}
        detail = await alice.http.get(f"/api/v1/chatbot/sessions/{chunks[0]['messageMetadata']['session_id']}/")
        assert detail.json()["data"]["messages"][1]["content"] == text_of(chunks)

    async def test_one_connection_carries_several_turns(
        self, server: LiveServer, alice: SignedIn, rag: FakeRag
    ) -> None:
        async with signed_in(server, alice) as ws:
            await ws.send(type="chat", message="gated:slow", ref="slow")
            while (await ws.receive())["event"].get("delta") != GATED_FIRST:
                pass
            await ws.send(type="chat", message="stream:2", ref="quick")
            assert text_of(await ws.read_turn("quick")) == "word0 word1 "
            rag.release("slow")
            assert text_of(await ws.read_turn("slow")) == GATED_REST

    async def test_turn_is_stopped(self, server: LiveServer, alice: SignedIn, rag: FakeRag) -> None:
        async with signed_in(server, alice) as ws:
            await ws.send(type="chat", message="gated:stop")
            while (frame := await ws.receive())["event"].get("delta") != GATED_FIRST:
                pass
            await ws.send(type="stop", turn_id=frame["turn_id"], ref="s")
            frames = [await ws.receive() for _ in range(5)]
        assert [f["event"]["type"] for f in frames if f["type"] == "event"] == ["text-end", "message-metadata", "abort"]
        (turn,) = (frame for frame in frames if frame["type"] == "turn")
        assert (turn["ref"], turn["data"]["status"], turn["data"]["response"]) == ("s", "cancelled", GATED_FIRST)

    async def test_client_that_comes_back_resumes(self, server: LiveServer, alice: SignedIn, rag: FakeRag) -> None:
        async with signed_in(server, alice) as ws:
            await ws.send(type="chat", message="gated:back")
            while (frame := await ws.receive())["event"].get("delta") != GATED_FIRST:
                pass
        async with signed_in(server, alice) as ws:
            await ws.send(type="resume", turn_id=frame["turn_id"], last_event_id=frame["id"])
            rag.release("back")
            chunks = await ws.read_turn()
        assert text_of(chunks) == GATED_REST
        assert chunks[0]["messageMetadata"]["offset"] == len(GATED_FIRST)

    async def test_key_joins_the_same_turn(self, server: LiveServer, alice: SignedIn, rag: FakeRag) -> None:
        async with signed_in(server, alice) as ws:
            for _ in range(2):
                await ws.send(type="chat", message="stream:2", idempotency_key="k")
                assert text_of(await ws.read_turn()) == "word0 word1 "
        assert len(rag.journal) == 1

    @pytest.mark.parametrize(
        ("frame", "code"),
        [
            ({"type": "chat", "message": " "}, "invalid_request"),
            ({"type": "chat", "message": 5}, "invalid_request"),
            ({"type": "chat", "message": "a\0b"}, "invalid_request"),
            ({"type": "chat", "message": "x", "session_id": 2**63}, "invalid_request"),
            ({"type": "chat", "message": "x", "session_id": 999}, "not_found"),
            ({"type": "chat", "message": "x", "idempotency_key": ""}, "invalid_request"),
            ({"type": "resume", "turn_id": 999}, "not_found"),
            ({"type": "resume"}, "invalid_request"),
            ({"type": "stop", "turn_id": 999}, "not_found"),
            ({"type": "stop", "turn_id": True}, "invalid_request"),
        ],
    )
    async def test_refused_frame_gets_the_error_envelope_and_the_next_one_works(
        self, server: LiveServer, alice: SignedIn, rag: FakeRag, frame: dict[str, object], code: str
    ) -> None:
        async with signed_in(server, alice) as ws:
            await ws.send(**frame, ref="r")
            error = await ws.receive()
            assert (error["type"], error["success"], error["code"], error["ref"]) == ("error", False, code, "r")
            assert error["request_id"]
            await ws.send(type="chat", message="stream:1")
            assert text_of(await ws.read_turn()) == "word0 "

    async def test_turns_of_others_are_missing(
        self, server: LiveServer, alice: SignedIn, bob: SignedIn, rag: FakeRag
    ) -> None:
        failed = (await alice.http.post("/api/v1/chatbot/chat/", json={"message": "status:500"})).json()
        async with signed_in(server, bob) as ws:
            for kind in ("resume", "stop"):
                await ws.send(type=kind, turn_id=failed["turn_id"])
                assert (await ws.receive())["code"] == "not_found"

    async def test_calls_past_the_limit_are_refused(self, server: LiveServer, alice: SignedIn, rag: FakeRag) -> None:
        async with signed_in(server, alice) as ws:
            for k in range(MAX_CALLS + 1):
                await ws.send(type="chat", message="gated:limit", ref=str(k))
            while (frame := await ws.receive())["type"] == "event":
                pass
            assert (frame["code"], frame["ref"]) == ("overloaded", str(MAX_CALLS))
            rag.release("limit")

    async def test_bug_is_answered_and_logged_and_the_connection_goes_on(
        self, server: LiveServer, alice: SignedIn, rag: FakeRag, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with signed_in(server, alice) as ws:
            chat = server.services.chat
            object.__setattr__(server.services, "chat", None)  # a hole stands for any bug
            await ws.send(type="chat", message="hi", ref="r")
            error = await ws.receive()
            object.__setattr__(server.services, "chat", chat)
            assert (error["code"], error["ref"]) == ("internal_error", "r")
            await ws.send(type="chat", message="stream:1")
            assert text_of(await ws.read_turn()) == "word0 "
        assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


class TestAuthentication:
    async def test_token_can_come_as_a_sub_protocol(self, server: LiveServer, alice: SignedIn, rag: FakeRag) -> None:
        async with socket(server, subprotocols=["ragchat.v1", f"bearer.{alice.token}"]) as ws:
            assert ws.connection.subprotocol == "ragchat.v1"
            assert await ws.receive() == {"type": "ready"}

    @pytest.mark.parametrize(
        "frame",
        [
            {"type": "auth", "token": "x"},
            {"type": "auth", "token": ""},
            {"type": "auth"},
            {"type": "auth", "token": "x" * 5000},
            {"type": "chat", "message": "hi"},
        ],
    )
    async def test_without_a_token_it_is_closed(
        self, server: LiveServer, rag: FakeRag, frame: dict[str, object]
    ) -> None:
        async with socket(server) as ws:
            await ws.send(**frame)
            assert await ws.until_closed() == 4401
        assert rag.journal == []

    async def test_token_in_the_url_opens_nothing_and_is_not_logged(
        self, server: LiveServer, alice: SignedIn, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with socket(server, f"{PATH}?token={alice.token}&access_token={alice.token}") as ws:
            await ws.send(type="chat", message="hi")
            assert await ws.until_closed() == 4401
        assert not any(
            alice.token in record.getMessage() for record in caplog.records if record.name != "websockets.client"
        )

    async def test_silent_client_is_closed(self, server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.routers.chat_ws.AUTH_SECONDS", 0.1)
        async with socket(server) as ws:
            assert await ws.until_closed() == 4401

    async def test_connection_ends_with_its_token_unless_a_fresh_one_came(
        self, server: LiveServer, alice: SignedIn, bob: SignedIn
    ) -> None:
        now = int(time.time())
        short = jwt.encode({"sub": str(alice.id), "type": "access", "iat": now, "exp": now + 1}, SECRET)
        async with socket(server) as fleeting, socket(server) as lasting:
            for ws in (fleeting, lasting):
                await ws.send(type="auth", token=short)
                assert await ws.receive() == {"type": "ready"}
            await lasting.send(type="auth", token=alice.token)
            assert await lasting.receive() == {"type": "ready"}
            assert await fleeting.until_closed() == 4401
            await lasting.send(type="auth", token=bob.token)
            assert await lasting.until_closed() == 4401

    async def test_refresh_token_is_no_access_token(self, server: LiveServer, alice: SignedIn) -> None:
        async with socket(server) as ws:
            await ws.send(type="auth", token=server.services.tokens.issue(alice.id, TokenKind.REFRESH))
            assert await ws.until_closed() == 4401

    async def test_user_who_is_shut_out_is_told_and_closed(
        self, server: LiveServer, alice: SignedIn, rag: FakeRag
    ) -> None:
        async with signed_in(server, alice) as ws:
            await deactivate(server, alice.id)
            await ws.send(type="chat", message="hi")
            assert (await ws.receive())["code"] == "not_authenticated"
            assert await ws.until_closed() == 4401

    @pytest.mark.parametrize(
        "origin", ["https://evil.example", "null", "https://spa.example.evil", "http://spa.example"]
    )
    async def test_other_origins_are_refused_before_they_are_in(self, server: LiveServer, origin: str) -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with socket(server, origin=origin):
                pass
        assert refused.value.response.status_code == 403

    async def test_own_and_configured_origins_are_welcome(self, server: LiveServer, alice: SignedIn) -> None:
        for origin in (SPA, server.url):
            async with socket(server, origin=origin) as ws:
                await ws.send(type="auth", token=alice.token)
                assert await ws.receive() == {"type": "ready"}


UNREADABLE = ("", "x", "[]", "null", "5", "{}", '{"type": "x"}', '{"type": ["chat"]}', '{"type": NaN}', "[" * 5000)


class TestBadFrames:
    @pytest.mark.parametrize(
        "frame",
        [
            "",
            "x",
            "[]",
            "null",
            "5",
            "{}",
            '{"type": "x"}',
            '{"type": ["chat"]}',
            '{"type": NaN}',
            "[" * 5000,
            b"{}",
            b"\0",
        ],
    )
    async def test_frame_that_cannot_be_read_closes(
        self, server: LiveServer, alice: SignedIn, frame: str | bytes
    ) -> None:
        async with signed_in(server, alice) as ws:
            await ws.connection.send(frame)
            assert await ws.until_closed() == 4400

    async def test_half_a_character_closes(self, server: LiveServer, alice: SignedIn) -> None:
        async with signed_in(server, alice) as ws:
            await ws.connection.send('{"type": "chat", "message": "\\ud800"}')
            assert await ws.until_closed() == 4400

    async def test_huge_frame_closes(self, server: LiveServer, alice: SignedIn) -> None:
        async with signed_in(server, alice) as ws:
            await ws.connection.send(json.dumps({"type": "chat", "message": "x" * 2_000_000}))
            assert await ws.until_closed() == 1009

    async def test_connections_per_user_are_limited(self, server: LiveServer, alice: SignedIn, bob: SignedIn) -> None:
        async def hold(opened: asyncio.Event, enough: asyncio.Event) -> None:
            async with signed_in(server, alice):
                opened.set()
                await enough.wait()

        enough, opened = asyncio.Event(), [asyncio.Event() for _ in range(MAX_CONNECTIONS_PER_USER)]
        holding = [asyncio.create_task(hold(event, enough)) for event in opened]
        await asyncio.gather(*(event.wait() for event in opened))
        async with socket(server) as ws:
            await ws.send(type="auth", token=alice.token)
            assert await ws.until_closed() == 4429
        async with signed_in(server, bob):
            pass
        enough.set()
        await asyncio.gather(*holding)
        async with signed_in(server, alice):
            pass
