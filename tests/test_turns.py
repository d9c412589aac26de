"""Turns: sent again, looked at, stopped, retried."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from app.models import Message, Turn
from tests.conftest import SignedIn, count, deactivate
from tests.rag import GOOD, SOURCES, FakeRag
from tests.rag_stream import GATED_FIRST, GATED_REST
from tests.server import LiveServer
from tests.streams import Stream, read_stream, streaming

CHAT = "/api/v1/chatbot/chat/"
STREAM = "/api/v1/chatbot/chat/stream/"
TURNS = "/api/v1/chatbot/turns"
KEY = {"Idempotency-Key": "7c0e1c0a-6c1b-4b7e-9a52-1d2f3a4b5c6d"}
ASYNC = {"Prefer": "respond-async"}


async def read_turn(user: SignedIn, turn_id: int) -> dict[str, Any]:
    turn: dict[str, Any] = (await user.http.get(f"{TURNS}/{turn_id}/")).json()["data"]
    return turn


async def finished_turn(user: SignedIn, turn_id: int) -> dict[str, Any]:
    """The turn once its stream has come to its end."""
    await read_stream(user.http, f"{TURNS}/{turn_id}/stream/")
    return await read_turn(user, turn_id)


async def newest_turn(server: LiveServer) -> Turn:
    async with server.database.transaction(read_only=True) as db:
        return (await db.scalars(select(Turn).order_by(Turn.id.desc()).limit(1))).one()


@pytest.fixture
async def patient_alice(patient: LiveServer, alice: SignedIn) -> AsyncIterator[SignedIn]:
    """Alice at a service that does not give a slow RAG server up after a second."""
    async with patient.client(Authorization=f"Bearer {alice.token}") as http:
        yield alice._replace(http=http)


class TestIdempotencyKey:
    @pytest.mark.parametrize("url", [CHAT, STREAM])
    async def test_same_request_gets_the_stored_answer_again(
        self, server: LiveServer, alice: SignedIn, rag: FakeRag, url: str
    ) -> None:
        first = await alice.http.post(url, json={"message": "hi"}, headers=KEY)
        again = await alice.http.post(url, json={"message": "hi"}, headers=KEY)
        assert (first.status_code, again.status_code) == (200, 200)
        assert "idempotent-replayed" not in first.headers
        assert again.headers["idempotent-replayed"] == "true"
        if url == CHAT:
            assert again.json() == first.json()
        assert len(rag.journal) == 1
        assert (await count(server, Turn), await count(server, Message)) == (1, 2)

    async def test_fifty_at_once_are_one_question(self, server: LiveServer, alice: SignedIn, rag: FakeRag) -> None:
        posts = [alice.http.post(CHAT, json={"message": "slow:0.2"}, headers=KEY) for _ in range(50)]
        responses = await asyncio.gather(*posts)
        assert {response.status_code for response in responses} == {200}
        assert len({response.json()["message_id"] for response in responses}) == 1
        assert len(rag.journal) == 1
        assert await count(server, Message) == 2

    async def test_other_request_with_the_key_is_refused(self, alice: SignedIn, rag: FakeRag) -> None:
        session_id = (await alice.http.post(CHAT, json={"message": "hi"}, headers=KEY)).json()["session_id"]
        for body in ({"message": "ho"}, {"message": "hi", "session_id": session_id}):
            response = await alice.http.post(CHAT, json=body, headers=KEY)
            assert (response.status_code, response.json()["code"]) == (422, "idempotency_mismatch")
        assert len(rag.journal) == 1

    async def test_key_of_another_user_is_another_key(self, alice: SignedIn, bob: SignedIn, rag: FakeRag) -> None:
        first = await alice.http.post(CHAT, json={"message": "hi"}, headers=KEY)
        second = await bob.http.post(CHAT, json={"message": "hi"}, headers=KEY)
        assert first.json()["message_id"] != second.json()["message_id"]
        assert "idempotent-replayed" not in second.headers

    async def test_stream_joins_the_turn_of_a_call_that_waits(self, alice: SignedIn, rag: FakeRag) -> None:
        waiting = asyncio.create_task(alice.http.post(CHAT, json={"message": "slow:0.4"}, headers=KEY))
        await rag.until_waiting(1)
        stream = await read_stream(alice.http, STREAM, json={"message": "slow:0.4"}, headers=KEY)
        assert stream.text == (await waiting).json()["data"]["response"] == GOOD["answer"]
        assert len(rag.journal) == 1

    async def test_failed_turn_is_tried_again_without_a_second_question(
        self, server: LiveServer, alice: SignedIn, rag: FakeRag
    ) -> None:
        first = await alice.http.post(CHAT, json={"message": "once:500"}, headers=KEY)
        again = await alice.http.post(CHAT, json={"message": "once:500"}, headers=KEY)
        assert (first.status_code, again.status_code) == (502, 200)
        assert again.json()["session_id"] == first.json()["session_id"]
        assert "idempotent-replayed" not in again.headers
        turn = await read_turn(alice, first.json()["turn_id"])
        assert (turn["status"], turn["attempt"], turn["message_id"]) == ("completed", 2, again.json()["message_id"])
        assert await count(server, Message) == 2

    async def test_key_is_free_again_after_a_day(self, server: LiveServer, alice: SignedIn, rag: FakeRag) -> None:
        first = await alice.http.post(CHAT, json={"message": "hi"}, headers=KEY)
        async with server.database.transaction() as db:
            await db.execute(update(Turn).values(created_at=datetime.now(UTC) - timedelta(hours=24, seconds=1)))
        other = await alice.http.post(CHAT, json={"message": "ho"}, headers=KEY)
        assert other.status_code == 200
        assert other.json()["message_id"] != first.json()["message_id"]

    async def test_deleted_session_takes_its_keys_along(self, alice: SignedIn, rag: FakeRag) -> None:
        first = (await alice.http.post(CHAT, json={"message": "hi"}, headers=KEY)).json()
        await alice.http.delete(f"/api/v1/chatbot/sessions/{first['session_id']}/delete/")
        again = await alice.http.post(CHAT, json={"message": "hi"}, headers=KEY)
        assert again.status_code == 200
        assert again.json()["session_id"] != first["session_id"]

    @pytest.mark.parametrize("key", ["", "a b", "k" * 256, "ключ", "a\tb"])
    async def test_key_that_is_none_is_refused(self, alice: SignedIn, rag: FakeRag, key: str) -> None:
        headers = {"Idempotency-Key": key.encode()}
        response = await alice.http.post(CHAT, json={"message": "hi"}, headers=headers)  # type: ignore[arg-type]
        assert (response.status_code, rag.journal) == (422, [])

    @pytest.mark.parametrize("key", ["k", "k" * 255, '"quoted"', "'; DROP TABLE chat_turns; --".replace(" ", "_")])
    async def test_odd_keys_are_keys(self, alice: SignedIn, rag: FakeRag, key: str) -> None:
        responses = [
            await alice.http.post(CHAT, json={"message": "hi"}, headers={"Idempotency-Key": key}) for _ in range(2)
        ]
        assert responses[0].json() == responses[1].json()
        assert len(rag.journal) == 1

    async def test_two_keys_are_refused(self, alice: SignedIn, rag: FakeRag) -> None:
        headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
        assert (await alice.http.post(CHAT, json={"message": "hi"}, headers=headers)).status_code == 422

    async def test_replay_needs_an_active_user(self, server: LiveServer, alice: SignedIn, rag: FakeRag) -> None:
        await alice.http.post(CHAT, json={"message": "hi"}, headers=KEY)
        await deactivate(server, alice.id)
        assert (await alice.http.post(CHAT, json={"message": "hi"}, headers=KEY)).status_code == 401


class TestRespondAsync:
    @pytest.mark.parametrize("prefer", ["respond-async", "wait=10, Respond-Async", "respond-async; foo=bar"])
    async def test_answer_is_found_at_the_location(self, alice: SignedIn, rag: FakeRag, prefer: str) -> None:
        response = await alice.http.post(CHAT, json={"message": "stream:3"}, headers={"Prefer": prefer})
        body = response.json()
        assert response.status_code == 202
        assert body == {
            "success": True,
            "session_id": body["session_id"],
            "turn_id": body["turn_id"],
            "status": "running",
        }
        assert response.headers["location"] == f"{TURNS}/{body['turn_id']}/"
        turn = await finished_turn(alice, body["turn_id"])
        assert (turn["status"], turn["response"], turn["sources"]) == ("completed", "word0 word1 word2 ", SOURCES)
        assert turn["finished_at"] > turn["created_at"]

    async def test_other_preferences_wait(self, alice: SignedIn, rag: FakeRag) -> None:
        response = await alice.http.post(CHAT, json={"message": "hi"}, headers={"Prefer": "return=minimal"})
        assert response.status_code == 200


class TestSessionDetail:
    async def test_names_the_turn_that_runs_and_those_that_can_be_retried(self, alice: SignedIn, rag: FakeRag) -> None:
        failed = (await alice.http.post(CHAT, json={"message": "status:500"})).json()
        in_session = {"session_id": failed["session_id"]}
        await alice.http.post(CHAT, json={"message": "hi", **in_session})
        body = {"message": "gated:detail", **in_session}
        running = (await alice.http.post(CHAT, json=body, headers=ASYNC)).json()
        detail = (await alice.http.get(f"/api/v1/chatbot/sessions/{failed['session_id']}/")).json()["data"]
        assert (detail["active_turn"]["id"], detail["active_turn"]["status"]) == (running["turn_id"], "running")
        (retryable,) = detail["retryable_turns"]
        assert retryable == await read_turn(alice, failed["turn_id"])
        assert retryable["question_id"] == detail["messages"][0]["id"]
        assert retryable["error"] == {"code": "rag_error", "text": failed["error"], "retryable": True}
        rag.release("detail")


class TestOneAtATime:
    async def test_second_question_is_refused_while_one_runs(self, patient_alice: SignedIn, rag: FakeRag) -> None:
        alice = patient_alice
        running = (await alice.http.post(CHAT, json={"message": "gated:busy"}, headers=ASYNC)).json()
        body = {"message": "second", "session_id": running["session_id"]}
        for url in (CHAT, STREAM):
            refused = await alice.http.post(url, json=body)
            assert (refused.status_code, refused.json()["code"]) == (409, "turn_in_progress")
            assert refused.json()["turn_id"] == running["turn_id"]
        rag.release("busy")
        await finished_turn(alice, running["turn_id"])
        assert (await alice.http.post(CHAT, json=body)).status_code == 200

    async def test_of_fifty_at_once_one_is_accepted(
        self, server: LiveServer, patient_alice: SignedIn, rag: FakeRag
    ) -> None:
        alice = patient_alice
        session_id = (await alice.http.post(CHAT, json={"message": "first"})).json()["session_id"]
        body = {"message": "gated:fifty", "session_id": session_id}
        posts = [alice.http.post(CHAT, json=body, headers={"Idempotency-Key": f"k{k}", **ASYNC}) for k in range(50)]
        statuses = [response.status_code for response in await asyncio.gather(*posts)]
        assert sorted(statuses) == [202] + [409] * 49
        rag.release("fifty")
        assert await count(server, Turn) == 2

    async def test_other_sessions_are_free(self, alice: SignedIn, rag: FakeRag) -> None:
        await alice.http.post(CHAT, json={"message": "gated:own"}, headers=ASYNC)
        assert (await alice.http.post(CHAT, json={"message": "hi"})).status_code == 200
        rag.release("own")


class TestStop:
    async def test_text_so_far_is_kept_as_a_stopped_answer(self, alice: SignedIn, rag: FakeRag) -> None:
        async with streaming(alice.http, STREAM, json={"message": "gated:stop"}) as stream:
            await stream.until_text(GATED_FIRST)
            stopped = (await alice.http.post(f"{TURNS}/{stream.start['turn_id']}/stop/")).json()["data"]
            await stream.read()
        assert (stopped["status"], stopped["response"]) == ("cancelled", GATED_FIRST)
        assert stream.types == ["start", "text-start", "text-delta", "text-end", "message-metadata", "abort"]
        assert stream.is_done
        detail = await alice.http.get(f"/api/v1/chatbot/sessions/{stopped['session_id']}/")
        _, answer = detail.json()["data"]["messages"]
        assert (answer["id"], answer["content"]) == (stopped["message_id"], GATED_FIRST)
        assert answer["metadata"]["status"] == "stopped"
        assert stream.of("message-metadata")["messageMetadata"]["message_id"] == answer["id"]
        await rag.until_gone("stop")

    async def test_stopped_answer_goes_along_with_the_next_question(self, alice: SignedIn, rag: FakeRag) -> None:
        running = (await alice.http.post(CHAT, json={"message": "gated:known"}, headers=ASYNC)).json()
        await rag.until_streaming("known")
        await alice.http.post(f"{TURNS}/{running['turn_id']}/stop/")
        await alice.http.post(CHAT, json={"message": "next", "session_id": running["session_id"]})
        assert [m["content"] for m in rag.journal[-1]["chat_history"]] == ["gated:known", GATED_FIRST]

    async def test_call_that_waits_is_told(self, alice: SignedIn, rag: FakeRag) -> None:
        waiting = asyncio.create_task(alice.http.post(CHAT, json={"message": "slow:0.8"}, headers=KEY))
        await rag.until_waiting(1)
        mine = await alice.http.post(CHAT, json={"message": "slow:0.8"}, headers={**KEY, **ASYNC})
        await alice.http.post(f"{TURNS}/{mine.json()['turn_id']}/stop/")
        response = await waiting
        assert (response.status_code, response.json()["code"]) == (409, "turn_stopped")
        assert response.json()["turn_id"] == mine.json()["turn_id"]

    async def test_turn_that_is_over_stays_as_it_is(self, alice: SignedIn, rag: FakeRag) -> None:
        turn_id = (await read_stream(alice.http, STREAM, json={"message": "stream:2"})).start["turn_id"]
        stopped = [(await alice.http.post(f"{TURNS}/{turn_id}/stop/")).json()["data"] for _ in range(2)]
        assert [turn["status"] for turn in stopped] == ["completed", "completed"]

    async def test_twenty_stops_at_once_are_one(self, alice: SignedIn, rag: FakeRag) -> None:
        running = (await alice.http.post(CHAT, json={"message": "gated:twenty"}, headers=ASYNC)).json()
        await rag.until_streaming("twenty")
        stops = [alice.http.post(f"{TURNS}/{running['turn_id']}/stop/") for _ in range(20)]
        turns = [response.json()["data"] for response in await asyncio.gather(*stops)]
        assert all(turn == turns[0] for turn in turns)
        assert turns[0]["status"] == "cancelled"


class TestRetry:
    async def test_failed_turn_gets_its_answer(self, server: LiveServer, alice: SignedIn, rag: FakeRag) -> None:
        failed = (await alice.http.post(CHAT, json={"message": "once:503"})).json()
        assert (failed["success"], failed["code"]) == (False, "rag_error")
        retried = await alice.http.post(f"{TURNS}/{failed['turn_id']}/retry/")
        assert (retried.status_code, retried.json()["turn_id"]) == (202, failed["turn_id"])
        turn = await finished_turn(alice, failed["turn_id"])
        assert (turn["status"], turn["attempt"], turn["response"]) == ("completed", 2, GOOD["answer"])
        assert await count(server, Message) == 2

    async def test_stopped_answer_is_replaced(self, server: LiveServer, alice: SignedIn, rag: FakeRag) -> None:
        running = (await alice.http.post(CHAT, json={"message": "gated:again"}, headers=ASYNC)).json()
        await rag.until_streaming("again")
        stopped = (await alice.http.post(f"{TURNS}/{running['turn_id']}/stop/")).json()["data"]
        rag.release("again")
        await alice.http.post(f"{TURNS}/{running['turn_id']}/retry/")
        turn = await finished_turn(alice, running["turn_id"])
        assert (turn["message_id"], turn["response"]) == (stopped["message_id"], GATED_FIRST + GATED_REST)
        assert await count(server, Message) == 2

    async def test_stopped_answer_survives_a_retry_that_fails(
        self, server: LiveServer, alice: SignedIn, rag: FakeRag
    ) -> None:
        running = (await alice.http.post(CHAT, json={"message": "gated:kept"}, headers=ASYNC)).json()
        await rag.until_streaming("kept")
        await alice.http.post(f"{TURNS}/{running['turn_id']}/stop/")
        await alice.http.post(f"{TURNS}/{running['turn_id']}/retry/")
        turn = await finished_turn(alice, running["turn_id"])  # nobody releases it: a time-out
        assert (turn["status"], turn["response"]) == ("failed", GATED_FIRST)
        assert turn["error"]["code"] == "rag_timeout"
        detail = await alice.http.get(f"/api/v1/chatbot/sessions/{running['session_id']}/")
        assert [m["content"] for m in detail.json()["data"]["messages"]] == ["gated:kept", GATED_FIRST]

    async def test_late_answer_stands_behind_its_question(self, alice: SignedIn, rag: FakeRag) -> None:
        failed = (await alice.http.post(CHAT, json={"message": "once:500 late"})).json()
        await alice.http.post(CHAT, json={"message": "second", "session_id": failed["session_id"]})
        await alice.http.post(f"{TURNS}/{failed['turn_id']}/retry/")
        await finished_turn(alice, failed["turn_id"])
        detail = await alice.http.get(f"/api/v1/chatbot/sessions/{failed['session_id']}/")
        messages = detail.json()["data"]["messages"]
        assert [m["role"] for m in messages] == ["user", "assistant"] * 2
        assert [m["content"] for m in messages][::2] == ["once:500 late", "second"]
        assert rag.journal[-1]["chat_history"] == []  # what was said after the question is not known to it
        await alice.http.post(CHAT, json={"message": "third", "session_id": failed["session_id"]})
        history = [m["content"] for m in rag.journal[-1]["chat_history"]]
        assert history == ["once:500 late", GOOD["answer"], "second", GOOD["answer"]]

    async def test_answer_of_a_retry_comes_as_a_stream_where_that_is_asked_for(
        self, alice: SignedIn, rag: FakeRag
    ) -> None:
        failed = (await alice.http.post(CHAT, json={"message": "once:500"})).json()
        url, events = f"{TURNS}/{failed['turn_id']}/retry/", {"Accept": "text/event-stream"}
        for _ in range(2):  # the second time it is completed already
            async with alice.http.stream("POST", url, headers=events) as response:
                stream = Stream(response)
                await stream.read()
            assert (stream.text, stream.start["attempt"]) == (GOOD["answer"], 2)
        assert len(rag.journal) == 2

    async def test_completed_turn_is_given_as_it_is(self, alice: SignedIn, rag: FakeRag) -> None:
        turn_id = (await read_stream(alice.http, STREAM, json={"message": "stream:2"})).start["turn_id"]
        response = await alice.http.post(f"{TURNS}/{turn_id}/retry/")
        assert (response.status_code, response.json()["data"]) == (200, await read_turn(alice, turn_id))
        assert len(rag.journal) == 1

    async def test_running_turn_goes_on(self, alice: SignedIn, rag: FakeRag) -> None:
        running = (await alice.http.post(CHAT, json={"message": "gated:once"}, headers=ASYNC)).json()
        response = await alice.http.post(f"{TURNS}/{running['turn_id']}/retry/")
        assert (response.status_code, response.json()) == (202, running)
        rag.release("once")
        assert (await finished_turn(alice, running["turn_id"]))["attempt"] == 1

    async def test_retry_waits_for_the_question_that_runs(self, alice: SignedIn, rag: FakeRag) -> None:
        failed = (await alice.http.post(CHAT, json={"message": "status:500"})).json()
        body = {"message": "gated:first", "session_id": failed["session_id"]}
        running = (await alice.http.post(CHAT, json=body, headers=ASYNC)).json()
        response = await alice.http.post(f"{TURNS}/{failed['turn_id']}/retry/")
        assert (response.status_code, response.json()["code"]) == (409, "turn_in_progress")
        assert response.json()["turn_id"] == running["turn_id"]
        rag.release("first")

    async def test_twenty_retries_at_once_are_one_attempt(self, alice: SignedIn, rag: FakeRag) -> None:
        failed = (await alice.http.post(CHAT, json={"message": "once:500"})).json()
        retries = [alice.http.post(f"{TURNS}/{failed['turn_id']}/retry/") for _ in range(20)]
        assert {response.status_code for response in await asyncio.gather(*retries)} <= {200, 202}
        turn = await finished_turn(alice, failed["turn_id"])
        assert (turn["status"], turn["attempt"], len(rag.journal)) == ("completed", 2, 2)

    async def test_event_id_of_the_attempt_before_starts_anew(self, alice: SignedIn, rag: FakeRag) -> None:
        stream = await read_stream(alice.http, STREAM, json={"message": "once:midway"})
        turn_id, last = stream.start["turn_id"], stream.ids[-1]
        await alice.http.post(f"{TURNS}/{turn_id}/retry/")
        again = await read_stream(alice.http, f"{TURNS}/{turn_id}/stream/", headers={"Last-Event-ID": last})
        assert (again.start["attempt"], again.start["offset"]) == (2, 0)
        assert again.ids[-1] == f"{turn_id}:{len(again.text)}:2"
        assert again.text == GOOD["answer"]


CALLS = [("GET", ""), ("GET", "stream/"), ("POST", "stop/"), ("POST", "retry/")]


class TestOwnership:
    @pytest.mark.parametrize(("method", "path"), CALLS)
    async def test_turns_of_others_are_missing(
        self, alice: SignedIn, bob: SignedIn, rag: FakeRag, method: str, path: str
    ) -> None:
        failed = (await alice.http.post(CHAT, json={"message": "status:500"})).json()
        foreign = await bob.http.request(method, f"{TURNS}/{failed['turn_id']}/{path}")
        unknown = await bob.http.request(method, f"{TURNS}/987654321/{path}")
        assert (foreign.status_code, unknown.status_code) == (404, 404)
        assert {**foreign.json(), "request_id": ""} == {**unknown.json(), "request_id": ""}
        assert len(rag.journal) == 1

    @pytest.mark.parametrize(("method", "path"), CALLS)
    async def test_inactive_user_is_refused(
        self, server: LiveServer, alice: SignedIn, rag: FakeRag, method: str, path: str
    ) -> None:
        failed = (await alice.http.post(CHAT, json={"message": "status:500"})).json()
        await deactivate(server, alice.id)
        response = await alice.http.request(method, f"{TURNS}/{failed['turn_id']}/{path}")
        assert response.status_code == 401


class TestPartial:
    async def test_answer_so_far_is_written_down_while_it_streams(
        self, server: LiveServer, patient: LiveServer, alice: SignedIn, rag: FakeRag
    ) -> None:
        async with patient.client(Authorization=f"Bearer {alice.token}") as http:
            await http.post(CHAT, json={"message": "gated:partial"}, headers=ASYNC)
            async with asyncio.timeout(5):
                while (await newest_turn(server)).partial != GATED_FIRST:  # noqa: ASYNC110 - rows tell nobody
                    await asyncio.sleep(0.1)
            rag.release("partial")
