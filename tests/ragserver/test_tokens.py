"""How words become what search compares."""

import pytest

from ragserver import tokens
from ragserver.glossary import Glossary
from ragserver.question import concepts

NO_GLOSSARY = Glossary()


class TestKorean:
    @pytest.mark.parametrize("form", ["파이썬", "파이썬은", "파이썬에서", "파이썬에서는", "파이썬으로도"])
    def test_particles_make_no_difference(self, form: str) -> None:
        assert tokens.tokens(form) == ["파이", "이썬", "_파이"]

    def test_longer_words_are_windows_of_two_syllables_and_their_beginning(self) -> None:
        assert tokens.tokens("제너레이터") == ["제너", "너레", "레이", "이터", "_제너"]

    def test_a_word_is_not_wanted_in_the_middle_of_another(self) -> None:
        wanted = set(tokens.wanted_tokens("로그를"))

        assert wanted <= set(tokens.tokens("로그 파일"))
        assert not wanted & set(tokens.tokens("프로그램"))

    def test_particles_on_another_script_are_dropped(self) -> None:
        assert tokens.tokens("Python에서 `list`와 튜플(tuple)은") == ["python", "list", "튜플", "_튜플", "tupl"]

    def test_a_syllable_on_another_script_loses_its_particle(self) -> None:
        assert tokens.tokens("with문은") == ["with", "문"]

    def test_one_syllable_nouns_lose_the_object_particle(self) -> None:
        assert tokens.tokens("키를 값을") == ["키", "값"]

    def test_decomposed_and_full_width_text_is_composed(self) -> None:
        assert tokens.tokens("튜플 ＬＩＳＴ") == tokens.tokens("튜플 list")


class TestEnglish:
    @pytest.mark.parametrize(
        "forms",
        [
            "dictionary dictionaries",
            "class classes",
            "change changes changed changing",
            "run runs running",
            "copy copies",
            "exception exceptions",
        ],
    )
    def test_forms_of_a_word_meet(self, forms: str) -> None:
        assert len(set(tokens.tokens(forms))) == 1

    @pytest.mark.parametrize("word", ["string", "class", "this", "bus", "ing", "red"])
    def test_words_that_only_look_inflected_stay(self, word: str) -> None:
        assert tokens.tokens(word) == [word]

    def test_snake_case_is_found_as_a_whole_and_by_its_parts(self) -> None:
        assert tokens.tokens("most_common __init__") == ["most_common", "most", "common", "__init__", "init"]

    def test_a_run_longer_than_any_word_is_divided(self) -> None:
        assert max(map(len, tokens.words("x" * 1000 + "가" * 1000))) <= 40

    def test_nothing_but_words_is_kept(self) -> None:
        assert tokens.tokens('"*()^~ - 😀 \0 \ud800') == []


class TestConcepts:
    def test_words_that_only_ask_are_left_out(self) -> None:
        assert [concept.word for concept in concepts("리스트는 어떻게 정렬하나요? 방법을 알려줘", NO_GLOSSARY)] == [
            "리스트는",
            "정렬하나요",
        ]
        assert [concept.word for concept in concepts("How do I sort a list?", NO_GLOSSARY)] == ["sort", "list"]

    def test_keywords_in_a_korean_question_are_not_grammar(self) -> None:
        assert [concept.word for concept in concepts("is와 for의 차이", NO_GLOSSARY)] == ["is", "for", "차이"]

    def test_verbs_and_digits_say_less_than_nouns(self) -> None:
        noun, verb, digits = concepts("리스트 정렬하나요 3", NO_GLOSSARY)

        assert noun.weight > digits.weight > verb.weight

    def test_a_word_counts_once(self) -> None:
        assert len(concepts("리스트 리스트는 리스트의", NO_GLOSSARY)) == 1
