"""A remote model behind whose name another one comes to be: its vectors have another dimension."""

import asyncio
from pathlib import Path

import pytest

from tests.ragserver.conftest import Serve, embedded, ready
from tests.ragserver.models import FakeModels, faults
from tests.ragserver.models.meanings import Meanings
from tests.ragserver.models.wire import Asked, Wire
from tests.ragserver.questions import ask
from tests.ragserver.test_stage_embed import BUSY, FLOUR, sent, settings_of
from tests.ragserver.test_stage_embed_kept import MODEL, embed_once

OTHER = Meanings(("which", "yeast"), width=5).embed


class TestAnotherDimension:
    async def test_shown_by_two_questions_at_once_is_no_error(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        async with serve(**settings_of(models, bakery), embed_pause_s=0.01) as client:
            await embedded(client)
            both, again = asyncio.Event(), asyncio.Event()
            questions = 0

            async def one_after_the_other(asked: Asked, wire: Wire, good: faults.Good) -> None:
                nonlocal questions
                is_question = asked.body["input"][0].startswith("Which")
                questions += is_question
                if questions == 2:
                    both.set()
                if not is_question:
                    again.set()  # the documents are embedded anew, so their vectors are gone
                await (both if asked.body["input"] == [FLOUR] else again).wait()
                await OTHER(asked, wire, good)

            models.faults["embeddings"] = one_after_the_other
            bodies = await asyncio.gather(ask(client, FLOUR), ask(client, "Which oven?"))
            await embedded(client)

        assert [body["metadata"]["degraded"] for body in bodies] == [["embed"], ["embed"]]

    async def test_that_does_not_last_costs_nothing_that_was_kept(
        self, serve: Serve, bakery: Path, models: FakeModels, caplog: pytest.LogCaptureFixture
    ) -> None:
        await embed_once(serve, models, bakery)
        models.faults["embeddings"] = OTHER
        async with serve(**settings_of(models, bakery), embed_pause_s=60) as client:
            bodies = [await ask(client, FLOUR) for _ in range(3)]
            health = await ready(client)
        once = sent(models)
        del models.faults["embeddings"]
        async with serve(**settings_of(models, bakery)) as client:
            await embedded(client)

        assert [body["metadata"]["degraded"] for body in bodies] == [["embed"]] * 3
        assert health["embedded"] is False
        assert once == [FLOUR]
        assert f"{MODEL} gives questions another dimension" in caplog.text
        assert sent(models) == []

    async def test_of_questions_only_does_not_send_the_documents_again(
        self, serve: Serve, bakery: Path, models: FakeModels
    ) -> None:
        async def of_questions(asked: Asked, wire: Wire, good: faults.Good) -> None:
            await (OTHER(asked, wire, good) if asked.body["input"] == [FLOUR] else good())

        models.faults["embeddings"] = of_questions
        async with serve(**settings_of(models, bakery), embed_pause_s=0.001) as client:
            for _ in range(3):
                await embedded(client)
                await ask(client, FLOUR)

        assert len([text for text in sent(models) if text.startswith("Yeast")]) == 1

    async def test_is_gone_on_with_where_the_server_failed(
        self, serve: Serve, tmp_path: Path, models: FakeModels
    ) -> None:
        docs = tmp_path / "many"
        docs.mkdir()
        (docs / "loaves.md").write_text("\n\n".join(f"## Loaf {n}\n\nLoaf {n} is baked." for n in range(300)))
        await embed_once(serve, models, docs)
        left = 2 + 4  # the question, what tells the dimension, and four batches

        async def until_it_fails(asked: Asked, wire: Wire, good: faults.Good) -> None:
            nonlocal left
            left -= 1
            await (OTHER if left >= 0 else BUSY)(asked, wire, good)

        models.faults["embeddings"] = until_it_fails
        async with serve(**settings_of(models, docs), embed_pause_s=0.01) as client:
            await ask(client, FLOUR)
            await models.until(lambda: len(models.journal) > 7)
            models.journal.clear()
            models.faults["embeddings"] = OTHER
            await embedded(client)

        assert len({text for text in sent(models) if "Loaf" in text}) == 300 - 4 * 32
