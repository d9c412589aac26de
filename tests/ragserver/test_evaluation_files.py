"""Files of questions, and the simpler engines over a folder of three documents."""

from pathlib import Path

import pytest

from ragserver.contract import Utterance
from ragserver.evaluation.engine import Engine
from ragserver.evaluation.questions import Case, Gold, QuestionsError, check, read
from ragserver.evaluation.report import evaluate_all
from ragserver.evaluation.variants import passages_of, simpler_engines

GOOD = '{"question": "효모는 어디에서 자라나요?", "gold": [{"document": "yeast.md", "heading": "효모"}]}'


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    return tmp_path / "questions.jsonl"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three documents, one of them Korean."""
    folder = tmp_path / "three"
    folder.mkdir()
    (folder / "sourdough.md").write_text("# Sourdough\n\nFeed the starter with flour every morning.\n")
    (folder / "oven.md").write_text("# Oven\n\n## Heat\n\nBake the loaves at 240 degrees.\n")
    (folder / "yeast.md").write_text("# 효모\n\n효모는 따뜻한 곳에서 자랍니다.\n", "utf-8")
    return folder


async def first_documents(engine: Engine, question: str) -> list[str]:
    return [hit.chunk.document for hit in (await engine.find(question)).hits]


class TestFile:
    def test_questions_are_read_with_their_gold_and_history(self, questions: Path) -> None:
        followed = '{"question": " And now? ", "history": [{"role": "user", "content": "Bread?"}], "kind": "next"}'
        questions.write_text(f"\ufeff{GOOD}\n\n{followed}\r\n", "utf-8")

        assert read(questions) == [
            Case(1, "효모는 어디에서 자라나요?", (Gold(document="yeast.md", heading="효모"),)),
            Case(3, "And now?", (), (Utterance(role="user", content="Bread?"),), "next"),
        ]

    def test_a_line_separator_inside_a_string_ends_no_line(self, questions: Path) -> None:
        questions.write_text('{"question": "a\u2028b"}', "utf-8")

        assert [case.question for case in read(questions)] == ["a\u2028b"]

    @pytest.mark.parametrize(
        ("line", "fault"),
        [
            ("{", "Invalid JSON: EOF while parsing an object at column 1"),
            ("[]", "Input should be an object"),
            ('{"gold": []}', "question: Field required"),
            ('{"question": "  "}', "question: String should have at least 1 character"),
            ('{"question": "\\ud800"}', "Invalid JSON"),
            ('{"question": "a", "gold": [{"heading": "b"}]}', "gold.0.document: Field required"),
            ('{"question": "a", "golds": []}', "golds: Extra inputs are not permitted"),
            ('{"question": "a", "gold": "b.md"}', "gold: Input should be a valid"),
        ],
    )
    def test_a_wrong_line_is_named_with_what_is_wrong(self, questions: Path, line: str, fault: str) -> None:
        questions.write_text(f"{GOOD}\n{line}\n", "utf-8")

        with pytest.raises(QuestionsError) as refused:
            read(questions)
        assert str(refused.value).startswith(f"{questions}, line 2: {fault}")
        assert "\n" not in str(refused.value)

    def test_many_wrong_lines_are_told_at_once_but_not_all(self, questions: Path) -> None:
        questions.write_text("{}\n" * 12)

        with pytest.raises(QuestionsError) as refused:
            read(questions)
        told = str(refused.value).split("\n")
        assert len(told) == 11
        assert told[-1] == "... and 2 more"

    def test_a_file_that_is_not_utf_8_is_refused_with_its_line(self, questions: Path) -> None:
        questions.write_bytes(f"{GOOD}\n".encode() + '{"question": "빵"}'.encode("euc-kr"))

        with pytest.raises(QuestionsError, match="line 2: not UTF-8"):
            read(questions)

    def test_a_file_without_questions_or_that_is_not_there_is_refused(self, questions: Path) -> None:
        with pytest.raises(QuestionsError, match="cannot be read: No such file"):
            read(questions)
        questions.write_text("\n\n")
        with pytest.raises(QuestionsError, match="has no question"):
            read(questions)

    def test_gold_that_no_passage_is_from_is_refused(self, questions: Path, folder: Path) -> None:
        passages = passages_of(folder, 900)
        cases = [
            Case(1, "a", (Gold(document="oven.md", heading="Oven"),)),
            Case(4, "b", (Gold(document="oven.md", heading="Cold"),)),
            Case(5, "c", (Gold(document="stove.md"),)),
        ]

        check(questions, cases[:1], passages)
        with pytest.raises(QuestionsError) as refused:
            check(questions, cases, passages)
        assert str(refused.value).split("\n") == [
            f"{questions}, line 4: no passage under 'Cold' in 'oven.md'",
            f"{questions}, line 5: no document 'stove.md'",
        ]


class TestSimplerEngines:
    async def test_each_finds_the_document_that_says_the_words(self, folder: Path) -> None:
        with simpler_engines(passages_of(folder, 900)) as engines:
            for _, engine in engines:
                assert (await first_documents(engine, "Feed the STARTER?"))[0] == "sourdough.md"
                assert await first_documents(engine, "따뜻한 곳에서") == ["yeast.md"]
                assert await first_documents(engine, "240") == ["oven.md"]

    async def test_they_differ_in_what_a_word_is(self, folder: Path) -> None:
        with simpler_engines(passages_of(folder, 900)) as engines:
            by_particle = {name for name, engine in engines if await first_documents(engine, "효모가")}
            by_part = {name for name, engine in engines if await first_documents(engine, "doug")}
            by_form = {name for name, engine in engines if await first_documents(engine, "baking a loaf at one degree")}
            by_short = {name for name, engine in engines if await first_documents(engine, "효모")}

        assert by_particle == {"BM25, plain character bigrams"}
        assert by_part == {"FTS5 trigram, words", "FTS5 trigram, OR of trigrams"}
        assert "BM25, plain character bigrams" in by_form
        assert by_short == {"BM25, whitespace words", "BM25, plain character bigrams"}

    @pytest.mark.parametrize(
        "question", ["", "?", '"', 'a" OR "b', "NEAR(", "*", "a\0b", "😀", "x" * 8000, "빵 " * 2000]
    )
    async def test_no_question_is_a_syntax_error(self, folder: Path, question: str) -> None:
        with simpler_engines(passages_of(folder, 900)) as engines:
            reports = await evaluate_all(engines, [Case(1, question, ())])

        assert len(reports) == 4

    async def test_without_a_filter_something_found_is_an_answer(self, folder: Path) -> None:
        with simpler_engines(passages_of(folder, 900)) as engines:
            _, plain = engines[2]

            assert (await plain.find("the weather")).confidence == "high"
            assert (await plain.find("football")).confidence == "none"
