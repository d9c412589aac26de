"""Stage 1 with a remote model: when the documents are embedded, how often, and what the vectors decide."""

import asyncio
import os
from pathlib import Path

import httpx
import pytest

from tests.ragserver.conftest import Serve, embedded, ready
from tests.ragserver.models import FakeModels, faults
from tests.ragserver.models.meanings import Meanings
from tests.ragserver.models.wire import Asked, Wire
from tests.ragserver.process import COMMAND
from tests.ragserver.questions import ask

BUSY = faults.status(503, None, "Retry-After: 0")  # so that it is asked again at once
FLOUR = "Which flour?"


def settings_of(models: FakeModels, bakery: Path, **more: object) -> dict[str, object]:
    return {"rag_docs_dir": bakery, "rag_embed_url": models.url("vllm"), "rag_timeout_s": 6, **more}


def sent(models: FakeModels) -> list[str]:
    """The texts that were embedded since this was asked last."""
    texts = [text for body in models.asked("embeddings") for text in body["input"]]
    models.journal.clear()
    return texts


async def first_document(client: httpx.AsyncClient, question: str, **more: object) -> str:
    body = await ask(client, question, **more)
    assert body["metadata"]["degraded"] == []
    document: str = body["sources"][0]["document"]
    return document


class TestNearness:
    @pytest.mark.parametrize("document", ["oven", "sourdough", "yeast"])
    async def test_decides_where_words_do_not(
        self, serve: Serve, bakery: Path, models: FakeModels, document: str
    ) -> None:
        models.faults["embeddings"] = Meanings((document, "which")).embed
        async with serve(**settings_of(models, bakery)) as client:
            await embedded(client)

            assert await first_document(client, FLOUR) == f"{document}.md"

    async def test_finds_a_passage_that_shares_no_word_with_the_question(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        taught = Meanings(("르뱅", "starter"), ("bake",), ("yeast",))
        models.faults |= {"embeddings": taught.embed, "rerank": taught.rerank}
        rerank = {"rag_rerank_url": models.url("vllm")}
        async with serve(**settings_of(models, bakery, **rerank)) as client:
            await embedded(client)
            near = await ask(client, "르뱅 돌보기")
        async with serve(rag_docs_dir=bakery, **rerank) as client:
            far = await ask(client, "르뱅 돌보기")

        assert near["sources"][0]["document"] == "sourdough.md"
        assert near["metadata"]["confidence"] == "high"
        assert far["sources"] == []

    async def test_a_follow_up_is_embedded_with_the_question_before(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        before = [{"role": "user", "content": "How do I feed a starter?"}, {"role": "assistant", "content": "Daily."}]
        async with serve(**settings_of(models, bakery)) as client:
            await embedded(client)
            sent(models)
            await ask(client, "And why?", chat_history=before)

        assert sent(models) == ["And why?\nHow do I feed a starter?"]


class TestDocuments:
    async def test_are_answered_from_local_vectors_until_all_are_embedded(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        models.faults["embeddings"] = faults.silent
        async with serve(**settings_of(models, bakery)) as client:
            health = await ready(client)
            body = await ask(client, "feed the starter")

        assert (health["status"], health["embedded"]) == ("ok", False)
        assert health["models"] == {"embed": "BAAI/bge-m3"}
        assert body["sources"][0]["document"] == "sourdough.md"
        assert body["metadata"]["degraded"] == ["embed"]

    async def test_are_embedded_once_the_server_is_back(self, serve: Serve, bakery: Path, models: FakeModels) -> None:
        models.faults["embeddings"] = BUSY
        async with serve(**settings_of(models, bakery), embed_pause_s=0.01) as client:
            await models.until(lambda: len(models.journal) > 2)
            while_away = await ask(client, "feed the starter")
            del models.faults["embeddings"]
            await embedded(client)
            once_back = await ask(client, "feed the starter")

        assert while_away["metadata"]["degraded"] == ["embed"]
        assert once_back["metadata"]["degraded"] == []
        assert while_away["sources"][0]["document"] == once_back["sources"][0]["document"] == "sourdough.md"

    async def test_go_with_their_headings_and_are_not_sent_again_after_a_restart(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        async with serve(**settings_of(models, bakery)) as client:
            await embedded(client)
        first = sent(models)
        (bakery / "yeast.md").write_text("# Yeast\n\nFresh yeast keeps for a week.\n")
        (bakery / "oven.md").unlink()
        async with serve(**settings_of(models, bakery)) as client:
            await embedded(client)
        changed = sent(models)
        async with serve(**settings_of(models, bakery)) as client:
            await embedded(client)

        assert sorted(first)[1] == "Sourdough\n\nFeed the starter with flour every morning."
        assert len(first) == 3
        assert changed == ["Yeast\n\nFresh yeast keeps for a week."]
        assert sent(models) == []

    async def test_that_were_embedded_before_the_server_failed_are_not_sent_again(
        self, serve: Serve, tmp_path: Path, models: FakeModels
    ) -> None:
        docs = tmp_path / "many"
        docs.mkdir()
        (docs / "loaves.md").write_text("\n\n".join(f"## Loaf {n}\n\nLoaf {n} is baked." for n in range(300)))
        models.faults["embeddings"] = faults.after(4, BUSY)
        async with serve(**settings_of(models, docs), embed_pause_s=60) as client:
            await models.until(lambda: len(models.journal) == 5)
            assert (await ready(client))["embedded"] is False
        first = sent(models)
        del models.faults["embeddings"]
        async with serve(**settings_of(models, docs)) as client:
            await embedded(client)

        assert len(first) == 5 * 32
        assert len(sent(models)) == 300 - 4 * 32

    async def test_are_embedded_by_a_server_that_is_too_slow_for_many_at_once(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        async def slow(asked: Asked, wire: Wire, good: faults.Good) -> None:
            await (good() if len(asked.body["input"]) == 1 else BUSY(asked, wire, good))

        models.faults["embeddings"] = slow
        async with serve(**settings_of(models, bakery), embed_pause_s=0.0001) as client:
            await embedded(client)

    async def test_that_the_index_command_embedded_are_not_sent_again(
        self, serve: Serve, bakery: Path, tmp_path: Path, models: FakeModels
    ) -> None:
        variables = {"RAG_DB": "index.db", "RAG_DOCS_DIR": str(bakery), "RAG_EMBED_URL": models.url("vllm")}
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "index", cwd=tmp_path, env=os.environ | variables, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await process.communicate()
        first = sent(models)
        async with serve(**settings_of(models, bakery)) as client:
            await embedded(client)

        assert printed == b"3 chunks of 3 documents\nembedded by BAAI/bge-m3\n"
        assert len(first) == 3
        assert sent(models) == []

    async def test_of_another_model_are_embedded_anew(self, serve: Serve, bakery: Path, models: FakeModels) -> None:
        for model in ("small", "large"):
            async with serve(**settings_of(models, bakery, rag_embed_model=model)) as client:
                await embedded(client)

        assert [body["model"] for body in models.asked("embeddings")] == ["small", "large"]
        assert len(sent(models)) == 6

    async def test_are_embedded_anew_when_new_ones_get_another_dimension(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        async with serve(**settings_of(models, bakery)) as client:
            await embedded(client)
        models.faults["embeddings"] = Meanings(("which", "yeast"), width=5).embed
        (bakery / "rye.md").write_text("# Rye\n\nRye flour is dark.\n")
        async with serve(**settings_of(models, bakery)) as client:
            await embedded(client)

            assert await first_document(client, FLOUR) == "yeast.md"

    async def test_are_embedded_anew_when_questions_get_another_dimension(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        async with serve(**settings_of(models, bakery), embed_pause_s=0.01) as client:
            await embedded(client)
            models.faults["embeddings"] = Meanings(("which", "yeast"), width=5).embed
            at_first = await ask(client, FLOUR)
            await models.until(lambda: len(models.asked("embeddings")) == 4)
            await embedded(client)

            assert at_first["metadata"]["degraded"] == ["embed"]
            assert await first_document(client, FLOUR) == "yeast.md"

    @pytest.mark.parametrize("keep", [100, 5000])
    async def test_are_embedded_anew_when_the_kept_vectors_are_damaged(
        self, serve: Serve, bakery: Path, tmp_path: Path, models: FakeModels, keep: int
    ) -> None:
        async with serve(**settings_of(models, bakery)) as client:
            await embedded(client)
        kept = tmp_path / "index.db-embeddings"
        kept.write_bytes(kept.read_bytes()[:keep])
        async with serve(**settings_of(models, bakery)) as client:
            await embedded(client)

        assert len(sent(models)) == 6

    async def test_there_may_be_none(self, serve: Serve, tmp_path: Path, models: FakeModels) -> None:
        (tmp_path / "empty").mkdir()
        async with serve(**settings_of(models, tmp_path / "empty")) as client:
            await embedded(client)
            body = await ask(client, FLOUR)

        assert body["metadata"]["confidence"] == "none"
        assert body["metadata"]["degraded"] == []
