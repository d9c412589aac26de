"""Vectors of a remote model that are kept: what they outlive, who may use them, and what is not sent again."""

import asyncio
import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from ragserver.embedding_store import EmbeddingStore, digest
from tests.ragserver.conftest import Serve, embedded, ready
from tests.ragserver.models import FakeModels, faults
from tests.ragserver.models.meanings import Meanings
from tests.ragserver.models.wire import Asked, Fault, Wire
from tests.ragserver.process import COMMAND
from tests.ragserver.questions import ask
from tests.ragserver.test_stage_embed import BUSY, FLOUR, sent, settings_of


def database(schema: str) -> bytes:
    """The file of an application that is not ours."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute(schema)
        return db.serialize()


MODEL = "BAAI/bge-m3"
DATABASE = database("CREATE TABLE users (id INTEGER)")


def refusing(word: str) -> Fault:
    """A model that takes no text with a word."""

    async def play(asked: Asked, wire: Wire, good: faults.Good) -> None:
        bad = any(word in text for text in asked.body["input"])
        await (faults.status(400, {"error": {"message": "bad input"}})(asked, wire, good) if bad else good())

    return play


async def embed_once(serve: Serve, models: FakeModels, bakery: Path) -> None:
    async with serve(**settings_of(models, bakery)) as client:
        await embedded(client)
    sent(models)


async def command(models: FakeModels, bakery: Path, folder: Path, *arguments: str) -> tuple[str, str]:
    """What the command printed, and what it said beside it."""
    variables = {"RAG_DB": "index.db", "RAG_DOCS_DIR": str(bakery), "RAG_EMBED_URL": models.url("vllm")}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, cwd=folder, env=os.environ | variables, stdout=pipe, stderr=pipe
    )
    printed, said = await process.communicate()
    return printed.decode(), said.decode()


class TestKept:
    async def test_serve_the_first_question_after_a_restart(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        await embed_once(serve, models, bakery)
        async with serve(**settings_of(models, bakery)) as client:
            health = await ready(client)
            body = await ask(client, FLOUR)

        assert health["embedded"] is True
        assert body["metadata"]["degraded"] == []
        assert sent(models) == [FLOUR]

    async def test_serve_the_ask_command(self, bakery: Path, tmp_path: Path, models: FakeModels) -> None:
        models.faults["embeddings"] = Meanings(("which", "yeast")).embed
        without = await command(models, bakery, tmp_path, "ask", FLOUR)
        await command(models, bakery, tmp_path, "index")
        sent(models)
        printed, said = await command(models, bakery, tmp_path, "ask", FLOUR)

        assert without[1].endswith("without the remote model of: embed\n")
        assert "] 1.00 yeast.md: Yeast" in printed
        assert said == ""
        assert sent(models) == [FLOUR]

    async def test_of_gone_documents_are_forgotten_but_not_those_that_another_process_adds(
        self, serve: Serve, bakery: Path, tmp_path: Path, models: FakeModels
    ) -> None:
        await embed_once(serve, models, bakery)
        (bakery / "oven.md").unlink()
        (bakery / "rye.md").write_text("# Rye\n\nRye flour is dark.\n")
        kept = EmbeddingStore(tmp_path / "index.db-embeddings", MODEL)
        before = kept.read().keys()
        models.faults["embeddings"] = BUSY
        async with serve(**settings_of(models, bakery), embed_pause_s=0.01) as client:
            kept.add([digest("of another process")], np.ones((1, 64), np.float32))
            del models.faults["embeddings"]
            await embedded(client)
            async with asyncio.timeout(10):
                while before <= kept.read().keys():  # noqa: ASYNC110 - forgotten after the last one is embedded
                    await asyncio.sleep(0.01)

        assert len(before - kept.read().keys()) == 1
        assert digest("of another process") in kept.read()

    @pytest.mark.parametrize("blob", [b"\1\2\3\4\5", b"", np.full(64, np.nan, np.float32).tobytes(), "text", 7])
    async def test_that_are_none_are_embedded_anew(
        self, serve: Serve, bakery: Path, tmp_path: Path, models: FakeModels, blob: bytes | str | int
    ) -> None:
        await embed_once(serve, models, bakery)
        with closing(sqlite3.connect(tmp_path / "index.db-embeddings")) as db, db:
            db.execute("UPDATE embeddings SET vector = ? WHERE digest = (SELECT max(digest) FROM embeddings)", (blob,))
        async with serve(**settings_of(models, bakery)) as client:
            await embedded(client)

        assert len(sent(models)) == 1

    @pytest.mark.parametrize("content", [b"mine", b"mine" * 100, DATABASE])
    async def test_are_not_put_into_a_file_of_somebody_else(
        self, serve: Serve, bakery: Path, tmp_path: Path, models: FakeModels, content: bytes
    ) -> None:
        theirs = tmp_path / "index.db-embeddings"
        theirs.write_bytes(content)
        async with serve(**settings_of(models, bakery)) as client:
            body = await ask(client, "feed the starter")
        _, said = await command(models, bakery, tmp_path, "index")

        assert theirs.read_bytes() == content
        assert body["sources"][0]["document"] == "sourdough.md"
        assert said.splitlines()[-1].endswith("was not made by this server and is left as it is")


class TestRefusedPassage:
    async def test_does_not_keep_the_others_from_being_embedded(
        self, serve: Serve, bakery: Path, models: FakeModels, caplog: pytest.LogCaptureFixture
    ) -> None:
        models.faults["embeddings"] = refusing("240 degrees")
        async with serve(**settings_of(models, bakery)) as client:
            await embedded(client)
            body = await ask(client, "feed the starter")
        sent(models)
        async with serve(**settings_of(models, bakery)) as client:
            await embedded(client)

        assert body["metadata"]["degraded"] == []
        assert body["sources"][0]["document"] == "sourdough.md"
        assert "Not embedded: the passage that begins with 'Oven\\n\\nDust the stone" in caplog.text
        assert sent(models) == []

    async def test_is_not_said_of_all_when_the_model_takes_nothing(
        self, serve: Serve, bakery: Path, tmp_path: Path, models: FakeModels
    ) -> None:
        models.faults["embeddings"] = faults.status(400, {"error": {"message": "no such model"}})
        async with serve(**settings_of(models, bakery), embed_pause_s=0.01) as client:
            await models.until(lambda: len(models.journal) > 4)
            health = await ready(client)
            kept = EmbeddingStore(tmp_path / "index.db-embeddings", MODEL).read()

        assert health["embedded"] is False
        assert kept == {}


class TestTrouble:
    async def test_that_nobody_thought_of_is_in_the_log_with_its_trace(
        self, serve: Serve, bakery: Path, models: FakeModels, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(EmbeddingStore, "add", Mock(side_effect=ValueError("nobody thought of this")))
            async with serve(**settings_of(models, bakery)) as client:
                async with asyncio.timeout(10):
                    while "no longer embedded" not in caplog.text:  # noqa: ASYNC110 - only the log says it
                        await asyncio.sleep(0.005)
                body = await ask(client, "feed the starter")

        (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert record.exc_info is not None
        assert body["metadata"]["degraded"] == ["embed"]
