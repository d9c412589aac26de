"""How a document is cut."""

from ragserver.chunks import cut
from ragserver.markdown import sentences
from ragserver.units import units

SIZE = 300


class TestHeadings:
    def test_each_starts_a_chunk_that_knows_the_headings_above(self) -> None:
        text = "Before.\n\n# A\n\nOne.\n\n## B\n\nTwo.\n\n### C #\n\nThree.\n\n## D# in C#\n\nFour.\n\n# E\n\nFive."
        chunks = cut("a.md", text, SIZE)

        assert [(chunk.heading, chunk.content) for chunk in chunks] == [
            ("", "Before."),
            ("A", "One."),
            ("A > B", "Two."),
            ("A > B > C", "Three."),
            ("A > D# in C#", "Four."),
            ("E", "Five."),
        ]

    def test_a_comment_in_code_is_not_one(self) -> None:
        (chunk,) = cut("a.md", "# A\n\n```python\n# comment\n\nx = 1\n```", SIZE)

        assert chunk.heading == "A"
        assert "# comment\n\nx = 1" in chunk.content

    def test_one_without_text_makes_no_chunk(self) -> None:
        assert cut("a.md", "# A\n\n## B\n\n## C", SIZE) == []

    def test_front_matter_is_left_out(self) -> None:
        (chunk,) = cut("a.md", "---\ntitle: x\n---\nText.", SIZE)

        assert chunk.content == "Text."


class TestSize:
    def test_long_sections_are_cut_at_paragraphs_and_sentences(self) -> None:
        text = "\n\n".join("The cat sat on the mat. " * 10 for _ in range(4))
        chunks = cut("a.md", text, SIZE)

        assert all(len(chunk.content) <= SIZE for chunk in chunks)
        assert all(chunk.content.endswith("mat.") for chunk in chunks)
        assert sum(chunk.content.count("cat") for chunk in chunks) == 40

    def test_a_fence_is_never_cut(self) -> None:
        code = "~~~~\n" + "x = 1\n\n" * 200 + "~~~\n~~~~"
        chunks = cut("a.md", f"# A\n\nText.\n\n{code}\n\nMore.", SIZE)

        assert [chunk for chunk in chunks if code in chunk.content]

    def test_a_text_without_any_break_is_still_cut(self) -> None:
        chunks = cut("a.md", "가" * 1000, SIZE)

        assert "".join(chunk.content for chunk in chunks) == "가" * 1000
        assert all(len(chunk.content) <= SIZE for chunk in chunks)

    def test_an_example_stays_with_its_explanation(self) -> None:
        text = "Explained. " * 25 + "\n\n```\nexample()\n```\n\n" + "Next. " * 40
        first, second = cut("a.md", text, SIZE)

        assert "example()" in first.content
        assert "Next" in second.content


class TestLinks:
    def test_a_page_of_links_is_left_out(self) -> None:
        assert cut("a.md", "# Contents\n\n- [Lists](lists.md)\n- [Sets](sets.md)\n- <https://example.org>", SIZE) == []

    def test_text_with_a_link_stays(self) -> None:
        assert cut("a.md", "Read all about lists and what to do with them [here](lists.md).", SIZE)


class TestChunkIds:
    def test_they_stay_when_other_sections_change(self) -> None:
        before = cut("a.md", "# A\n\nOne.\n\n# B\n\nTwo.", SIZE)
        after = cut("a.md", "# A\n\nOne and more.\n\nNew.\n\n# B\n\nTwo.", SIZE)

        assert before[-1].chunk_id == after[-1].chunk_id
        assert before[0].chunk_id != after[0].chunk_id

    def test_equal_passages_differ(self) -> None:
        same = cut("a.md", "# A\n\nOne.\n\n# A\n\nOne.", SIZE) + cut("b.md", "# A\n\nOne.", SIZE)

        assert len({chunk.chunk_id for chunk in same}) == 3


class TestSentences:
    def test_they_end_where_readers_think(self) -> None:
        text = 'Use `a.b` here, e.g. `x`. Then "stop"! 값은 3.14입니다. 다음\n문장입니다. OK?'

        assert sentences(text) == [
            "Use `a.b` here, e.g. `x`.",
            'Then "stop"!',
            "값은 3.14입니다.",
            "다음 문장입니다.",
            "OK?",
        ]


class TestBlank:
    def test_blanks_of_any_kind_make_no_passage(self) -> None:
        blanks = "\u3000" * 5000 + "\u00a0" * 2000 + "\t" * 2000
        found = cut("prices.md", f"# Prices\n\n| item |{blanks}| end |\n\n- a{blanks}b\n", 300)

        assert found
        assert all(list(units(chunk.content)) for chunk in found)
