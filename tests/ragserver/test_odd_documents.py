"""Documents that nobody would write on purpose: they are searched or left out, and the others are found as ever."""

import logging
import unicodedata
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ragserver.chunks import cut
from ragserver.indexing import open_index
from tests.ragserver.conftest import Serve, ready
from tests.ragserver.questions import ask

SIZE = 900
KOREAN = "# 효모\n\n효모는 따뜻한 곳에서 자랍니다.\n"


async def answered(serve: Serve, docs: Path, document: str | bytes, question: str) -> dict[str, Any]:
    """Return the answer with this document beside the one about bread."""
    (docs / "odd.md").write_bytes(document if isinstance(document, bytes) else document.encode())
    async with serve(rag_docs_dir=docs) as client:
        assert (await ask(client, "How do I feed a sourdough starter?"))["sources"][0]["document"] == "bread.md"
        return await ask(client, question)


def longest(body: dict[str, Any]) -> int:
    return max(max(len(source["content"]), len(source["heading"])) for source in body["sources"])


class TestEncodings:
    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
    async def test_a_byte_order_mark_says_which(self, serve: Serve, docs: Path, encoding: str) -> None:
        body = await answered(serve, docs, KOREAN.encode(encoding), "따뜻한 곳에서 자라는 효모")

        assert body["sources"][0]["heading"] == "효모"
        assert body["sources"][0]["content"] == "효모는 따뜻한 곳에서 자랍니다."

    async def test_big_endian_is_read_too(self, serve: Serve, docs: Path) -> None:
        body = await answered(serve, docs, b"\xfe\xff" + KOREAN.encode("utf-16-be"), "따뜻한 곳에서 자라는 효모")

        assert body["sources"][0]["heading"] == "효모"

    async def test_decomposed_korean_is_the_same_document(self, serve: Serve, docs: Path, tmp_path: Path) -> None:
        text = "# 효모\n\n" + "효모는 따뜻한 곳에서 자랍니다. 차가운 곳에서는 잠을 잡니다. " * 50
        composed = await answered(serve, docs, text, "따뜻한 곳에서 자라는 효모")
        (tmp_path / "index.db").unlink()
        decomposed = await answered(serve, docs, unicodedata.normalize("NFD", text), "따뜻한 곳에서 자라는 효모")

        assert decomposed["sources"] == composed["sources"]
        assert decomposed["answer"] == composed["answer"]

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (KOREAN.encode() + b"\0", "binary"),
            (KOREAN.encode("utf-16-le"), "binary"),
            (KOREAN.encode("utf-32"), "binary"),
            (KOREAN.encode("cp949"), "neither UTF-8 nor UTF-16"),
            (bytes(range(1, 256)) * 4, "neither UTF-8 nor UTF-16"),
        ],
    )
    async def test_what_is_no_text_is_left_out_and_said(
        self, serve: Serve, docs: Path, caplog: pytest.LogCaptureFixture, content: bytes, reason: str
    ) -> None:
        body = await answered(serve, docs, content, "따뜻한 곳에서 자라는 효모")

        assert body["sources"] == []
        (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert warning.startswith(f"Document left out, it is {reason}: ")
        assert warning.endswith("odd.md'")


class TestLanguages:
    @pytest.mark.parametrize(
        ("text", "question"),
        [
            ("列表是可以修改的有序集合。元组创建以后不能修改。", "元组可以修改吗"),
            ("リストは変更できます。タプルは変更できません。", "タプルは変更できますか"),
            ("Список можно изменять. Кортеж изменить нельзя. ", "Кортеж изменить нельзя?"),
            ("يمكن تعديل القائمة. لا يمكن تعديل الصف. ", "تعديل الصف"),
        ],
    )
    async def test_any_is_found_and_cut_at_sentences(self, serve: Serve, docs: Path, text: str, question: str) -> None:
        body = await answered(serve, docs, text * 100, question)

        assert body["sources"][0]["document"] == "odd.md"
        assert body["sources"][0]["content"].endswith((".", "。"))


class TestSize:
    async def test_one_line_of_a_megabyte_is_cut_between_words(self, serve: Serve, docs: Path) -> None:
        body = await answered(serve, docs, "Rye bread keeps for a week " * 40_000, "rye bread keeps a week")

        assert longest(body) <= SIZE
        assert set(body["sources"][0]["content"].split()) == {"Rye", "bread", "keeps", "for", "a", "week"}

    async def test_a_fence_of_a_megabyte_is_cut_into_fences(self, serve: Serve, docs: Path) -> None:
        code = "".join(f"rye_{number} = bake({number})\n" for number in range(50_000))
        body = await answered(serve, docs, f"# Rye\n\n```python\n{code}", "rye_77")

        assert longest(body) <= SIZE
        assert "rye_77 = bake(77)\n" in body["sources"][0]["content"]
        assert all(source["content"].startswith("```python\n") for source in body["sources"])
        assert all(source["content"].endswith("\n```") for source in body["sources"])

    async def test_a_heading_of_a_megabyte_is_none(self, serve: Serve, docs: Path) -> None:
        document = "# " + "rye bread " * 100_000 + "\n\n## Oven\n\nBake the rye at 240 degrees.\n" * 10
        body = await answered(serve, docs, document, "How many degrees for rye?")

        assert body["sources"][0]["heading"] == "Oven"
        assert longest(body) <= SIZE

    def test_every_part_of_a_long_table_has_its_head(self) -> None:
        head = "| flour | grams |\n|---|---:|"
        chunks = cut("a.md", f"# Flours\n\n{head}\n" + "".join(f"| rye {n} | {n} |\n" for n in range(5000)), SIZE)

        assert all(chunk.content.startswith(f"{head}\n| rye ") for chunk in chunks)
        assert all(len(chunk.content) <= SIZE for chunk in chunks)
        assert sum(chunk.content.count("| rye ") for chunk in chunks) == 5000

    def test_ten_thousand_headings_are_as_many_places(self, docs: Path, tmp_path: Path) -> None:
        (docs / "many.md").write_text("".join(f"{'#' * (n % 6 + 1)} Loaf {n}\n\nText.\n\n" for n in range(10_000)))

        with closing(open_index(tmp_path / "index.db", docs, SIZE)) as store:
            assert store.chunks == 10_001

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "\ufeff",
            "# A\n\n## B",
            "- [Rye](rye.md)\n" * 5000,
            "!!! ??? ...",
            "---\ntitle: x\n---\n",
            "\n" * 100_000,
        ],
    )
    async def test_a_document_without_text_has_no_passage(self, serve: Serve, docs: Path, text: str) -> None:
        (docs / "odd.md").write_text(text)
        async with serve(rag_docs_dir=docs) as client:
            health = await ready(client)

        assert health["documents"] <= 2
        assert health["chunks"] <= 2

    @pytest.mark.parametrize("text", ["x\n\n" * 20_000, "[](" * 100_000, "# A\n\n```\n" * 20_000, "`" * 300_000])
    def test_what_has_no_end_in_sight_is_cut_in_time(self, text: str) -> None:
        assert all(len(chunk.content) < 4 * SIZE for chunk in cut("a.md", text, SIZE))


class TestFences:
    def test_one_in_a_list_item_is_code_and_stands_as_it_would_outside(self) -> None:
        item = "1. Bake:\n\n    ```python\n    # hot\n\n    if oven:\n        bake()\n    ```\n2. Eat.\n"
        (chunk,) = cut("a.md", item, SIZE)

        assert "```python\n# hot\n\nif oven:\n    bake()\n```" in chunk.content

    @pytest.mark.parametrize("opening", ["- ```", "10. ~~~", "     - ```"])
    def test_one_may_open_with_its_item(self, opening: str) -> None:
        marks = opening.rsplit(maxsplit=1)[-1]
        inside = " " * opening.index(marks)
        text = f"# A\n\n{opening}\n{inside}# not a heading\n{inside}{marks}\n\n# B\n\nText."

        assert [chunk.heading for chunk in cut("a.md", text, SIZE)] == ["A", "B"]

    def test_one_that_is_not_closed_ends_with_its_item(self) -> None:
        text = "- Bake:\n\n      ```\n      bake()\n\n# B\n\nText."

        assert [chunk.heading for chunk in cut("a.md", text, SIZE)] == ["", "B"]

    def test_one_that_is_not_closed_ends_with_the_document(self) -> None:
        (chunk,) = cut("a.md", "# A\n\n```\n# not a heading\n\n## nor this", SIZE)

        assert chunk.heading == "A"

    def test_marks_within_a_line_are_none(self) -> None:
        text = "# A\n\n```bake()``` bakes.\n\n# B\n\nText."

        assert [chunk.heading for chunk in cut("a.md", text, SIZE)] == ["A", "B"]

    def test_headings_are_six_deep_at_most(self) -> None:
        text = "".join(f"{'#' * depth} H{depth}\n\nText {depth}.\n\n" for depth in range(1, 9))
        *_, last = cut("a.md", text, SIZE)

        assert last.heading == "H1 > H2 > H3 > H4 > H5 > H6"
        assert "####### H7" in last.content


class TestFew:
    @pytest.mark.parametrize(
        "documents",
        [
            ["Rye bread."],
            ["Rye bread.", "Wheat bread."],
            ["Rye bread."] * 2,
            ["Rye bread."] * 300,
            ["Rye bread.", *["..."] * 50],
        ],
    )
    async def test_few_or_equal_passages_are_found(self, serve: Serve, tmp_path: Path, documents: list[str]) -> None:
        folder = tmp_path / "few"
        folder.mkdir()
        for number, text in enumerate(documents):
            (folder / f"{number}.md").write_text(text)
        async with serve(rag_docs_dir=folder) as client:
            body = await ask(client, "rye bread")

        assert body["metadata"]["confidence"] == "high"
        assert body["sources"][0]["content"] == "Rye bread."
