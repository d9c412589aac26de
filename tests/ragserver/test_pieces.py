"""A finished text in pieces, as a stream sends them."""

import unicodedata
from itertools import pairwise
from typing import Literal

import pytest

from ragserver.config import PACKAGED_DOCUMENTS
from ragserver.pieces import split

FAMILY = "👩‍👩‍👧"
DOCUMENTS = sorted(PACKAGED_DOCUMENTS.rglob("*.md"))


class TestEnds:
    def test_lines_and_sentences_end_a_piece(self) -> None:
        text = '문서입니다.\n\n리스트는 값을 바꿉니다! "튜플은 아닙니다." 왜? x = 3.14, e.g. this.\n    y = 2\n'

        assert list(split(text)) == [
            "문서입니다.\n\n",
            "리스트는 값을 바꿉니다! ",
            '"튜플은 아닙니다." 왜? ',
            "x = 3.14, e.g. this.\n",
            "    y = 2\n",
        ]

    def test_a_source_stays_with_its_sentence_and_a_number_with_its_item(self) -> None:
        assert list(split("It can. [1]\n\n1. First item. 2. Second. [2]")) == [
            "It can. [1]\n\n",
            "1. First item. ",
            "2. Second. [2]",
        ]

    def test_a_source_stays_where_there_was_room_for_its_sentence_only(self) -> None:
        assert list(split("x" * 59 + ". [12]\n\nNext.")) == ["x" * 59 + ". [12]\n\n", "Next."]

    def test_a_long_sentence_is_cut_between_words(self) -> None:
        pieces = list(split("변경 가능한 리스트는 " * 30))

        assert all(piece.endswith(" ") and 40 <= len(piece) <= 60 for piece in pieces[:-1])

    def test_a_long_word_is_cut_anywhere(self) -> None:
        assert [len(piece) for piece in split("x" * 130)] == [60, 60, 10]

    @pytest.mark.parametrize("text", ["", "x", "\n", " " * 1000, "\r\n" * 100, "." * 500, "가. " * 100])
    def test_nothing_is_added_or_lost(self, text: str) -> None:
        assert "".join(split(text)) == text
        assert all(split(text))


class TestCharacters:
    @pytest.mark.parametrize(
        "character",
        [
            "e\u0301\u0323",
            unicodedata.normalize("NFD", "값"),
            "가\u11ab",
            "\u1100\u1100\u1161\u11a8",
            FAMILY,
            "👍🏽",
            "❤️",
            "1️⃣",
            "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
            "क्षि",
            "ｶﾞ",
            "\r\n",
        ],
        ids=lambda character: " ".join(f"{ord(part):x}" for part in character),
    )
    def test_one_is_never_cut(self, character: str) -> None:
        for before in range(56, 64):
            pieces = list(split("x" * before + character * 40))

            assert "".join(pieces) == "x" * before + character * 40
            assert all(not piece.strip("x").replace(character, "") for piece in pieces)

    def test_a_flag_is_never_cut(self) -> None:
        pieces = list(split("x" * 59 + "🇰🇷" * 3 + "y" * 60))

        assert pieces[0] == "x" * 59 + "🇰🇷" * 3

    def test_a_mark_stays_with_the_space_that_ends_a_sentence(self) -> None:
        assert list(split("One. \u0301Two.")) == ["One. \u0301", "Two."]


class TestDocuments:
    @pytest.mark.parametrize("form", ["NFC", "NFD"])
    def test_they_are_the_concatenation_of_short_pieces(self, form: Literal["NFC", "NFD"]) -> None:
        for path in DOCUMENTS:
            text = unicodedata.normalize(form, path.read_text("utf-8"))
            pieces = list(split(text))

            assert "".join(pieces) == text
            assert max(map(len, pieces)) <= 80

    def test_decomposed_korean_is_never_cut_in_a_syllable(self) -> None:
        for path in DOCUMENTS:
            text = unicodedata.normalize("NFD", path.read_text("utf-8").replace(" ", ""))

            for before, after in pairwise(split(text)):
                composed = unicodedata.normalize("NFC", before) + unicodedata.normalize("NFC", after)
                assert composed == unicodedata.normalize("NFC", before + after)
