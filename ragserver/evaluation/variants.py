"""Simpler search engines over the same passages: all are SQLite's BM25, they differ in what a word is.

None has a filter, so they answer whatever they find something for, and none knows what was said before.
"""

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ragserver import chunks, corpus, tokens
from ragserver.chunks import Chunk
from ragserver.contract import Confidence, Utterance
from ragserver.evaluation.engine import Engine

_MOST_HITS = 50
_WORD = re.compile(r"\w+")
_HANGUL_OR_OTHER = re.compile(r"[가-힣]+|[^\W가-힣]+")
_SEARCH = f"SELECT rowid FROM passages WHERE passages MATCH ? ORDER BY rank, rowid LIMIT {_MOST_HITS}"  # noqa: S608

Terms = Callable[[str], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Place:
    """A passage that was found."""

    chunk: Chunk


@dataclass(frozen=True, slots=True)
class Ranking:
    """The passages that were found, best first."""

    hits: Sequence[Place]

    @property
    def confidence(self) -> Confidence:
        """Without a filter there is only something or nothing."""
        return "high" if self.hits else "none"

    @property
    def degraded(self) -> Sequence[str]:
        """No stage has a model."""
        return ()


class WordIndex:
    """Finds the passages with any term of a question by BM25; heading and text count alike."""

    def __init__(self, passages: Sequence[Chunk], tokenizer: str, terms: Terms, searched: Callable[[str], str]) -> None:
        self._passages = passages
        self._terms = terms
        self._db = sqlite3.connect(":memory:")
        self._db.execute(f"CREATE VIRTUAL TABLE passages USING fts5 (text, content = '', tokenize = \"{tokenizer}\")")
        texts = (searched(f"{passage.heading}\n{passage.content}") for passage in passages)
        self._db.executemany("INSERT INTO passages (rowid, text) VALUES (?, ?)", enumerate(texts))

    def close(self) -> None:
        """Let go of the index."""
        self._db.close()

    async def find(self, text: str, history: Sequence[Utterance] = ()) -> Ranking:  # noqa: ARG002 - the protocol's
        """Return the best passages for the question alone."""
        quoted = ['"' + term.replace('"', '""') + '"' for term in dict.fromkeys(self._terms(text))]
        found = self._db.execute(_SEARCH, (" OR ".join(quoted),)) if quoted else ()
        return Ranking([Place(self._passages[row]) for (row,) in found])


@contextmanager
def simpler_engines(passages: Sequence[Chunk]) -> Iterator[list[tuple[str, Engine]]]:
    """Give the engines that a search worth its code has to beat, each with its name."""
    with (
        closing(WordIndex(passages, "trigram", _words, _as_it_is)) as by_word,
        closing(WordIndex(passages, "trigram", _trigrams, _as_it_is)) as by_trigram,
        closing(WordIndex(passages, "unicode61", _words, _as_it_is)) as plain,
        closing(WordIndex(passages, "unicode61 tokenchars '_'", _bigrams, _in_bigrams)) as by_bigram,
    ):
        yield [
            ("FTS5 trigram, words", by_word),
            ("FTS5 trigram, OR of trigrams", by_trigram),
            ("BM25, whitespace words", plain),
            ("BM25, plain character bigrams", by_bigram),
        ]


def passages_of(folder: Path, chunk_chars: int) -> list[Chunk]:
    """Return the passages of a folder, the same that the index has."""
    return [
        chunk for document in corpus.read(folder) for chunk in chunks.cut(document.name, document.text, chunk_chars)
    ]


def _as_it_is(text: str) -> str:
    return text


def _words(text: str) -> Iterator[str]:
    return (match[0] for match in _WORD.finditer(text))


def _trigrams(text: str) -> Iterator[str]:
    """Yield every three characters in a row, which is what the tokenizer makes of a passage."""
    plain = " ".join(text.replace("\0", " ").split())
    return (plain[at : at + 3] for at in range(len(plain) - 2))


def _bigrams(text: str) -> Iterator[str]:
    """Yield Hangul in windows of two syllables, particles and all, and the stems of other words."""
    for match in _HANGUL_OR_OTHER.finditer(tokens.normalise(text)):
        run = match[0]
        if tokens.has_hangul(run):
            yield from (run[at : at + 2] for at in range(max(len(run) - 1, 1)))
        else:
            yield from tokens.word_tokens(run)


def _in_bigrams(text: str) -> str:
    return " ".join(_bigrams(text))
