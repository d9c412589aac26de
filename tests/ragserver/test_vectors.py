"""Vectors fitted on the passages at hand."""

import numpy as np
import pytest

from ragserver import vectors
from ragserver.vectors import DIMENSIONS, Floats, Lsa, Passages

SUBJECTS = 60
EACH = 10


def passages() -> list[list[str]]:
    """Ten passages on each of sixty subjects, with three of the six words of their subject."""
    random = np.random.default_rng(1)
    return [
        [f"subject{subject}word{number}" for number in random.permutation(6)[:3]]
        for subject in range(SUBJECTS)
        for _ in range(EACH)
    ]


def fitted(tokens: list[list[str]]) -> Lsa:
    return vectors.fit(Passages(tokens))


def cosines(lsa: Lsa, *tokens: str) -> Floats:
    vector = vectors.question_vector(lsa.terms[token] for token in tokens)
    assert vector is not None
    return lsa.passages @ vector


class TestNearness:
    def test_passages_on_a_subject_are_near_a_word_of_it_that_they_do_not_have(self) -> None:
        near = cosines(fitted(passages()), "subject0word0")
        without = [at for at, tokens in enumerate(passages()[:EACH]) if "subject0word0" not in tokens]

        assert min(near[without]) > max(abs(near[EACH:]))
        assert np.mean(near[without]) > 20 * np.mean(abs(near[EACH:]))

    def test_it_comes_out_the_same_every_time(self) -> None:
        first, again = fitted(passages()), fitted(passages())

        assert np.array_equal(first.passages, again.passages)
        assert first.terms.keys() == again.terms.keys()

    def test_vectors_are_of_length_one(self) -> None:
        lengths = np.linalg.norm(fitted(passages()).passages, axis=1)

        assert lengths == pytest.approx(1, abs=1e-4)

    def test_there_are_as_many_dimensions_as_wanted_and_no_more_than_passages(self) -> None:
        assert fitted(passages()).passages.shape == (SUBJECTS * EACH, DIMENSIONS)
        assert fitted(passages()[:20]).passages.shape[1] <= 20


class TestLittle:
    @pytest.mark.parametrize(
        "few", [[], [[]], [["alone"]], [["a", "b"], ["c", "d"]], [["same"]] * 3, [["a", "b"]] * 2, [[], ["a"], ["a"]]]
    )
    def test_few_or_equal_passages_are_no_error(self, few: list[list[str]]) -> None:
        lsa = fitted(few)

        assert len(lsa.passages) == len(few)
        assert np.isfinite(lsa.passages).all()

    def test_a_question_without_known_words_has_no_vector(self) -> None:
        assert vectors.question_vector([]) is None
