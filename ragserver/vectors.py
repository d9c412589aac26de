"""Vectors of passages by latent semantic analysis, fitted on the documents at hand: small, local, nothing to download.

Words that occur in the same passages come to lie close to each other, so a passage can be near a question with which
it shares few words. The fit is a randomised singular value decomposition (Halko, Martinsson, Tropp 2011, algorithm
4.4) of the weighted counts of a sample of the passages; all of them are projected.
"""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

DIMENSIONS = 128
_SAMPLE = 1_500
_VOCABULARY = 20_000
_LEAST_FREQUENCY = 2
_MOST_FREQUENT = 0.5
_OVERSAMPLING = 10
_BLOCK = 500  # rows that are multiplied at once; bounds the memory it takes
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Lsa:
    """A fitted space: the vector of each token, and one of length 1 for each passage."""

    terms: Mapping[str, Floats]
    passages: Floats


@dataclass(frozen=True, slots=True)
class _Rows:
    """A sparse matrix by its rows: row i has `values[starts[i]:starts[i + 1]]` in those `columns`."""

    starts: Integers
    columns: Integers
    values: Floats
    width: int

    @classmethod
    def of(cls, rows: Integers, columns: Integers, values: Floats, shape: tuple[int, int]) -> Self:
        """Return the matrix with these entries, which are ordered by row."""
        return cls(np.searchsorted(rows, np.arange(shape[0] + 1)), columns, values, shape[1])

    def times(self, dense: Floats) -> Floats:
        """Return the product with a dense matrix."""
        height = len(self.starts) - 1
        product = np.zeros((height, dense.shape[1]), np.float32)
        for first in range(0, height, _BLOCK):
            self._fill(product[first : first + _BLOCK], first, dense)
        return product

    def _fill(self, product: Floats, first: int, dense: Floats) -> None:
        starts = self.starts[first : first + len(product) + 1]
        begin, end = starts[0], starts[-1]
        if begin == end:
            return
        terms = dense[self.columns[begin:end]] * self.values[begin:end, None]
        filled = starts[1:] > starts[:-1]
        product[filled] = np.add.reduceat(terms, starts[:-1][filled] - begin, axis=0)

    def picked(self, rows: Integers) -> Self:
        """Return the matrix of these rows only."""
        lengths = self.starts[rows + 1] - self.starts[rows]
        at = np.concatenate([np.arange(self.starts[row], self.starts[row + 1]) for row in rows])
        starts = np.concatenate(([0], np.cumsum(lengths)))
        return type(self)(starts, self.columns[at], self.values[at], self.width)

    def transposed(self) -> Self:
        """Return the matrix with rows and columns exchanged."""
        height = len(self.starts) - 1
        rows = np.repeat(np.arange(height), np.diff(self.starts))
        order = np.argsort(self.columns, kind="stable")
        return self.of(self.columns[order], rows[order], self.values[order], (self.width, height))


class Passages:
    """Passages by the numbers of their tokens, which take a fraction of the room that the tokens take."""

    def __init__(self, passages: Iterable[Iterable[str]] = ()) -> None:
        self.vocabulary: dict[str, int] = {}
        self.tokens = array("q")
        self.lengths = array("q")
        for passage in passages:
            self.add(passage)

    def __len__(self) -> int:
        return len(self.lengths)

    def add(self, passage: Iterable[str]) -> None:
        """Add a passage, as its tokens."""
        before = len(self.tokens)
        self.tokens.extend([self.vocabulary.setdefault(token, len(self.vocabulary)) for token in passage])
        self.lengths.append(len(self.tokens) - before)


def fit(passages: Passages) -> Lsa:
    """Return the space of the passages; the same every time for the same ones."""
    of_token = np.repeat(np.arange(len(passages)), np.array(passages.lengths, np.int64))
    rows, columns, counts = _counted(of_token, np.array(passages.tokens, np.int64), len(passages.vocabulary))
    frequencies = np.bincount(columns, minlength=len(passages.vocabulary))
    kept = _worth_keeping(frequencies, len(passages))
    if not len(kept):
        return Lsa({}, np.zeros((len(passages), 0), np.float32))
    weighted, rarities = _weighted(rows, columns, counts, kept, frequencies, len(passages))
    projection = _projection(weighted)
    names = list(passages.vocabulary)
    vectors = projection * rarities[:, None]
    return Lsa(
        {names[number]: vector for number, vector in zip(kept, vectors, strict=True)},
        normalised(weighted.times(projection)),
    )


def normalised(vectors: Floats) -> Floats:
    """Return the vectors, in rows, with their lengths made 1; those of no length stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Floats = (vectors / (lengths + _TINY)).astype(np.float32)
    return scaled


def question_vector(terms: Iterable[Floats]) -> Floats | None:
    """Return the vector of length 1 of a question with tokens of these vectors; None without any."""
    found = list(terms)
    if not found:
        return None
    vector: Floats = normalised(np.sum(found, axis=0, keepdims=True))[0]
    return vector


def _counted(rows: Integers, tokens: Integers, width: int) -> tuple[Integers, Integers, Integers]:
    """Return the row, the token and the count of each token of each row, ordered by row."""
    pairs, counts = np.unique(rows * max(width, 1) + tokens, return_counts=True)
    return pairs // max(width, 1), pairs % max(width, 1), counts


def _worth_keeping(frequencies: Integers, passages: int) -> Integers:
    """Return the numbers of the tokens that tell passages apart, the most frequent of them first."""
    telling = (frequencies >= _LEAST_FREQUENCY) & (frequencies <= max(_MOST_FREQUENT * passages, _LEAST_FREQUENCY))
    kept = np.flatnonzero(telling)
    return kept[np.argsort(-frequencies[kept], kind="stable")][:_VOCABULARY]


def _weighted(  # noqa: PLR0913, PLR0917 - the counts in their three columns
    rows: Integers, columns: Integers, counts: Integers, kept: Integers, frequencies: Integers, height: int
) -> tuple[_Rows, Floats]:
    """Return the counts as (1 + log) x inverse document frequency in rows of length 1, and those frequencies."""
    position = np.full(len(frequencies), -1)
    position[kept] = np.arange(len(kept))
    telling = position[columns] >= 0
    rows, columns = rows[telling], position[columns[telling]]
    rarities = np.log((1 + height) / (1 + frequencies[kept])).astype(np.float32)
    values = (1 + np.log(counts[telling])) * rarities[columns]
    lengths = np.sqrt(np.bincount(rows, values * values, minlength=height)) + _TINY
    values = (values / lengths[rows]).astype(np.float32)
    return _Rows.of(rows, columns, values, (height, len(kept))), rarities


def _projection(weighted: _Rows) -> Floats:
    """Return the directions, in columns, in which a sample of the rows differs the most."""
    height = len(weighted.starts) - 1
    random = np.random.default_rng(0)
    sample = weighted.picked(np.sort(random.choice(height, min(_SAMPLE, height), replace=False)))
    turned = sample.transposed()
    wanted = min(DIMENSIONS + _OVERSAMPLING, _SAMPLE, height, weighted.width)
    found = sample.times(random.standard_normal((weighted.width, wanted), np.float32))
    for _ in range(2):
        found = sample.times(turned.times(np.linalg.qr(found)[0]))
    reduced = turned.times(np.linalg.qr(found)[0])
    strengths, directions = np.linalg.eigh(reduced.T @ reduced)
    best = np.argsort(-strengths)[:DIMENSIONS]
    scale = np.sqrt(np.maximum(strengths[best], np.float32(_TINY)))
    projection: Floats = (reduced @ directions[:, best] / scale).astype(np.float32)
    return projection
