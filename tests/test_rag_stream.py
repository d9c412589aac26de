"""Streamed answers through the client: what the RAG server sends, piece by piece, over real connections."""

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncIterator

import pytest

from app.core.errors import (
    RagError,
    RagNotJsonError,
    RagRefusedError,
    RagResetError,
    RagShapeError,
    RagStatusError,
    RagTimeoutError,
)
from app.services.rag_client import RagAnswer, RagClient
from tests.rag import GOOD, METADATA, SOURCES, FakeRag
from tests.rag_stream import GATED_FIRST, GATED_REST, LATE, PIECES, PIECES_TEXT
from tests.rag_stream_outcomes import BAD_STREAMS, GOOD_STREAMS


class Listener:
    """Asks and keeps what it hears."""

    def __init__(self, client: RagClient) -> None:
        self._client = client
        self.pieces: list[str] = []

    async def ask(self, question: str) -> RagAnswer:
        return await self._client.ask(question, user_id=7, chat_history=[], session_id=9, on_delta=self.pieces.append)


@pytest.fixture
async def client(own_rag: FakeRag) -> AsyncIterator[RagClient]:
    client = RagClient(own_rag.url, deadline_seconds=5, idle_seconds=0.2)
    yield client
    await client.close()
    async with asyncio.timeout(5):
        await own_rag.until_closed()


@pytest.fixture
def listener(client: RagClient) -> Listener:
    return Listener(client)


class TestAnswers:
    async def test_pieces_arrive_in_order_and_are_the_answer(self, listener: Listener, own_rag: FakeRag) -> None:
        answer = await listener.ask("stream:5")
        assert listener.pieces == ["word0 ", "word1 ", "word2 ", "word3 ", "word4 "]
        assert answer.text == "word0 word1 word2 word3 word4 "
        assert (answer.sources, answer.metadata) == (SOURCES, METADATA)
        assert answer.response_time >= 0
        assert "accept: text/event-stream, application/json\r\n" in own_rag.heads[0].lower()
        assert own_rag.journal == [{"question": "stream:5", "user_id": 7, "chat_history": [], "session_id": 9}]

    async def test_piece_is_handed_on_while_the_rest_is_still_being_made(
        self, listener: Listener, own_rag: FakeRag
    ) -> None:
        heard = asyncio.Event()
        listener.pieces = _Pieces(heard)
        asking = asyncio.create_task(listener.ask("gated:a"))
        await own_rag.until_streaming("a")
        await heard.wait()
        assert listener.pieces == [GATED_FIRST]
        own_rag.release("a")
        assert (await asking).text == GATED_FIRST + GATED_REST
        assert listener.pieces == [GATED_FIRST, GATED_REST]

    @pytest.mark.parametrize("question", ["stream:3", "gated:b", "sse:good", "sse:big:5000", "sse:not-json"])
    async def test_who_does_not_listen_gets_json(self, client: RagClient, own_rag: FakeRag, question: str) -> None:
        own_rag.release("b")
        answer = await client.ask(question, user_id=1, chat_history=[], session_id=1)
        assert "accept: application/json\r\n" in own_rag.heads[0].lower()
        texts = {"stream:3": "word0 word1 word2 ", "gated:b": "before after", "sse:big:5000": "가" * 5000}
        assert answer.text == texts.get(question, PIECES_TEXT)

    async def test_answer_as_json_is_one_piece(self, listener: Listener) -> None:
        answer = await listener.ask("hi")
        assert listener.pieces == [answer.text] == [GOOD["answer"]]

    @pytest.mark.parametrize(
        ("question", "error"),
        [
            ("body:html", RagNotJsonError),
            ("body:blank-answer", RagShapeError),
            ("body:refused", RagRefusedError),
            ("status:500", RagStatusError),
            ("reset:body", RagResetError),
        ],
    )
    async def test_failure_as_json_is_no_piece(self, listener: Listener, question: str, error: type[RagError]) -> None:
        with pytest.raises(error):
            await listener.ask(question)
        assert listener.pieces == []

    async def test_json_with_nul_is_heard_as_it_is_stored(self, listener: Listener) -> None:
        assert (await listener.ask("body:nul")).text == "a\ufffdb"
        assert listener.pieces == ["a\ufffdb"]


class _Pieces(list[str]):
    def __init__(self, heard: asyncio.Event) -> None:
        super().__init__()
        self._heard = heard

    def append(self, piece: str) -> None:
        super().append(piece)
        self._heard.set()


class TestStreams:
    @pytest.mark.parametrize(("name", "pieces"), GOOD_STREAMS, ids=[name for name, _ in GOOD_STREAMS])
    async def test_answer_is_what_was_heard(self, listener: Listener, name: str, pieces: list[str]) -> None:
        answer = await listener.ask(f"sse:{name}")
        # Not through ==: on a difference pytest would compare megabytes.
        assert listener.pieces == pieces if len(pieces) < 10 else "".join(listener.pieces) == "".join(pieces)
        assert answer.text == "".join(listener.pieces)
        assert LATE not in answer.text
        if name != "bare-done":
            assert (answer.sources, answer.metadata) == (SOURCES, METADATA)

    @pytest.mark.parametrize(("name", "heard", "error", "reason"), BAD_STREAMS, ids=[name for name, *_ in BAD_STREAMS])
    async def test_broken_stream_is_a_named_error_and_the_next_question_works(
        self, listener: Listener, name: str, heard: list[str], error: type[RagError], reason: str
    ) -> None:
        with pytest.raises(error, match=reason) as caught:
            await listener.ask(f"sse:{name}")
        assert type(caught.value) is error
        assert len(str(caught.value)) < 400
        if not name.startswith("big"):
            assert listener.pieces == heard
        assert (await listener.ask("hi")).text == GOOD["answer"]

    async def test_difference_is_logged_without_texts(
        self, listener: Listener, caplog: pytest.LogCaptureFixture
    ) -> None:
        await listener.ask("sse:different-done")
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "something else" not in record.getMessage()
        assert PIECES[0] not in record.getMessage()

    async def test_answer_that_was_only_trimmed_is_no_difference(
        self, listener: Listener, caplog: pytest.LogCaptureFixture
    ) -> None:
        await listener.ask("sse:trimmed-done")
        assert caplog.records == []


class TestTime:
    async def test_keep_alives_do_not_lengthen_the_deadline(self, own_rag: FakeRag) -> None:
        client = RagClient(own_rag.url, deadline_seconds=0.3, idle_seconds=0.1)
        started = time.perf_counter()
        with pytest.raises(RagTimeoutError, match="Connection timeout"):
            await Listener(client).ask("sse:keepalives-only")
        assert 0.25 < time.perf_counter() - started < 1
        await client.close()
        await own_rag.until_closed()

    async def test_silence_before_the_first_piece_is_not_idleness(self, listener: Listener) -> None:
        # It takes longer than the 0.2 s that may pass between two pieces.
        assert (await listener.ask("sse:late-start")).text == PIECES_TEXT


class TestLeaving:
    async def test_cancelling_closes_the_connection(self, listener: Listener, own_rag: FakeRag) -> None:
        asking = asyncio.create_task(listener.ask("gated:left"))
        await own_rag.until_streaming("left")
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(2):
            await own_rag.until_gone("left")
            await own_rag.until_closed()

    async def test_listener_that_fails_closes_the_connection(self, client: RagClient, own_rag: FakeRag) -> None:
        def fail(_delta: str) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await client.ask("gated:failed", user_id=1, chat_history=[], session_id=1, on_delta=fail)
        async with asyncio.timeout(2):
            await own_rag.until_closed()

    async def test_stream_that_goes_on_after_its_end_is_left(self, listener: Listener, own_rag: FakeRag) -> None:
        await listener.ask("sse:done-then-open")
        async with asyncio.timeout(2):
            await own_rag.until_closed()

    async def test_connection_is_used_again_after_a_stream_that_ended(
        self, listener: Listener, own_rag: FakeRag
    ) -> None:
        for _ in range(3):
            await listener.ask("sse:done-with-end")
        assert own_rag.connections == 1

    async def test_a_thousand_cancelled_calls_leave_nothing(self, client: RagClient, own_rag: FakeRag) -> None:
        before = asyncio.all_tasks()
        dice = random.Random(20)  # noqa: S311 - the same moments every time
        loop = asyncio.get_running_loop()
        questions = ["slow:0.3", "gated:storm", "sse:keepalives-only", "sse:one-byte", "stream:50"]
        asking = [asyncio.create_task(Listener(client).ask(questions[k % 5])) for k in range(1000)]
        for task in asking:
            loop.call_later(dice.uniform(0, 0.3), task.cancel)
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {asyncio.CancelledError, RagAnswer}
        assert sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes) > 500

        healthy = [await Listener(client).ask(f"stream:{k + 1}") for k in range(40)]
        assert [answer.text.count("word") for answer in healthy] == list(range(1, 41))
        await client.close()
        async with asyncio.timeout(5):
            await own_rag.until_closed()
        for _ in range(10):  # the peer's last steps
            await asyncio.sleep(0)
        assert asyncio.all_tasks() - before == set()


class TestFakeRag:
    """The tests' RAG server itself: a fault that does not land proves nothing."""

    async def test_every_streaming_word_answers_as_asked(self, own_rag: FakeRag) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(own_rag.url.rsplit(":", 1)[1]))
        body = json.dumps({"question": "sse:crlf"}).encode()
        head = f"POST / HTTP/1.1\r\nAccept: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        received = await reader.readuntil(b"0\r\n\r\n")
        writer.close()
        assert b"event: delta\r\ndata: " in received
        assert b"\r\n\r\nevent: done\r\n" in received
