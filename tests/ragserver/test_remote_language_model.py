"""The answer of a language model, as it is written, and every way in which it is not."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from ragserver.config import Settings
from ragserver.remote.endpoint import RemoteError
from ragserver.remote.language_model import LanguageModel
from ragserver.remote.models import open_models
from tests.ragserver.models import FakeModels, faults
from tests.ragserver.models.dialects import chunk, data

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "튜플이란?"}]
SHORT_S = 0.2
HELLO = chunk({"content": "Hello"})
FINISHED = chunk({}, finish_reason="stop")
DONE = b"data: [DONE]\n\n"


@pytest_asyncio.fixture
async def server() -> AsyncGenerator[FakeModels, None]:
    async with FakeModels() as server:
        yield server


@asynccontextmanager
async def model_of(server: FakeModels, dialect: str = "openai", **more: object) -> AsyncGenerator[LanguageModel, None]:
    chosen: dict[str, Any] = {**server.settings(dialect), **more}
    async with open_models(Settings(**chosen)) as models:
        assert models.language_model
        yield models.language_model


async def said(model: LanguageModel) -> list[str]:
    return [piece async for piece in model.stream(MESSAGES)]


async def said_before(model: LanguageModel, text: str) -> list[str]:
    """What was said before an error with this text."""
    pieces: list[str] = []

    async def listen() -> None:
        async for piece in model.stream(MESSAGES):
            pieces.append(piece)  # noqa: PERF401 - they are wanted in spite of the error

    with pytest.raises(RemoteError, match=text):
        await listen()
    return pieces


class TestAnswer:
    @pytest.mark.parametrize("dialect", ["openai", "azure", "vllm", "ollama", "llamacpp"])
    async def test_comes_in_the_pieces_of_the_model_without_its_thoughts(
        self, server: FakeModels, dialect: str
    ) -> None:
        async with model_of(server, dialect) as model:
            assert await said(model) == list(server.pieces)

    async def test_is_asked_for_with_nothing_that_a_model_could_refuse(self, server: FakeModels) -> None:
        async with model_of(server, rag_llm_key="sk-2", rag_embed_key="sk-1") as model:
            await said(model)
            assert model.model == "gpt-4.1"

        (asked,) = server.journal
        assert asked.body == {"model": "gpt-4.1", "messages": MESSAGES, "stream": True}
        assert asked.headers["authorization"] == "Bearer sk-2"

    async def test_each_piece_is_there_when_it_was_written(self, server: FakeModels) -> None:
        gate = faults.Gate("before ", "after")
        server.faults["chat"] = gate
        async with model_of(server) as model, aclosing(model.stream(MESSAGES)) as pieces:
            assert await anext(pieces) == "before "
            gate.release()
            assert [piece async for piece in pieces] == ["after"]

    async def test_is_written_no_further_when_nobody_waits_for_it(self, server: FakeModels) -> None:
        gate = faults.Gate()
        server.faults["chat"] = gate
        async with model_of(server) as model:
            async with aclosing(model.stream(MESSAGES)) as pieces:
                assert await anext(pieces) == "before "
            await server.until(gate.left.is_set)
            server.faults.clear()
            assert await said(model) == list(server.pieces)

    async def test_of_a_server_that_does_not_stream_comes_in_one_piece(self, server: FakeModels) -> None:
        choice = {"index": 0, "message": {"role": "assistant", "content": "\n튜플은 [1]."}, "finish_reason": "stop"}
        server.faults["chat"] = faults.reply({"object": "chat.completion", "choices": [choice]})
        async with model_of(server) as model:
            assert await said(model) == ["튜플은 [1]."]

    @pytest.mark.parametrize(
        "events",
        {
            "ends without [DONE]": (HELLO, FINISHED),
            "ends with the last piece": (chunk({"content": "Hello"}, finish_reason="stop"),),
            "is too long for the model": (HELLO, chunk({}, finish_reason="length"), DONE),
            "has no finish reason": (HELLO, DONE),
            "has an empty finish reason": (chunk({"content": "Hello"}, finish_reason=""), DONE),
            "goes on after [DONE]": (HELLO, DONE, chunk({"content": "never read"}), b"data: {\n\n"),
            "has a bill": (HELLO, FINISHED, data({"choices": [], "usage": {"total_tokens": 3}}), DONE),
            "has other events": (b": keep-alive\n\n", b"event: ping\ndata:\n\n", b"id: 7\n\n", HELLO, DONE),
            "has null for nothing": (chunk({"content": None, "tool_calls": None}), HELLO, DONE),
            "has no space after the colon": (HELLO.replace(b"data: ", b"data:"), DONE),
            "has CRLF": (HELLO.replace(b"\n", b"\r\n"), b"data: [DONE]\r\n\r\n"),
            "begins with a byte order mark": (b"\xef\xbb\xbf" + HELLO, DONE),
            "comes in halves": (HELLO[:9], HELLO[9:], DONE),
            "names a reason in every chunk": (
                chunk({"content": "Hel"}, finish_reason="stop"),
                chunk({"content": "lo"}, finish_reason="stop"),
                DONE,
            ),
        }.items(),
        ids=lambda item: item[0],
    )
    async def test_is_whole_also_when_it(self, server: FakeModels, events: tuple[str, tuple[bytes, ...]]) -> None:
        server.faults["chat"] = faults.events(*events[1])
        async with model_of(server) as model:
            assert "".join(await said(model)) == "Hello"

    @pytest.mark.parametrize("then", ["hang", "cut"])
    async def test_is_whole_once_the_model_has_finished(self, server: FakeModels, then: Any) -> None:  # noqa: ANN401
        server.faults["chat"] = faults.events(HELLO, FINISHED, then=then)
        async with model_of(server, rag_timeout_s=SHORT_S) as model:
            assert await said(model) == ["Hello"]

    async def test_may_have_characters_that_are_cut_in_two(self, server: FakeModels) -> None:
        event = chunk({"content": "튜플😀"})
        server.faults["chat"] = faults.events(*(event[k : k + 1] for k in range(len(event))), DONE)
        async with model_of(server) as model:
            assert await said(model) == ["튜플😀"]

    async def test_may_hold_what_looks_like_the_end_of_an_event(self, server: FakeModels) -> None:
        server.pieces = ("data: [DONE]\n\n", "[DONE]", "a\u2028b\u0085c\r\n")
        async with model_of(server) as model:
            assert await said(model) == list(server.pieces)

    async def test_may_take_longer_than_the_time_out_while_it_comes(self, server: FakeModels) -> None:
        server.faults["chat"] = faults.slow_events(*[HELLO] * 12, DONE, pause_s=0.05)
        async with model_of(server, rag_timeout_s=0.5) as model:
            assert await said(model) == ["Hello"] * 12


# What is sent, and how it ends; what was said before; what the error says.
BROKEN = {
    "silent from the start": (faults.silent, [], "no answer for"),
    "silent after its head": (faults.events(then="hang"), [], "no answer for"),
    "silent in the middle": (faults.events(HELLO, then="hang"), ["Hello"], "no answer for"),
    "alive, and no more": (faults.dripping_events(b": keep-alive\n\n"), [], "no answer for"),
    "dripping a line": (faults.dripping_events(b"d"), [], "no answer for"),
    "cut from the start": (faults.events(then="cut"), [], "broken reply"),
    "cut in the middle": (faults.events(HELLO, then="cut"), ["Hello"], "broken reply"),
    "ended without [DONE]": (faults.events(HELLO), ["Hello"], r"ended without \[DONE\]"),
    "ended in an event": (faults.events(HELLO, b"data: [DONE]\n"), ["Hello"], r"ended without \[DONE\]"),
    "an error event": (
        faults.events(HELLO, data({"error": {"message": "out of\nmemory"}}), DONE),
        ["Hello"],
        "out of mem",
    ),
    "an error in a text": (faults.events(data({"error": "overloaded"}), DONE), [], "the model failed: overloaded"),
    "a named error": (faults.events(b'event: error\ndata: {"message": "no"}\n\n', DONE), [], "the model failed"),
    "an error with 200": (faults.reply({"error": {"message": "no such model"}}), [], "the model failed: no such model"),
    "given up": (faults.events(HELLO, chunk({}, finish_reason="abort"), DONE), ["Hello"], "the model failed: abort"),
    "empty": (faults.events(chunk({"role": "assistant"}), FINISHED, DONE), [], "the answer is empty"),
    "empty but for [DONE]": (faults.events(DONE), [], "the answer is empty"),
    "nothing at all": (faults.events(), [], "ended without"),
    "blank": (faults.events(chunk({"content": " \n"}), FINISHED, DONE), [], "the answer is empty"),
    "thoughts only": (faults.events(chunk({"reasoning": "hm"}), FINISHED, DONE), [], "the answer is empty"),
    "no choices": (faults.reply({"choices": []}), [], "the answer is empty"),
    "no JSON": (faults.events(HELLO, b"data: {\n\n"), ["Hello"], "Invalid JSON"),
    "NaN": (faults.events(b'data: {"choices": NaN}\n\n'), [], "not the reply it should be: choices"),
    "a list": (faults.events(b"data: []\n\n"), [], "not the reply it should be: all of it"),
    "content as a number": (faults.events(chunk({"content": 5})), [], r"choices\.0\.delta\.content"),
    "content in parts": (faults.events(chunk({"content": [{"text": "x"}]})), [], r"choices\.0\.delta\.content"),
    "half a character": (
        faults.events(b'data: {"error": "\\ud800"}\n\n'),
        [],
        "Invalid JSON",
    ),
    "not UTF-8": (faults.events(HELLO, b'data: {"choices": "\xff"}\n\n'), ["Hello"], "broken reply: 'utf-8'"),
    "HTML": (faults.body(faults.HTML, "text/html"), [], "neither events nor JSON but text/html"),
    "JSON lines": (faults.body(b"{}\n", "application/x-ndjson"), [], "neither events nor JSON"),
    "HTML called JSON": (faults.body(faults.HTML), [], "Invalid JSON"),
    "refused": (faults.status(401, {"error": {"message": "Incorrect API key"}}), [], "HTTP 401: Incorrect API key"),
    "unknown": (faults.status(404, {"error": {"message": "The model does not exist"}}), [], "HTTP 404: The model does"),
    "out of credit": (faults.status(429, {"error": {"message": "no quota"}}), [], "HTTP 429: no quota"),
    "away": (faults.status(503), [], "HTTP 503"),
    "reset": (faults.RESET, [], "connection lost"),
}


class TestNoAnswer:
    @pytest.mark.parametrize("fault", BROKEN)
    async def test_is_an_error_after_what_was_said(self, server: FakeModels, fault: str) -> None:
        server.faults["chat"], before, text = BROKEN[fault]
        # A machine under load is slow; only where silence is the fault is it waited for.
        async with model_of(server, rag_timeout_s=SHORT_S if text == "no answer for" else 6) as model:
            assert await said_before(model, text) == before
        await server.until_closed()

    async def test_an_endless_answer_is_an_error(self, server: FakeModels) -> None:
        server.faults["chat"] = faults.endless
        async with model_of(server) as model:
            pieces = await said_before(model, "more than 200000 characters")
            assert len("".join(pieces)) <= 200_000
            await server.until_closed()

    async def test_so_is_an_endless_line(self, server: FakeModels) -> None:
        server.faults["chat"] = faults.events(b"data: ", *[b"x" * 1024 * 1024] * 33)
        async with model_of(server) as model:
            assert await said_before(model, "broken reply: more than 33554432 bytes") == []

    async def test_silence_lets_the_server_rest_and_a_cut_does_not(self, server: FakeModels) -> None:
        async with model_of(server, rag_timeout_s=SHORT_S) as model:
            server.faults["chat"] = faults.events(HELLO, then="cut")
            await said_before(model, "broken reply")
            server.faults["chat"] = faults.events(HELLO, then="hang")
            await said_before(model, "no answer for")
            server.faults.clear()
            assert await said_before(model, "resting") == []
