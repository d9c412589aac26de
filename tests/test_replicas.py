"""Two replicas on one PostgreSQL: joining and stopping across them, leases, deletion, draining."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import httpx
import pytest
from alembic.command import upgrade
from sqlalchemy import select, text, update

from app.models import Turn, TurnStatus
from tests.conftest import SignedIn, alembic_config, sign_up
from tests.postgres import create_database
from tests.rag import FakeRag
from tests.rag_stream import GATED_FIRST, GATED_REST
from tests.server import LiveServer, make_settings, running_server
from tests.streams import Stream, read_stream, streaming

CHAT = "/api/v1/chatbot/chat/"
STREAM = "/api/v1/chatbot/chat/stream/"
TURNS = "/api/v1/chatbot/turns"
ASYNC = {"Prefer": "respond-async"}
LONG_AGO = timedelta(minutes=1)


class Replicas(NamedTuple):
    """Two services, and one user's client of each."""

    first: LiveServer
    second: LiveServer
    here: httpx.AsyncClient
    there: httpx.AsyncClient


@pytest.fixture(scope="module")
async def replicated_url(postgres: str) -> str:
    url = await create_database(postgres, "replicated")
    await asyncio.to_thread(upgrade, alembic_config(url), "head")
    return url


@pytest.fixture
async def replicas(replicated_url: str, rag: FakeRag) -> AsyncIterator[Replicas]:
    settings = make_settings(database_url=replicated_url, runpod_rag_url=rag.url, rag_timeout_seconds=30)
    async with running_server(settings) as first, running_server(settings) as second:
        user = await sign_up(first, f"user{datetime.now(UTC).timestamp()}")
        there = second.client(Authorization=f"Bearer {user.token}")
        yield Replicas(first, second, user.http, there)
        await user.http.aclose()
        await there.aclose()


async def ask(http: httpx.AsyncClient, message: str) -> int:
    """Ask without waiting; the turn's id."""
    turn_id: int = (await http.post(CHAT, json={"message": message}, headers=ASYNC)).json()["turn_id"]
    return turn_id


async def read_turn(http: httpx.AsyncClient, turn_id: int) -> dict[str, Any]:
    turn: dict[str, Any] = (await http.get(f"{TURNS}/{turn_id}/")).json()["data"]
    return turn


async def change(server: LiveServer, turn_id: int, **values: object) -> None:
    async with server.database.transaction() as db:
        await db.execute(update(Turn).where(Turn.id == turn_id).values(**values))


async def until_ended(server: LiveServer, turn_id: int) -> Turn:
    async with asyncio.timeout(20):
        while True:
            async with server.database.transaction(read_only=True) as db:
                turn = (await db.scalars(select(Turn).where(Turn.id == turn_id))).one()
            if turn.status is not TurnStatus.RUNNING:
                return turn
            await asyncio.sleep(0.1)


async def until_waiting_for_locks(server: LiveServer, number: int) -> None:
    statement = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    async with asyncio.timeout(5), server.database.transaction(read_only=True) as db:
        while (await db.execute(statement)).scalar_one() < number:  # noqa: ASYNC110 - locks tell nobody
            await asyncio.sleep(0.01)


class TestFollowing:
    async def test_viewer_on_another_replica_sees_the_same_text(self, replicas: Replicas, rag: FakeRag) -> None:
        turn_id = await ask(replicas.here, "gated:follow")
        async with streaming(replicas.there, f"{TURNS}/{turn_id}/stream/") as stream:
            await stream.until_text(GATED_FIRST)  # from the partial answer, which is written every two seconds
            rag.release("follow")
            await stream.read()
        assert stream.text == GATED_FIRST + GATED_REST == (await read_turn(replicas.there, turn_id))["response"]
        assert stream.types[-2:] == ["message-metadata", "finish"]

    async def test_stream_resumes_on_another_replica(self, replicas: Replicas, rag: FakeRag) -> None:
        async with streaming(replicas.here, STREAM, json={"message": "gated:resume"}) as stream:
            await stream.until_text(GATED_FIRST)
        url = f"{TURNS}/{stream.start['turn_id']}/stream/"
        async with streaming(replicas.there, url, headers={"Last-Event-ID": stream.ids[-1]}) as rest:
            rag.release("resume")
            await rest.read()
        assert stream.text + rest.text == GATED_FIRST + GATED_REST

    async def test_many_viewers_cost_one_statement_a_second(self, replicas: Replicas, rag: FakeRag) -> None:
        turn_id = await ask(replicas.here, "gated:cheap")
        url = f"{TURNS}/{turn_id}/stream/"

        async def view() -> Stream:
            return await read_stream(replicas.there, url)

        viewers = [asyncio.create_task(view()) for _ in range(20)]
        async with asyncio.timeout(10):
            while sum(v.viewers for v in replicas.second.services.chat._follower) < 20:  # noqa: SLF001, ASYNC110
                await asyncio.sleep(0.05)
        with replicas.second.statements() as statements:
            await asyncio.sleep(3)
        followed = [statement for statement, _ in statements if "chat_turns" in statement and "question" in statement]
        assert 2 <= len(followed) <= 4
        rag.release("cheap")
        assert {stream.text for stream in await asyncio.gather(*viewers)} == {GATED_FIRST + GATED_REST}

    async def test_same_key_joins_across_replicas(self, replicas: Replicas, rag: FakeRag) -> None:
        key = {"Idempotency-Key": "across"}
        posts = [http.post(CHAT, json={"message": "slow:0.5"}, headers=key) for http in replicas[2:] * 10]
        responses = await asyncio.gather(*posts)
        assert {response.status_code for response in responses} == {200}
        assert len({response.json()["message_id"] for response in responses}) == 1
        assert len(rag.journal) == 1

    async def test_stop_reaches_the_replica_that_works(self, replicas: Replicas, rag: FakeRag) -> None:
        async with streaming(replicas.here, STREAM, json={"message": "gated:stop"}) as stream:
            await stream.until_text(GATED_FIRST)
            turn_id = stream.start["turn_id"]
            stopped = (await replicas.there.post(f"{TURNS}/{turn_id}/stop/")).json()["data"]
            await stream.read()
        assert (stopped["status"], stopped["response"]) == ("cancelled", GATED_FIRST)
        assert stream.chunks[-1] == {"type": "abort"}
        await rag.until_gone("stop")


class TestLease:
    async def test_turn_whose_owner_is_gone_is_interrupted_and_can_be_retried(
        self, replicas: Replicas, rag: FakeRag
    ) -> None:
        turn_id = await ask(replicas.here, "gated:gone")
        await rag.until_streaming("gone")
        # Its owner is another now, who does not renew the lease.
        await change(replicas.first, turn_id, owner="gone", lease_expires_at=datetime.now(UTC) - LONG_AGO)
        turn = await until_ended(replicas.second, turn_id)
        assert (turn.status, turn.error_code) == (TurnStatus.INTERRUPTED, "turn_interrupted")
        await rag.until_gone("gone")  # the first replica has noticed, and stopped
        rag.release("gone")
        assert (await replicas.there.post(f"{TURNS}/{turn_id}/retry/")).status_code == 202
        assert (await read_stream(replicas.here, f"{TURNS}/{turn_id}/stream/")).text == GATED_FIRST + GATED_REST

    async def test_attempt_that_was_ended_stores_nothing(self, replicas: Replicas, rag: FakeRag) -> None:
        waiting = asyncio.create_task(replicas.here.post(CHAT, json={"message": "gated:late"}))
        await rag.until_streaming("late")
        async with replicas.first.database.transaction() as db:
            turn_id: int = (await db.scalars(select(Turn.id).order_by(Turn.id.desc()).limit(1))).one()
        await change(replicas.first, turn_id, status=TurnStatus.INTERRUPTED, error_code="turn_interrupted")
        rag.release("late")
        response = await waiting
        assert (response.status_code, response.json()["code"]) == (503, "turn_interrupted")
        assert (await read_turn(replicas.here, turn_id))["message_id"] is None

    async def test_retry_where_the_lost_attempt_still_runs_is_the_only_one(
        self, replicas: Replicas, rag: FakeRag
    ) -> None:
        turn_id = await ask(replicas.here, "gated:twice")
        await rag.until_streaming("twice")
        await change(replicas.first, turn_id, status=TurnStatus.INTERRUPTED, error_code="turn_interrupted")
        async with streaming(replicas.here, f"{TURNS}/{turn_id}/stream/"):
            assert (await replicas.here.post(f"{TURNS}/{turn_id}/retry/")).status_code == 202
        await rag.until_gone("twice")  # the first attempt is given up at once
        rag.release("twice")
        stream = await read_stream(replicas.here, f"{TURNS}/{turn_id}/stream/")
        assert (stream.start["attempt"], stream.text) == (2, GATED_FIRST + GATED_REST)
        turn = await read_turn(replicas.here, turn_id)
        assert (turn["status"], turn["attempt"], turn["response"]) == ("completed", 2, stream.text)

    async def test_viewer_of_an_attempt_that_was_replaced_elsewhere_is_told(
        self, replicas: Replicas, rag: FakeRag
    ) -> None:
        turn_id = await ask(replicas.here, "gated:replaced")
        async with streaming(replicas.there, f"{TURNS}/{turn_id}/stream/") as former:
            await former.until_text(GATED_FIRST)
            assert (await replicas.here.post(f"{TURNS}/{turn_id}/stop/")).status_code == 200
            assert (await replicas.here.post(f"{TURNS}/{turn_id}/retry/")).status_code == 202
            async with streaming(replicas.there, f"{TURNS}/{turn_id}/stream/") as latter:
                await former.read()
                rag.release("replaced")
                await latter.read()
        assert former.is_done
        assert (latter.start["attempt"], latter.text) == (2, GATED_FIRST + GATED_REST)

    async def test_lease_is_renewed_while_the_owner_lives(self, replicas: Replicas, rag: FakeRag) -> None:
        turn_id = await ask(replicas.here, "gated:alive")
        before = datetime.now(UTC) + timedelta(seconds=1)
        await change(replicas.first, turn_id, lease_expires_at=before)
        async with asyncio.timeout(10):
            while True:
                async with replicas.second.database.transaction(read_only=True) as db:
                    expires = (await db.scalars(select(Turn.lease_expires_at).where(Turn.id == turn_id))).one()
                if expires > before + timedelta(seconds=5):
                    break
                await asyncio.sleep(0.2)
        rag.release("alive")
        assert (await read_stream(replicas.here, f"{TURNS}/{turn_id}/stream/")).text == GATED_FIRST + GATED_REST


class TestDeletion:
    async def test_session_deleted_elsewhere_ends_its_streams(self, replicas: Replicas, rag: FakeRag) -> None:
        turn_id = await ask(replicas.here, "gated:deleted")
        await rag.until_streaming("deleted")
        session_id = (await read_turn(replicas.here, turn_id))["session_id"]
        url = f"{TURNS}/{turn_id}/stream/"
        async with streaming(replicas.here, url) as here, streaming(replicas.there, url) as there:
            for stream in (here, there):
                await stream.until_text(GATED_FIRST)
            deleted = await replicas.there.delete(f"/api/v1/chatbot/sessions/{session_id}/delete/")
            assert deleted.status_code == 200
            for stream in (here, there):
                await stream.read()
                assert stream.of("data-error")["data"]["code"] == "not_found"
        await rag.until_gone("deleted")
        assert (await replicas.here.get(f"{TURNS}/{turn_id}/")).status_code == 404


class TestDrain:
    async def test_running_turn_ends_before_the_process_does(self, replicated_url: str, rag: FakeRag) -> None:
        settings = make_settings(database_url=replicated_url, runpod_rag_url=rag.url, rag_timeout_seconds=30)
        async with running_server(settings) as server:
            user = await sign_up(server, f"drain{datetime.now(UTC).timestamp()}")
            async with streaming(user.http, STREAM, json={"message": "gated:drain"}) as stream:
                await stream.until_text(GATED_FIRST)
                server.tell_to_stop()
                await self.until_draining(server)
                refused = await user.http.post(CHAT, json={"message": "hi"})
                assert (refused.status_code, refused.json()["code"]) == (503, "shutting_down")
                assert refused.headers["retry-after"] == "1"
                ready = await user.http.get("/health/ready")
                assert (ready.status_code, ready.json()["code"]) == (503, "shutting_down")
                assert (await user.http.get("/health/live")).status_code == 200
                rag.release("drain")
                await stream.read()
            await user.http.aclose()
        assert stream.text == GATED_FIRST + GATED_REST
        assert stream.is_done

    async def test_turn_that_takes_too_long_is_interrupted_with_its_text(
        self, replicas: Replicas, replicated_url: str, rag: FakeRag
    ) -> None:
        settings = make_settings(
            database_url=replicated_url, runpod_rag_url=rag.url, rag_timeout_seconds=30, drain_seconds=0.2
        )
        async with running_server(settings) as server:
            user = await sign_up(server, f"late{datetime.now(UTC).timestamp()}")
            async with streaming(user.http, STREAM, json={"message": "gated:never"}) as stream:
                await stream.until_text(GATED_FIRST)
                server.tell_to_stop()
                await stream.read()
        failure = stream.of("data-error")["data"]
        assert (failure["code"], failure["retryable"]) == ("turn_interrupted", True)
        async with replicas.first.client(Authorization=f"Bearer {user.token}") as http:
            turn = await read_turn(http, stream.start["turn_id"])
            assert (turn["status"], turn["response"]) == ("interrupted", GATED_FIRST)
            rag.release("never")
            assert (await http.post(f"{TURNS}/{turn['id']}/retry/")).status_code == 202
            assert (await read_stream(http, f"{TURNS}/{turn['id']}/stream/")).text == GATED_FIRST + GATED_REST
        await user.http.aclose()

    async def test_viewer_of_a_turn_elsewhere_is_told_to_reconnect(
        self, replicas: Replicas, replicated_url: str, rag: FakeRag
    ) -> None:
        turn_id = await ask(replicas.here, "gated:elsewhere")
        token = replicas.here.headers["authorization"]
        async with (
            running_server(make_settings(database_url=replicated_url)) as server,
            server.client(Authorization=token) as http,
            streaming(http, f"{TURNS}/{turn_id}/stream/") as stream,
        ):
            await stream.until_text(GATED_FIRST)
            server.tell_to_stop()
            await stream.read()
        assert (stream.retry, stream.is_done) == (500, False)
        rag.release("elsewhere")
        rest = await read_stream(
            replicas.there, f"{TURNS}/{turn_id}/stream/", headers={"Last-Event-ID": stream.ids[-1]}
        )
        assert stream.text + rest.text == GATED_FIRST + GATED_REST

    async def test_question_that_is_just_being_stored_is_answered_before_the_process_ends(
        self, replicated_url: str, rag: FakeRag
    ) -> None:
        settings = make_settings(database_url=replicated_url, runpod_rag_url=rag.url, rag_timeout_seconds=30)
        async with running_server(settings) as server:
            user = await sign_up(server, f"just{datetime.now(UTC).timestamp()}")
            async with server.database.transaction() as db:
                await db.execute(text("LOCK TABLE chat_messages"))  # nobody stores a question now
                asking = [
                    asyncio.create_task(user.http.post(CHAT, json={"message": question}))
                    for question in ("hi", "slow:0.5")
                ]
                await until_waiting_for_locks(server, 2)
                server.tell_to_stop()
                await self.until_draining(server)
            assert [response.status_code for response in await asyncio.gather(*asking)] == [200, 200]
            await user.http.aclose()

    async def test_second_signal_hurries(self, replicated_url: str, rag: FakeRag) -> None:
        settings = make_settings(
            database_url=replicated_url, runpod_rag_url=rag.url, rag_timeout_seconds=60, drain_seconds=60
        )
        async with asyncio.timeout(10), running_server(settings) as server:
            user = await sign_up(server, f"hurry{datetime.now(UTC).timestamp()}")
            async with streaming(user.http, STREAM, json={"message": "gated:hurry"}) as stream:
                await stream.until_text(GATED_FIRST)
                server.tell_to_stop()
                await self.until_draining(server)
                server.tell_to_stop()
                await stream.read()
            await user.http.aclose()
        assert stream.of("data-error")["data"]["code"] == "turn_interrupted"

    @staticmethod
    async def until_draining(server: LiveServer) -> None:
        async with asyncio.timeout(5):
            while not server.services.chat.is_draining:  # noqa: ASYNC110 - a flag tells nobody
                await asyncio.sleep(0.01)


class TestEmbedded:
    async def test_turns_of_a_killed_process_are_ended_at_the_next_start(self, tmp_path: Any, rag: FakeRag) -> None:  # noqa: ANN401
        url = f"sqlite:///{tmp_path}/x.db"
        await asyncio.to_thread(upgrade, alembic_config(url), "head")
        settings = make_settings(database_url=url, runpod_rag_url=rag.url)
        async with running_server(settings) as server:
            user: SignedIn = await sign_up(server, "alice")
            failed = (await user.http.post(CHAT, json={"message": "status:500"})).json()
            lease = datetime.now(UTC) + timedelta(seconds=10)
            await change(server, failed["turn_id"], status=TurnStatus.RUNNING, owner="gone", lease_expires_at=lease)
            await user.http.aclose()
        async with running_server(settings) as server:
            turn = await until_ended(server, failed["turn_id"])
        assert turn.status is TurnStatus.INTERRUPTED
        assert turn.finished_at is not None
        assert turn.finished_at < lease  # at once: nobody else serves this file
