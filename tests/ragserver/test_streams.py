"""The answer as a stream of events, and when it is one."""

import asyncio
import unicodedata
from pathlib import Path

import httpx
import pytest

from tests.ragserver.conftest import Serve
from tests.ragserver.models import FakeModels, dialects, faults
from tests.ragserver.models.wire import Fault
from tests.ragserver.questions import AS_EVENTS, CHAT, ask, begun, events_in, said_in, stream

QUESTIONS = [
    "Python에서 리스트와 튜플의 차이는?",
    "What is the difference between a list and a tuple in Python?",
    "비동기 HTTP 요청을 보내는 방법",
    "김치찌개 끓이는 법",
    "안녕하세요!",
]
FEEDING = "How do I feed a sourdough starter?"


class TestEvents:
    @pytest.mark.parametrize("question", QUESTIONS)
    async def test_pieces_then_the_same_answer_as_in_json(self, rag: httpx.AsyncClient, question: str) -> None:
        whole = await ask(rag, question)
        events = await stream(rag, question)

        *deltas, (last, done) = events
        assert {name for name, _ in deltas} == {"delta"}
        assert last == "done"
        assert "".join(said_in(events)) == done["answer"] == whole["answer"]
        assert done.keys() == whole.keys()
        assert done["sources"] == whole["sources"]
        assert done["metadata"].keys() == whole["metadata"].keys()

    async def test_a_long_answer_comes_in_many_short_pieces(self, rag: httpx.AsyncClient) -> None:
        pieces = said_in(await stream(rag, QUESTIONS[0]))

        assert len(pieces) > 10
        assert all(0 < len(piece) <= 70 for piece in pieces)
        assert all(piece[-1].isspace() for piece in pieces[:-1])

    async def test_headers_keep_it_from_being_stored_and_held_back(self, rag: httpx.AsyncClient) -> None:
        answered = await rag.post(CHAT, json={"question": "튜플이란?"}, headers=AS_EVENTS)

        assert answered.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answered.headers["Cache-Control"] == "no-cache"
        assert answered.headers["X-Accel-Buffering"] == "no"

    async def test_history_counts_as_it_does_in_json(self, rag: httpx.AsyncClient) -> None:
        history = [{"role": "user", "content": "리스트를 반복하려면 어떻게 하나요?"}]
        _, done = (await stream(rag, "그럼 딕셔너리는?", chat_history=history))[-1]

        assert done["sources"][0]["heading"] == "딕셔너리 > 딕셔너리 반복하기"

    async def test_decomposed_korean_is_quoted_in_whole_syllables(self, serve: Serve, docs: Path) -> None:
        bread = "효모는따뜻한곳에서자라고차가운곳에서잠듭니다" * 10
        (docs / "효모.md").write_text(unicodedata.normalize("NFD", f"# 효모\n\n효모 {bread}\n"), "utf-8")
        async with serve(rag_docs_dir=docs) as client:
            pieces = said_in(await stream(client, "효모"))

        assert bread in "".join(pieces)
        assert all(unicodedata.is_normalized("NFC", piece) for piece in pieces)

    async def test_many_at_once_are_not_mixed_up(self, rag: httpx.AsyncClient) -> None:
        streams = await asyncio.gather(*(stream(rag, question) for question in QUESTIONS * 4))

        assert ["".join(said_in(events)) for events in streams] == [events[-1][1]["answer"] for events in streams]
        assert len({events[-1][1]["answer"] for events in streams}) == len(QUESTIONS)


class TestNegotiation:
    @pytest.mark.parametrize(
        "accept",
        [
            "text/event-stream",
            "Text/Event-Stream; charset=utf-8",
            "text/event-stream, application/json",
            "text/event-stream,application/json;q=0.9",
            "application/json;q=0.5, text/event-stream",
            "application/json;q=0, text/event-stream;q=0.001",
            "application/json; q=0.8 , text/event-stream; q=0.8500",
            "text/event-stream, */*",
            "*/*, text/event-stream",
            "application/*, text/event-stream",
            "text/html, text/event-stream;q=0.5, */*;q=0.1",
            "text/event-stream, */*, application/json;q=0.1",
        ],
    )
    async def test_these_get_a_stream(self, rag: httpx.AsyncClient, accept: str) -> None:
        answered = await rag.post(CHAT, json={"question": "test"}, headers={"Accept": accept})

        assert answered.headers["Content-Type"].startswith("text/event-stream")
        assert events_in(answered.text)[-1][0] == "done"

    @pytest.mark.parametrize(
        "accept",
        [
            "application/json",
            "*/*",
            "",
            "application/json, text/event-stream",
            "text/event-stream;q=0.9, application/json",
            "text/event-stream;q=0.5, */*",
            "text/event-stream;q=0, */*",
            "text/event-stream;q=0",
            "text/event-stream;q=often, application/json;q=0.1",
            "text/event-stream;q=nan",
            "text/*",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/event-streams",
            ";q=1,,/",
        ],
    )
    async def test_these_get_json(self, rag: httpx.AsyncClient, accept: str) -> None:
        answered = await rag.post(CHAT, json={"question": "test"}, headers={"Accept": accept})

        assert answered.headers["Content-Type"] == "application/json"
        assert answered.json()["success"] is True

    async def test_two_headers_are_one_list_and_none_is_json(self, rag: httpx.AsyncClient) -> None:
        body = {"question": "test"}
        two = await rag.post(CHAT, json=body, headers=[("Accept", "text/html"), ("Accept", "text/event-stream")])
        request = rag.build_request("POST", CHAT, json=body)
        del request.headers["Accept"]
        none = await rag.send(request)

        assert two.headers["Content-Type"].startswith("text/event-stream")
        assert none.headers["Content-Type"] == "application/json"


class TestFailures:
    async def test_what_is_wrong_before_the_first_byte_is_a_plain_error(
        self, serve: Serve, docs: Path, tmp_path: Path
    ) -> None:
        async with serve(rag_docs_dir=docs, rag_api_key="sesame-1") as client:
            key = {"Authorization": "Bearer sesame-1"} | AS_EVENTS
            refused = await client.post(CHAT, json={"question": "test"}, headers=AS_EVENTS)
            invalid = await client.post(CHAT, json={"question": " "}, headers=key)
            (tmp_path / "index.db").write_bytes(b"")  # under the server's feet
            failed = await client.post(CHAT, json={"question": FEEDING}, headers=key)

        assert [refused.status_code, invalid.status_code, failed.status_code] == [401, 422, 500]
        for answered in (refused, invalid, failed):
            assert answered.headers["Content-Type"] == "application/json"
            assert answered.json() == {"success": False, "error": answered.json()["error"]}

    async def test_a_server_without_an_index_says_so_plainly(self, serve_at_once: Serve, docs: Path) -> None:
        (docs / "long.md").write_text("\n\n".join(f"## Loaf {n}\n\nLoaf {n} is baked." for n in range(4000)))
        async with serve_at_once(rag_docs_dir=docs) as client:
            answered = await client.post(CHAT, json={"question": "loaf"}, headers=AS_EVENTS)

        assert answered.status_code == 503
        assert answered.json()["success"] is False

    async def test_a_failure_in_mid_answer_is_the_last_event(
        self, serve: Serve, docs: Path, models: FakeModels, caplog: pytest.LogCaptureFixture
    ) -> None:
        secret = dialects.data({"error": {"message": "secret of the model"}})
        models.faults["chat"] = faults.events(dialects.chunk({"content": "첫 문장입니다. "}), secret)
        async with serve(rag_docs_dir=docs, rag_llm_url=models.url("vllm")) as client:
            events = await stream(client, FEEDING)

        assert events == [("delta", {"text": "첫 문장입니다. "}), ("error", {"error": "The answer broke off."})]
        assert "secret of the model" in caplog.text


class TestLeaving:
    @pytest.mark.parametrize("writer", [faults.Gate("첫 문장입니다. "), faults.endless], ids=["waits", "never stops"])
    async def test_an_answer_nobody_waits_for_is_given_up(
        self, serve: Serve, docs: Path, models: FakeModels, writer: Fault
    ) -> None:
        models.faults["chat"] = writer
        async with serve(rag_docs_dir=docs, rag_llm_url=models.url("vllm")) as client:
            async with begun(client, FEEDING) as (event, data):
                assert event == "delta"
                assert data["text"]
                assert models.open == 1
            await models.until_closed()

            assert (await client.get("/health")).status_code == 200

    async def test_the_first_piece_is_sent_before_the_next_is_written(
        self, serve: Serve, docs: Path, models: FakeModels
    ) -> None:
        models.faults["chat"] = gate = faults.Gate("하나. ", "둘.")
        async with serve(rag_docs_dir=docs, rag_llm_url=models.url("vllm")) as client:
            request = client.stream("POST", CHAT, json={"question": FEEDING}, headers=AS_EVENTS)
            async with asyncio.timeout(5), request as answered:
                received = answered.aiter_text()
                first = ""
                while not events_in(first):
                    first += await anext(received)
                gate.release()
                rest = "".join([text async for text in received])

        assert events_in(first) == [("delta", {"text": "하나. "})]
        assert [name for name, _ in events_in(rest)] == ["delta", "done"]
        assert events_in(rest)[-1][1]["answer"] == "하나. 둘."

    async def test_leaving_in_mid_answer_does_not_disturb_others(self, rag: httpx.AsyncClient) -> None:
        async def leave() -> None:
            async with begun(rag, QUESTIONS[0]):
                pass

        async with asyncio.TaskGroup() as others:
            for _ in range(10):
                others.create_task(leave())
            events = await stream(rag, QUESTIONS[0])

        assert events[-1][0] == "done"


class TestOpenApi:
    async def test_both_forms_are_described_with_an_example(self, rag: httpx.AsyncClient) -> None:
        described = (await rag.get("/openapi.json")).json()
        content = described["paths"][CHAT]["post"]["responses"]["200"]["content"]

        assert content.keys() == {"application/json", "text/event-stream"}
        assert content["application/json"]["schema"]["$ref"].endswith("/ChatResponse")
        events = events_in(content["text/event-stream"]["example"])
        assert "".join(said_in(events)) == events[-1][1]["answer"]
        assert events[-1] == ("done", content["application/json"]["example"])
