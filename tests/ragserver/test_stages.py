"""All three remote models together: as every server speaks, and with every fault."""

from pathlib import Path
from typing import Any

import pytest

from tests.ragserver.conftest import Serve, embedded
from tests.ragserver.models import FakeModels, faults
from tests.ragserver.models.wire import Fault
from tests.ragserver.questions import ask, said_in, stream

FEEDING = "How do I feed the starter?"
QUOTED = "Feed the starter with flour every morning. [1]"
STAGES = {"embed": "embeddings", "rerank": "rerank", "llm": "chat"}
TIMINGS = {"embed", "retrieve", "rerank", "filter", "answer", "total"}
KEYS = {"rag_embed_key": "sk-embed", "rag_rerank_key": "sk-rerank", "rag_llm_key": "sk-llm"}
FAULTS = {
    "401": faults.status(401, {"error": {"message": "Incorrect API key provided."}}),
    "404": faults.status(404),
    "429": faults.status(429, {"error": {"message": "Rate limit reached."}}, "Retry-After: 20"),
    "500": faults.status(500, {"error": {"message": "CUDA out of memory"}}),
    "503": faults.status(503, {"error": {"message": "Loading model"}}),
    "redirect": faults.status(302, None, "Location: http://127.0.0.1:1/"),
    "html": faults.body(faults.HTML, "text/html"),
    "broken JSON": faults.body('{"data": [{"index": 0, "embedd'),
    "deep JSON": faults.body("[" * 100_000),
    "another JSON": faults.reply({"detail": []}),
    "null": faults.reply(None),
    "not UTF-8": faults.body(b'{"data": "\xff"}'),
    "nothing": faults.body(""),
    "silence": faults.silent,
    "half a head": faults.raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "half a body": faults.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"),
    "junk": faults.raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "reset": faults.RESET,
}


def settings_of(models: FakeModels, bakery: Path, dialect: str = "vllm", **more: object) -> dict[str, Any]:
    """Settings for the servers of one vendor; what they do not have is done without, or with vLLM beside them."""
    chosen: dict[str, Any] = {"rag_docs_dir": bakery, **models.settings(dialect), **KEYS}
    if dialect == "tei":
        chosen |= {"rag_llm_url": models.url("vllm"), "rag_rerank_style": "tei"}
    elif dialect == "llamacpp":
        chosen |= {"rag_rerank_scores": "logit"}
    elif dialect in {"openai", "ollama"}:
        del chosen["rag_rerank_url"]
    return chosen | more


class TestServers:
    @pytest.mark.parametrize("dialect", ["vllm", "tei", "openai", "llamacpp", "ollama"])
    async def test_answer_with_all_that_they_have(
        self, serve: Serve, bakery: Path, models: FakeModels, dialect: str
    ) -> None:
        async with serve(**settings_of(models, bakery, dialect)) as client:
            await embedded(client)
            whole = await ask(client, FEEDING)
            events = await stream(client, FEEDING)

        assert {asked.stage for asked in models.journal} == set(STAGES.values()) - (
            {"rerank"} if dialect in {"openai", "ollama"} else set()
        )
        assert said_in(events) == list(models.pieces)
        for body in (whole, events[-1][1]):
            assert body["answer"] == "".join(models.pieces)
            assert body["sources"][0]["document"] == "sourdough.md"
            assert body["metadata"].items() >= {"mode": "generated", "confidence": "high", "degraded": []}.items()
            assert body["metadata"]["timings"].keys() == TIMINGS

    async def test_see_no_key_but_their_own(self, serve: Serve, bakery: Path, models: FakeModels) -> None:
        async with serve(**settings_of(models, bakery), rag_api_key="sesame-1") as client:
            await embedded(client)
            client.headers["Authorization"] = "Bearer sesame-1"
            answered = await ask(client, FEEDING, user_id="u-1", session_id="s-1")

        for stage, name in STAGES.items():
            seen = [asked for asked in models.journal if asked.stage == name]
            assert {asked.headers["authorization"] for asked in seen} == {f"Bearer sk-{stage}"}
            assert all(key not in str(asked.body) for asked in seen for key in ("sk-", "sesame", "u-1", "s-1"))
        assert "sk-" not in str(answered)

    async def test_are_used_one_by_one(self, serve: Serve, bakery: Path, models: FakeModels) -> None:
        for stage, name in STAGES.items():
            models.journal.clear()
            async with serve(rag_docs_dir=bakery, **{f"rag_{stage}_url": models.url("vllm")}) as client:
                body = await ask(client, FEEDING)
                await models.until(lambda: bool(models.journal))

            assert {asked.stage for asked in models.journal} == {name}
            assert body["sources"][0]["document"] == "sourdough.md"


class TestFaults:
    @pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
    async def test_in_every_stage_leave_the_local_answer(
        self, serve: Serve, bakery: Path, models: FakeModels, fault: Fault
    ) -> None:
        async with serve(**settings_of(models, bakery, rag_timeout_s=0.9)) as client:
            await embedded(client)
            models.faults |= dict.fromkeys(STAGES.values(), fault)
            whole = await ask(client, FEEDING)
            events = await stream(client, FEEDING)

        assert "".join(said_in(events)) == whole["answer"]
        for body in (whole, events[-1][1]):
            assert QUOTED in body["answer"]
            assert body["sources"][0]["document"] == "sourdough.md"
            assert body["metadata"]["degraded"] == ["embed", "rerank", "llm"]
            assert body["metadata"]["timings"].keys() == TIMINGS

    @pytest.mark.parametrize("stage", STAGES)
    async def test_in_one_stage_leave_the_others_as_they_are(
        self, serve: Serve, bakery: Path, models: FakeModels, stage: str
    ) -> None:
        async with serve(**settings_of(models, bakery)) as client:
            await embedded(client)
            models.faults[STAGES[stage]] = faults.RESET
            body = await ask(client, FEEDING)

        assert body["metadata"]["degraded"] == [stage]
        assert body["metadata"]["mode"] == ("extractive" if stage == "llm" else "generated")
        assert body["sources"][0]["document"] == "sourdough.md"

    async def test_from_the_start_leave_the_answer_of_a_server_without_models(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        async with serve(rag_docs_dir=bakery) as client:
            local = await ask(client, FEEDING)
        models.faults |= dict.fromkeys(STAGES.values(), faults.RESET)
        async with serve(**settings_of(models, bakery)) as client:
            body = await ask(client, FEEDING)

        assert (body["answer"], body["sources"]) == (local["answer"], local["sources"])
        assert body["metadata"]["degraded"] == ["embed", "rerank", "llm"]

    async def test_nobody_listens_where_the_models_should_be(
        self, serve: Serve, bakery: Path, unused_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        urls = {f"rag_{stage}_url": unused_url for stage in STAGES}
        async with serve(rag_docs_dir=bakery, **urls, **KEYS) as client:
            body = await ask(client, FEEDING)

        assert QUOTED in body["answer"]
        assert body["metadata"]["degraded"] == ["embed", "rerank", "llm"]
        assert unused_url in caplog.text
        assert "sk-" not in caplog.text

    async def test_what_a_server_says_is_for_the_log_only(
        self, serve: Serve, bakery: Path, models: FakeModels, caplog: pytest.LogCaptureFixture
    ) -> None:
        models.faults["chat"] = faults.status(400, {"error": {"message": "secret of the vendor"}})
        async with serve(**settings_of(models, bakery)) as client:
            answered = await ask(client, FEEDING)
            events = await stream(client, FEEDING)

        assert "secret of the vendor" in caplog.text
        assert "secret" not in str(answered) + str(events)


@pytest.fixture
def unused_url(unused_tcp_port: int) -> str:
    return f"http://127.0.0.1:{unused_tcp_port}/v1"


class TestConnections:
    async def test_one_that_the_server_closed_while_idle_costs_no_answer(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        models.faults["rerank"] = faults.closes_when_idle
        async with serve(**settings_of(models, bakery, rag_llm_url=None, rag_embed_url=None)) as client:
            bodies = [await ask(client, FEEDING) for _ in range(4)]

        assert [body["metadata"]["degraded"] for body in bodies] == [[]] * 4

    async def test_none_is_left_open(self, serve: Serve, bakery: Path, models: FakeModels) -> None:
        async with serve(**settings_of(models, bakery, rag_llm_url=None)) as client:
            await ask(client, FEEDING)
            assert models.open
        await models.until_closed()

    async def test_a_server_that_ends_lets_go_of_one_that_is_silent(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        models.faults["embeddings"] = faults.silent
        async with serve(**settings_of(models, bakery)):
            await models.until(lambda: bool(models.journal))
        await models.until_closed()
