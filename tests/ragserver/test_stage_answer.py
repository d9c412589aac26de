"""The answer of a language model: what it is written from, how it comes, and what is said where there is none."""

import asyncio
from pathlib import Path

import pytest

from tests.ragserver.conftest import Serve, ready
from tests.ragserver.models import FakeModels, dialects, faults
from tests.ragserver.models.wire import Fault
from tests.ragserver.questions import AS_EVENTS, CHAT, ask, begun, said_in, stream

FEEDING = "How do I feed the starter?"
QUOTED = "Feed the starter with flour every morning. [1]"
BUSY = faults.status(503)
BEFORE_ITS_FIRST_WORD = {
    "refused": faults.status(401, {"error": {"message": "Incorrect API key provided: sk-1."}}),
    "busy": BUSY,
    "lost": faults.RESET,
    "empty": faults.events(dialects.chunk({}, finish_reason="stop"), b"data: [DONE]\n\n"),
    "error": faults.events(dialects.data({"error": {"message": "CUDA out of memory"}})),
    "thinking": faults.events(dialects.chunk({"reasoning_content": "Hm."}), then="cut"),
    "html": faults.body(faults.HTML, "text/html"),
}
IN_THE_MIDDLE = {
    "cut": faults.events(dialects.chunk({"content": "Every "}), then="cut"),
    "ended": faults.events(dialects.chunk({"content": "Every "})),
    "error": faults.events(dialects.chunk({"content": "Every "}), dialects.data({"error": {"message": "CUDA"}})),
}


def settings_of(models: FakeModels, bakery: Path, **more: object) -> dict[str, object]:
    return {"rag_docs_dir": bakery, "rag_llm_url": models.url("vllm"), "rag_timeout_s": 6, **more}


class TestGenerated:
    async def test_comes_as_the_model_writes_it_with_what_it_was_written_from(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        async with serve(**settings_of(models, bakery, rag_llm_model="writer")) as client:
            whole = await ask(client, FEEDING)
            events = await stream(client, FEEDING)
            health = await ready(client)

        assert health["models"] == {"llm": "writer"}
        assert said_in(events) == list(models.pieces)
        for body in (whole, events[-1][1]):
            assert body["answer"] == "".join(models.pieces)
            assert body["sources"][0]["document"] == "sourdough.md"
            assert body["metadata"].items() >= {"mode": "generated", "model": "writer", "degraded": []}.items()

    async def test_is_written_from_numbered_passages_and_what_was_said_before(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        before = [
            {"role": "user", "content": "What is a starter?"},
            {"role": "assistant", "content": "A sourdough [1]."},
        ]
        async with serve(**settings_of(models, bakery)) as client:
            body = await ask(client, FEEDING, chat_history=before)

        (asked,) = models.asked("chat")
        system, *history, question = asked["messages"]
        assert asked.keys() == {"model", "messages", "stream"}
        assert system["role"] == "system"
        assert history == before
        for number, source in enumerate(body["sources"], start=1):
            title = f"{source['document']} > {source['heading']}"
            assert f"<passage number={number}>\n{title}\n\n{source['content']}\n</passage>" in question["content"]
        assert question["content"].count("</passage>") == len(body["sources"])
        assert question["content"].endswith(f"Question: {FEEDING}")

    @pytest.mark.parametrize("question", ["how do I configure a Kubernetes ingress", "Hello!"])
    async def test_nothing_is_asked_where_there_is_nothing_to_write_from(
        self, serve: Serve, bakery: Path, models: FakeModels, question: str
    ) -> None:
        async with serve(**settings_of(models, bakery)) as client:
            whole = await ask(client, question)
            events = await stream(client, question)

        assert models.asked("chat") == []
        assert whole["metadata"]["mode"] in {"extractive", "greeting"}
        assert whole["metadata"]["model"] is None
        assert "".join(said_in(events)) == whole["answer"]

    async def test_its_line_ends_are_not_those_of_the_stream(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        models.pieces = ("1.\n\n", "data: x\r\n", "\u2028\u0085", "event: done\n\n")
        async with serve(**settings_of(models, bakery)) as client:
            events = await stream(client, FEEDING)

        assert said_in(events) == list(models.pieces)

    async def test_of_a_server_that_does_not_stream_is_one_piece(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        models.faults["chat"] = faults.reply({"choices": [{"message": {"content": "Daily [1]."}}]})
        async with serve(**settings_of(models, bakery)) as client:
            assert said_in(await stream(client, FEEDING)) == ["Daily [1]."]


class TestWaiting:
    async def test_a_stream_begins_before_the_model_s_first_word(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        models.faults["chat"] = faults.silent
        async with serve(**settings_of(models, bakery)) as client:
            request = client.stream("POST", CHAT, json={"question": FEEDING}, headers=AS_EVENTS)
            async with asyncio.timeout(5), request as answered:
                first = await anext(answered.aiter_text())
            await models.until_closed()

        assert first == ": found\n\n"

    async def test_a_client_that_leaves_ends_the_writing(self, serve: Serve, bakery: Path, models: FakeModels) -> None:
        models.faults["chat"] = gate = faults.Gate()
        async with serve(**settings_of(models, bakery)) as client:
            async with begun(client, FEEDING):
                assert not gate.left.is_set()
            async with asyncio.timeout(5):
                await gate.left.wait()

    async def test_a_slow_model_holds_nobody_up(self, serve: Serve, bakery: Path, models: FakeModels) -> None:
        models.faults["chat"] = gate = faults.Gate("Daily", ".")
        async with serve(**settings_of(models, bakery)) as client:
            waiting = [asyncio.create_task(stream(client, FEEDING)) for _ in range(30)]
            await models.until(lambda: len(models.journal) == len(waiting))
            off_topic = await ask(client, "how do I configure a Kubernetes ingress")
            gate.release()
            streams = await asyncio.gather(*waiting)

        assert off_topic["metadata"]["confidence"] == "none"
        assert {events[-1][1]["answer"] for events in streams} == {"Daily."}


class TestWithoutAnAnswer:
    @pytest.mark.parametrize("fault", BEFORE_ITS_FIRST_WORD.values(), ids=BEFORE_ITS_FIRST_WORD.keys())
    async def test_before_its_first_word_the_passages_are_quoted(
        self, serve: Serve, bakery: Path, models: FakeModels, fault: Fault
    ) -> None:
        models.faults["chat"] = fault
        async with serve(**settings_of(models, bakery)) as client:
            whole = await ask(client, FEEDING)
            events = await stream(client, FEEDING)

        assert "".join(said_in(events)) == events[-1][1]["answer"]
        for body in (whole, events[-1][1]):
            assert QUOTED in body["answer"]
            assert "Hm." not in body["answer"]
            assert body["metadata"].items() >= {"mode": "extractive", "model": None, "degraded": ["llm"]}.items()

    @pytest.mark.parametrize("fault", IN_THE_MIDDLE.values(), ids=IN_THE_MIDDLE.keys())
    async def test_in_the_middle_a_stream_says_so_and_a_whole_answer_is_quoted(
        self, serve: Serve, bakery: Path, models: FakeModels, fault: Fault
    ) -> None:
        models.faults["chat"] = fault
        async with serve(**settings_of(models, bakery)) as client:
            events = await stream(client, FEEDING)
            whole = await ask(client, FEEDING)

        assert events == [("delta", {"text": "Every "}), ("error", {"error": "The answer broke off."})]
        assert QUOTED in whole["answer"]
        assert "Every" not in whole["answer"]
        assert whole["metadata"].items() >= {"mode": "extractive", "model": None, "degraded": ["llm"]}.items()

    async def test_the_log_holds_neither_the_key_nor_what_was_said(
        self, serve: Serve, bakery: Path, models: FakeModels, caplog: pytest.LogCaptureFixture
    ) -> None:
        said = dialects.chunk({"content": "Every "})
        for fault in (
            faults.events(said, dialects.data({"error": {"message": "bad key sk-secret-1"}})),
            faults.events(said, b'data: {"choices": "the patient is called Bob"}\n\n'),
        ):
            models.faults["chat"] = fault
            async with serve(**settings_of(models, bakery, rag_llm_key="sk-secret-1")) as client:
                assert (await stream(client, FEEDING))[-1][0] == "error"

        assert "An answer broke off" in caplog.text
        assert "sk-secret-1" not in caplog.text
        assert "Bob" not in caplog.text

    async def test_the_next_question_is_answered_by_a_model_that_is_back(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        models.faults["chat"] = faults.first(1, faults.status(503, None, "Retry-After: 0"))
        async with serve(**settings_of(models, bakery)) as client:
            first = await ask(client, FEEDING)
            second = await ask(client, FEEDING)

        assert first["metadata"]["degraded"] == ["llm"]
        assert second["metadata"]["mode"] == "generated"

    async def test_a_model_that_is_away_is_not_asked_for_every_question(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        models.faults["chat"] = BUSY
        async with serve(**settings_of(models, bakery)) as client:
            bodies = [await ask(client, FEEDING) for _ in range(3)]

        assert [body["metadata"]["degraded"] for body in bodies] == [["llm"]] * 3
        assert len(models.asked("chat")) == 1
