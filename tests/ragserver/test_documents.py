"""Which folder is answered from, and when its index is built."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import ValidationError

from ragserver.config import PACKAGED_DOCUMENTS, Settings
from ragserver.indexing import open_index
from ragserver.ownership import ForeignFileError
from tests.ragserver.conftest import Serve, ready
from tests.ragserver.questions import ask


def add_odd_documents(docs: Path) -> None:
    (docs / "empty.md").write_bytes(b"")
    (docs / "binary.md").write_bytes(bytes(range(256)) * 40)
    (docs / "broken.md").write_bytes("# 빵\n\n효모는 ".encode() + b"\xff\xfe" + " 따뜻한 곳에서 자랍니다.".encode())
    (docs / "links.md").write_text("".join(f"- [Flour {n}](https://example.org/{n})\n" for n in range(40)))
    (docs / "plain.MD").write_text("Rye bread keeps for a week.\r\n\r\nNo heading here.")
    (docs / "unclosed.md").write_text("# Oven\n\n```python\n# not a heading\nprint('hot')")
    (docs / "long.md").write_text("word" * 5000)
    (docs / "brackets.md").write_text("[" * 50_000 + "\n\n# " + " " * 50_000 + "x\n\n" + "[](" * 30_000)
    (docs / "rules.md").write_text("# Yeast\n\n---\nDry yeast keeps for months.\n\n---\n")
    (docs / "folder.md").mkdir()
    (docs / ".hidden.md").write_text("# Secret\n\nThe secret ingredient is honey.")
    Path(os.fsdecode(os.fsencode(docs) + b"/name-\xff.md")).write_text("# Bagel\n\nBoil the bagel before baking.")
    os.mkfifo(docs / "pipe.md")


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class TestFolder:
    async def test_another_folder_is_another_subject(self, serve: Serve, docs: Path) -> None:
        async with serve(rag_docs_dir=docs) as client:
            bread = await ask(client, "How do I feed a sourdough starter?")
            python = await ask(client, "리스트와 튜플의 차이는?")

        assert "every morning" in bread["answer"]
        assert bread["sources"][0]["document"] == "bread.md"
        assert python["metadata"]["confidence"] == "none"

    async def test_an_empty_folder_holds_no_answer(self, serve: Serve, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        async with serve(rag_docs_dir=tmp_path / "empty") as client:
            health = await ready(client)
            body = await ask(client, "What is a list?")

        assert health == {"status": "ok", "chunks": 0, "documents": 0, "models": {}, "embedded": None}
        assert body["metadata"]["confidence"] == "none"

    async def test_few_documents_answer_though_they_lack_a_word_of_the_question(self, serve: Serve, docs: Path) -> None:
        (docs / "허브.md").write_text(
            "# 베란다 허브\n\n바질은 햇빛을 좋아합니다. 물은 겉흙이 마르면 흠뻑 줍니다.\n\n"
            "## 병충해\n\n진딧물이 생기면 물에 세제를 섞어 잎 뒷면에 뿌립니다.\n\n"
            + "".join(
                f"## {name}\n\n{name} 화분은 봄에 갈아 줍니다.\n\n" for name in ("로즈마리", "민트", "라벤더", "파슬리")
            ),
            "utf-8",
        )
        async with serve(rag_docs_dir=docs) as client:
            lice = await ask(client, "진딧물 없애는 방법")
            other = await ask(client, "자전거 타이어 고치는 방법")

        assert lice["sources"][0]["heading"] == "베란다 허브 > 병충해"
        assert "세제" in lice["answer"]
        assert other["metadata"]["confidence"] == "none"

    def test_a_missing_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValidationError, match="rag_docs_dir"):
            Settings(rag_docs_dir=tmp_path / "nowhere")

    async def test_odd_documents_do_not_keep_the_others_from_being_found(self, serve: Serve, docs: Path) -> None:
        add_odd_documents(docs)

        async with serve(rag_docs_dir=docs) as client:
            sourdough = await ask(client, "feed the sourdough starter")
            rye = await ask(client, "How long does rye bread keep?")
            yeast = await ask(client, "효모는 어디에서 자라나요?")
            bagel = await ask(client, "boil the bagel")
            dry = await ask(client, "dry yeast keeps for months")
            oven = await ask(client, "oven hot")
            links = await ask(client, "flour 7")
            hidden = await ask(client, "secret ingredient honey")

        found = [body["sources"][0]["document"] for body in (sourdough, rye, yeast, dry, oven)]
        assert found == ["bread.md", "plain.MD", "broken.md", "rules.md", "unclosed.md"]
        assert bagel["sources"][0]["document"].startswith("name-")
        assert all(source["document"] != "links.md" for source in links["sources"])
        assert hidden["sources"] == []


class TestIndex:
    async def test_it_is_reused_while_the_documents_are_the_same(
        self, serve: Serve, docs: Path, tmp_path: Path
    ) -> None:
        async with serve(rag_docs_dir=docs) as client:
            first = await ask(client, "sourdough starter")
        built = (tmp_path / "index.db").stat()
        os.utime(docs / "bread.md", (1, 1))
        async with serve(rag_docs_dir=docs) as client:
            again = await ask(client, "sourdough starter")

        assert (tmp_path / "index.db").stat().st_ino == built.st_ino
        assert again["sources"] == first["sources"]

    async def test_a_changed_document_is_answered_from_after_a_restart(self, serve: Serve, docs: Path) -> None:
        async with serve(rag_docs_dir=docs) as client:
            await ask(client, "sourdough starter")
        (docs / "bread.md").write_text("# Sourdough\n\nKeep the sourdough starter in the fridge.\n")
        (docs / "rolls.md").write_text("# Rolls\n\nBrush the rolls with milk.\n")
        async with serve(rag_docs_dir=docs) as client:
            health = await ready(client)
            changed = await ask(client, "sourdough starter")

        assert health["documents"] == 2
        assert "fridge" in changed["answer"]
        assert "morning" not in changed["answer"]

    async def test_a_running_server_keeps_its_index_while_another_replaces_it(
        self, serve: Serve, docs: Path, tmp_path: Path
    ) -> None:
        async with serve(rag_docs_dir=docs) as old:
            (docs / "bread.md").write_text("# Sourdough\n\nKeep the sourdough starter in the fridge.\n")
            async with serve(rag_docs_dir=docs) as new:
                assert "morning" in (await ask(old, "sourdough starter"))["answer"]
                assert "fridge" in (await ask(new, "sourdough starter"))["answer"]

        assert names_in(tmp_path) == {"docs", "index.db"}

    async def test_other_settings_make_another_index(self, serve: Serve) -> None:
        async with serve() as client:
            usual = await ready(client)
        async with serve(rag_chunk_chars=300) as client:
            small = await ready(client)

        assert small["chunks"] > usual["chunks"]
        assert small["documents"] == usual["documents"]

    @pytest.mark.parametrize("keep", [100, 5000])
    async def test_a_damaged_index_is_built_anew(self, serve: Serve, docs: Path, tmp_path: Path, keep: int) -> None:
        async with serve(rag_docs_dir=docs):
            pass
        index = tmp_path / "index.db"
        index.write_bytes(index.read_bytes()[:keep])
        async with serve(rag_docs_dir=docs) as client:
            body = await ask(client, "sourdough starter")

        assert body["sources"]

    def test_a_database_of_somebody_else_is_never_replaced(self, tmp_path: Path) -> None:
        theirs = tmp_path / "app.db"
        with closing(sqlite3.connect(theirs)) as db:
            db.execute("CREATE TABLE users (id INTEGER)")
        content = theirs.read_bytes()

        with pytest.raises(ForeignFileError):
            open_index(theirs, PACKAGED_DOCUMENTS, 900)
        assert theirs.read_bytes() == content

    async def test_health_is_not_ready_before_it_is_built(self, serve_at_once: Serve, docs: Path) -> None:
        for number in range(100):
            text = "\n\n".join(f"## Part {n}\n\nLoaf {number} number {n} is baked at {n} degrees." for n in range(40))
            (docs / f"{number}.md").write_text(text)

        async with serve_at_once(rag_docs_dir=docs) as client:
            before = await client.get("/health")
            asked = await client.post("/api/v1/chat", json={"question": "loaf"})
            after = await ready(client)

        assert before.status_code == 503
        assert before.json()["status"] == "indexing"
        assert asked.status_code == 503
        assert asked.json()["success"] is False
        assert after["documents"] == 101


class TestPackagedDocuments:
    def test_topics_are_in_both_languages_but_one_each(self) -> None:
        korean = {path.name for path in (PACKAGED_DOCUMENTS / "ko").glob("*.md")}
        english = {path.name for path in (PACKAGED_DOCUMENTS / "en").glob("*.md")}

        assert english - korean == {"logging.md"}
        assert korean - english == {"dates-and-times.md"}
        assert len(korean & english) >= 12
