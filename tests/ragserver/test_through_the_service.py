"""The chat service in front of this server: a question goes all the way, and its answer comes back and is kept."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.command import upgrade

from ragserver.config import PACKAGED_DOCUMENTS
from tests.conftest import SignedIn, alembic_config, sign_up
from tests.ragserver.models import FakeModels, dialects, faults
from tests.ragserver.process import running_process
from tests.server import make_settings, running_server
from tests.streams import read_stream, streaming

STREAM = "/api/v1/chatbot/chat/stream/"
SESSIONS = "/api/v1/chatbot/sessions"
ACROSS = "리스트와 튜플의 차이는?"  # the documents are in English


@pytest.fixture
async def asker(tmp_path: Path, models: FakeModels) -> AsyncIterator[SignedIn]:
    """A user of the service, whose RAG server is a process with English documents and a language model."""
    database_url = f"sqlite:///{tmp_path}/chat.db"
    await asyncio.to_thread(upgrade, alembic_config(database_url), "head")
    english = running_process(tmp_path, PACKAGED_DOCUMENTS / "en", RAG_LLM_URL=models.url("openai"), RAG_LLM_KEY="sk-1")
    async with english as rag_url:
        settings = make_settings(database_url=database_url, runpod_rag_url=rag_url, rag_timeout_seconds=10)
        async with running_server(settings) as server:
            user = await sign_up(server, "asker")
            async with user.http:
                yield user


class TestQuestion:
    async def test_in_korean_is_answered_from_english_documents_while_the_model_writes(
        self, asker: SignedIn, models: FakeModels
    ) -> None:
        models.faults["chat"] = gate = faults.Gate("튜플은 바꿀 수 ", "없습니다 [1].")
        async with streaming(asker.http, STREAM, json={"message": ACROSS}) as answer:
            await answer.until_text("튜플은 바꿀 수 ")
            gate.release()
            await answer.read()
        stored = (await asker.http.get(f"{SESSIONS}/{answer.start['session_id']}/")).json()["data"]["messages"]
        del models.faults["chat"]
        further = {"message": "그럼 세트는?", "session_id": answer.start["session_id"]}
        await read_stream(asker.http, STREAM, json=further)

        question, kept = stored
        assert (question["content"], kept["content"]) == (ACROSS, "튜플은 바꿀 수 없습니다 [1].")
        assert answer.of("data-sources")["data"] == kept["sources"]
        assert kept["sources"][0]["document"] == "lists-and-tuples.md"
        assert kept["metadata"].items() >= {"mode": "generated", "model": "gpt-4.1", "confidence": "high"}.items()
        assert models.asked("chat")[1]["messages"][1:-1] == [
            {"role": "user", "content": ACROSS},
            {"role": "assistant", "content": kept["content"]},
        ]

    async def test_whose_answer_breaks_off_has_failed_and_may_be_asked_again(
        self, asker: SignedIn, models: FakeModels
    ) -> None:
        models.faults["chat"] = faults.events(dialects.chunk({"content": "튜플은 "}), then="cut")
        broken = await read_stream(asker.http, STREAM, json={"message": ACROSS})
        del models.faults["chat"]
        whole = await read_stream(
            asker.http, STREAM, json={"message": ACROSS, "session_id": broken.start["session_id"]}
        )

        assert broken.types[-2:] == ["data-error", "error"]
        assert broken.text == "튜플은 "
        assert whole.text == "".join(models.pieces)
