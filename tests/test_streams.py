"""Streams: what the client reads, and that it is what is stored."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import update

from app.models import User
from app.services.turn_stream import MAX_DELTA_CHARS
from tests.conftest import SignedIn, deactivate, until_idle
from tests.rag import GOOD, LIKE_EVENTS, SOURCES, FakeRag
from tests.rag_stream import GATED_FIRST, GATED_REST, PIECES, PIECES_TEXT
from tests.server import LiveServer
from tests.streams import read_stream, streaming

CHAT = "/api/v1/chatbot/chat/"
STREAM = "/api/v1/chatbot/chat/stream/"
TURNS = "/api/v1/chatbot/turns"
WHOLE = ["start", "text-start", "text-delta", "text-end", "data-sources", "message-metadata", "finish"]


async def stored_messages(user: SignedIn, session_id: int) -> list[dict[str, Any]]:
    detail = await user.http.get(f"/api/v1/chatbot/sessions/{session_id}/")
    messages: list[dict[str, Any]] = detail.json()["data"]["messages"]
    return messages


class TestWholeStream:
    async def test_streamed_answer_is_the_stored_one(self, alice: SignedIn, rag: FakeRag) -> None:
        stream = await read_stream(alice.http, STREAM, json={"message": "stream:20"})
        assert stream.types == WHOLE
        assert stream.is_done
        question, answer = await stored_messages(alice, stream.start["session_id"])
        assert stream.text == answer["content"] == "".join(f"word{k} " for k in range(20))
        assert stream.of("data-sources")["data"] == answer["sources"] == SOURCES
        about = stream.of("message-metadata")["messageMetadata"]
        assert (about["message_id"], about["metadata"]) == (answer["id"], answer["metadata"])
        assert stream.start["question_id"] == question["id"]
        assert "text/event-stream" in rag.heads[0]

    async def test_headers_are_those_of_the_ai_sdk_and_keep_proxies_from_collecting(
        self, alice: SignedIn, rag: FakeRag
    ) -> None:
        headers = (await read_stream(alice.http, STREAM, json={"message": "stream:1"})).response.headers
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert headers["x-vercel-ai-ui-message-stream"] == "v1"
        assert headers["x-accel-buffering"] == "no"
        assert headers["cache-control"] == "no-store"

    async def test_each_event_has_an_id_that_counts_code_points(self, alice: SignedIn, rag: FakeRag) -> None:
        stream = await read_stream(alice.http, STREAM, json={"message": "sse:one-byte"})
        assert stream.text == PIECES_TEXT  # an emoji and Korean, one byte a packet
        turn_id = stream.start["turn_id"]
        assert len(stream.ids) == len(stream.chunks) + 1
        assert stream.ids[0] == f"{turn_id}:0"
        assert stream.ids[-1] == f"{turn_id}:{len(PIECES_TEXT)}"

    async def test_rag_server_that_knows_json_only_streams_as_one_piece(self, alice: SignedIn, rag: FakeRag) -> None:
        stream = await read_stream(alice.http, STREAM, json={"message": "hello"})
        assert (stream.types, stream.text) == (WHOLE, GOOD["answer"])

    async def test_long_answer_comes_in_bounded_pieces(self, alice: SignedIn, rag: FakeRag) -> None:
        stream = await read_stream(alice.http, STREAM, json={"message": "sse:big:100000"})
        assert stream.text == "가" * 100_000
        assert max(len(c["delta"]) for c in stream.chunks if c["type"] == "text-delta") <= MAX_DELTA_CHARS

    async def test_answer_that_looks_like_events_stays_text(self, alice: SignedIn, rag: FakeRag) -> None:
        stream = await read_stream(alice.http, STREAM, json={"message": "body:events"})
        assert stream.text == LIKE_EVENTS
        assert stream.types == WHOLE

    async def test_sources_with_addresses_become_links_unless_they_would_run(
        self, alice: SignedIn, rag: FakeRag
    ) -> None:
        stream = await read_stream(alice.http, STREAM, json={"message": "body:links"})
        links = [chunk for chunk in stream.chunks if chunk["type"] == "source-url"]
        assert links == [
            {"type": "source-url", "sourceId": "a", "url": "https://docs.example/a", "title": "A"},
            {"type": "source-url", "sourceId": "2", "url": "HTTP://docs.example/b"},
        ]
        assert len(stream.of("data-sources")["data"]) == 4


class TestFailure:
    @pytest.mark.parametrize(
        ("question", "code", "text"),
        [
            ("status:500", "rag_error", ""),
            ("sse:error-midway", "rag_refused", "".join(PIECES[:2])),
            ("sse:no-done", "rag_error", PIECES_TEXT),
            ("sse:not-json", "rag_bad_answer", "".join(PIECES[:2])),
        ],
    )
    async def test_failure_is_two_events_and_can_be_read_later(
        self, alice: SignedIn, rag: FakeRag, question: str, code: str, text: str
    ) -> None:
        stream = await read_stream(alice.http, STREAM, json={"message": question})
        assert stream.types[-2:] == ["data-error", "error"]
        failure = stream.of("data-error")["data"]
        assert (failure["code"], failure["retryable"]) == (code, True)
        assert stream.of("error")["errorText"] == failure["text"]
        assert stream.is_done
        turn = (await alice.http.get(f"{TURNS}/{stream.start['turn_id']}/")).json()["data"]
        assert (turn["status"], turn["message_id"], turn["response"]) == ("failed", None, stream.text)
        assert turn["error"] == failure
        assert stream.text == text
        assert [m["role"] for m in await stored_messages(alice, stream.start["session_id"])] == ["user"]

    async def test_failure_speaks_the_language_of_the_client(self, alice: SignedIn, rag: FakeRag) -> None:
        english = {"Accept-Language": "en"}
        stream = await read_stream(alice.http, STREAM, json={"message": "status:500"}, headers=english)
        assert stream.of("error")["errorText"] == "The RAG server failed."

    @pytest.mark.parametrize(
        ("body", "status"), [({"message": " "}, 422), ({"message": "x", "session_id": 9}, 404), ({}, 422)]
    )
    async def test_what_can_be_refused_is_refused_before_the_stream(
        self, alice: SignedIn, rag: FakeRag, body: dict[str, Any], status: int
    ) -> None:
        response = await alice.http.post(STREAM, json=body)
        assert (response.status_code, response.json()["success"]) == (status, False)


class TestLeaving:
    async def test_answer_is_stored_when_the_client_leaves_and_found_on_return(
        self, alice: SignedIn, rag: FakeRag
    ) -> None:
        async with streaming(alice.http, STREAM, json={"message": "gated:leave"}) as stream:
            await stream.until_text(GATED_FIRST)
        session = (await alice.http.get(f"/api/v1/chatbot/sessions/{stream.start['session_id']}/")).json()["data"]
        assert session["active_turn"]["id"] == stream.start["turn_id"]
        async with streaming(alice.http, f"{TURNS}/{stream.start['turn_id']}/stream/") as again:
            await again.until_text(GATED_FIRST)
            rag.release("leave")
            await again.read()
        assert again.text == GATED_FIRST + GATED_REST
        messages = await stored_messages(alice, stream.start["session_id"])
        assert [m["content"] for m in messages] == ["gated:leave", again.text]
        session = (await alice.http.get(f"/api/v1/chatbot/sessions/{stream.start['session_id']}/")).json()["data"]
        assert session["active_turn"] is None

    async def test_resumed_stream_goes_on_behind_the_last_event(self, alice: SignedIn, rag: FakeRag) -> None:
        async with streaming(alice.http, STREAM, json={"message": "gated:resume"}) as stream:
            await stream.until_text(GATED_FIRST)
        last = stream.ids[len(stream.chunks) - 1]
        url = f"{TURNS}/{stream.start['turn_id']}/stream/"
        async with streaming(alice.http, url, headers={"Last-Event-ID": last}) as rest:
            rag.release("resume")
            await rest.read()
        assert (rest.start["offset"], rest.text) == (len(GATED_FIRST), GATED_REST)
        assert rest.types == WHOLE

    @pytest.mark.parametrize("question", ["stream:5", "status:500", "hello"])
    async def test_turn_that_is_over_is_replayed(self, alice: SignedIn, rag: FakeRag, question: str) -> None:
        stream = await read_stream(alice.http, STREAM, json={"message": question})
        replay = await read_stream(alice.http, f"{TURNS}/{stream.start['turn_id']}/stream/")
        assert (replay.text, replay.types) == (stream.text, stream.types)
        assert replay.chunks[-1] == stream.chunks[-1]
        assert len(rag.journal) == 1

    async def test_resume_after_the_end_gives_the_rest_and_the_end(self, alice: SignedIn, rag: FakeRag) -> None:
        stream = await read_stream(alice.http, STREAM, json={"message": "stream:5"})
        url = f"{TURNS}/{stream.start['turn_id']}/stream/"
        rest = await read_stream(alice.http, url, headers={"Last-Event-ID": f"{stream.start['turn_id']}:6"})
        assert (rest.text, rest.types) == (stream.text[6:], WHOLE)
        nothing = await read_stream(alice.http, url, headers={"Last-Event-ID": stream.ids[-1]})
        assert (nothing.text, nothing.types) == ("", [kind for kind in WHOLE if kind != "text-delta"])

    @pytest.mark.parametrize(
        "last",
        ["-1", "x", "1", ":", "0:1", "{turn}:-1", "{turn}:x", "{turn}:1e3", "{turn}:99999999999", "٣:1"],
    )
    async def test_event_id_of_something_else_is_refused(self, alice: SignedIn, rag: FakeRag, last: str) -> None:
        turn_id = (await read_stream(alice.http, STREAM, json={"message": "stream:1"})).start["turn_id"]
        headers = {"Last-Event-ID": last.format(turn=turn_id).encode()}
        response = await alice.http.get(f"{TURNS}/{turn_id}/stream/", headers=headers)  # type: ignore[arg-type]
        assert (response.status_code, response.json()["fields"][0]["field"]) == (422, "Last-Event-ID")

    async def test_two_event_ids_are_refused(self, alice: SignedIn, rag: FakeRag) -> None:
        turn_id = (await read_stream(alice.http, STREAM, json={"message": "stream:1"})).start["turn_id"]
        twice = [("Last-Event-ID", f"{turn_id}:1"), ("Last-Event-ID", f"{turn_id}:2")]
        assert (await alice.http.get(f"{TURNS}/{turn_id}/stream/", headers=twice)).status_code == 422


class TestManyViewers:
    async def test_all_see_the_same_text(self, alice: SignedIn, rag: FakeRag) -> None:
        async with streaming(alice.http, STREAM, json={"message": "gated:many"}) as stream:
            await stream.until_text(GATED_FIRST)
            url = f"{TURNS}/{stream.start['turn_id']}/stream/"
            others = [asyncio.create_task(read_stream(alice.http, url)) for _ in range(5)]
            rag.release("many")
            await stream.read()
        assert {other.text for other in await asyncio.gather(*others)} == {stream.text} == {GATED_FIRST + GATED_REST}
        assert len(rag.journal) == 1

    async def test_no_connection_is_held_while_the_answer_streams(
        self, server: LiveServer, alice: SignedIn, rag: FakeRag
    ) -> None:
        asking = [
            asyncio.create_task(read_stream(alice.http, STREAM, json={"message": "gated:pool"})) for _ in range(20)
        ]
        await rag.until_streaming("pool", 20)
        await until_idle(server)
        rag.release("pool")
        assert {stream.text for stream in await asyncio.gather(*asking)} == {GATED_FIRST + GATED_REST}

    async def test_viewers_of_a_user_who_is_shut_out_are_sent_away(
        self, patient: LiveServer, server: LiveServer, alice: SignedIn, rag: FakeRag
    ) -> None:
        async with (
            patient.client(Authorization=f"Bearer {alice.token}") as http,
            streaming(http, STREAM, json={"message": "gated:guard"}) as stream,
        ):
            await stream.until_text(GATED_FIRST)
            await deactivate(server, alice.id)
            async with asyncio.timeout(5):
                await stream.read()
            async with server.database.transaction() as db:
                await db.execute(update(User).values(is_active=True))
            again = stream
            async with asyncio.timeout(5):
                while "data-error" in again.types:  # until the keeper has noticed, and the turn has ended
                    again = await read_stream(http, f"{TURNS}/{stream.start['turn_id']}/stream/")
                    rag.release("guard")
            assert again.types == WHOLE
        assert stream.of("data-error")["data"]["code"] == "not_authenticated"
