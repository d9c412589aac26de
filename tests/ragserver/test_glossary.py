"""Korean words and English ones that mean the same."""

from pathlib import Path

import pytest

from ragserver import tokens
from ragserver.glossary import PACKAGED, Glossary, GlossaryError
from tests.ragserver.conftest import Serve
from tests.ragserver.questions import ask


def glossary_of(folder: Path, *lines: str) -> Glossary:
    path = folder / "glossary.tsv"
    path.write_text("\n".join(lines), "utf-8")
    return Glossary.read(path)


def found(glossary: Glossary, text: str) -> tuple[int, set[str]]:
    """The entry at the beginning of a text: how many words it takes, and its translations as their first tokens."""
    entry = glossary.find(list(tokens.words(text)))
    return (entry.words, {term[0] for term in entry.terms}) if entry else (0, set())


class TestEntries:
    @pytest.mark.parametrize("text", ["목록", "목록을", "목록에서는", "LIST", "lists"])
    def test_a_word_is_found_with_its_endings(self, tmp_path: Path, text: str) -> None:
        taken, _ = found(glossary_of(tmp_path, "목록, 리스트\tlist"), text)

        assert taken == 1

    def test_words_that_belong_together_are_one_entry_with_and_without_spaces(self, tmp_path: Path) -> None:
        glossary = glossary_of(tmp_path, "가상 환경\tvirtual environment", "환경\tenvironment")

        assert found(glossary, "가상 환경을 만드는 법") == (2, {"virtual"})
        assert found(glossary, "가상환경을 만드는 법") == (1, {"virtual"})
        assert found(glossary, "virtual environments")[0] == 2
        assert found(glossary, "환경 변수") == (1, {"environment"})

    def test_a_compound_is_taken_apart_by_the_longest_words(self, tmp_path: Path) -> None:
        glossary = glossary_of(tmp_path, "메모리\tmemory", "관리\tmanagement", "리관\twrong")

        assert found(glossary, "메모리관리") == (1, {"memory", "management"})

    def test_unknown_words_have_no_entry(self, tmp_path: Path) -> None:
        assert glossary_of(tmp_path, "목록\tlist").find(["딴말"]) is None

    def test_comments_and_blank_lines_are_none(self, tmp_path: Path) -> None:
        assert glossary_of(tmp_path, "# 제목\tTitle", "", "목록\tlist").korean.keys() == {"목록"}


class TestFaults:
    @pytest.mark.parametrize("line", ["목록 list", "목록\t", "\tlist", "목록\t ,"])
    def test_a_line_that_is_no_entry_is_named(self, tmp_path: Path, line: str) -> None:
        with pytest.raises(GlossaryError, match=r"glossary\.tsv, line 2"):
            glossary_of(tmp_path, "# mine", line)


class TestPackaged:
    def test_it_can_be_read_and_holds_no_word_twice(self) -> None:
        lines = [line for line in PACKAGED.read_text("utf-8").splitlines() if not line.startswith("#")]
        korean = [word.strip() for line in lines for word in line.partition("\t")[0].split(",")]

        assert len(Glossary.read(PACKAGED).korean) > 1000
        assert sorted(korean) == sorted(set(korean))


class TestOwn:
    async def test_an_operators_glossary_replaces_it(self, serve: Serve, docs: Path, tmp_path: Path) -> None:
        own = tmp_path / "own.tsv"
        own.write_text("발효종\tsourdough starter\n", "utf-8")

        async with serve(rag_docs_dir=docs) as client:
            without = await ask(client, "발효종")
        async with serve(rag_docs_dir=docs, rag_glossary=own) as client:
            body = await ask(client, "발효종")

        assert without["metadata"]["confidence"] == "none"
        assert body["metadata"]["confidence"] == "high"
        assert body["sources"][0]["document"] == "bread.md"
