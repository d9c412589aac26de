"""The index of the documents, open for reading: one SQLite file with passages, an FTS5 table of our tokens, vectors."""

import json
import math
import sqlite3
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from ragserver.chunks import Chunk
from ragserver.tokens import LONGEST_WORD, Language
from ragserver.vectors import Floats

_SPOKEN_FROM = 0.1  # a language of fewer chunks is a quotation or two
_MOST_TOKENS = 40  # the rarest ones say it; more only take time
_MOST_REMEMBERED = 20_000
_FREQUENCIES = "SELECT term, doc FROM vocabulary WHERE term IN (SELECT value FROM json_each(?))"
_SEARCH = """
SELECT rowid, -bm25(words, 1, 1, 0) AS score
FROM words WHERE words MATCH :query ORDER BY score DESC, rowid LIMIT :limit
"""
_CHUNKS = """
SELECT id, chunk_id, document, heading, content, language FROM chunks WHERE id IN (SELECT value FROM json_each(?))
"""


class Store:
    """An index that is open for reading; rows count from 1."""

    def __init__(self, path: Path) -> None:
        # Opened in the thread that builds, read in the event loop's: never in two at a time.
        self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        counts = "SELECT count(*), count(DISTINCT document), total(language = 'ko') FROM chunks"
        self.fingerprint: str
        self.chunks: int
        self.documents: int
        try:
            self.fingerprint, width, vectors = self._db.execute("SELECT * FROM manifest").fetchone()
            self.chunks, self.documents, korean = self._db.execute(counts).fetchone()
            self.vectors: Floats = np.frombuffer(vectors, np.float32).reshape(self.chunks, width)
        except (sqlite3.DatabaseError, TypeError, ValueError):
            self._db.close()
            raise
        self._frequencies: dict[str, int] = {}  # of tokens that were asked for; one question does so several times
        self._by_language: dict[Language, int] = {"ko": int(korean), "en": self.chunks - int(korean)}

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @property
    def languages(self) -> frozenset[Language]:
        """The languages of which the documents have more than a little."""
        enough = _SPOKEN_FROM * self.chunks
        return frozenset(language for language, chunks in self._by_language.items() if chunks >= enough)

    def frequencies(self, wanted: Iterable[str]) -> dict[str, int]:
        """Return in how many chunks each token occurs; those that occur nowhere are missing."""
        asked = set(wanted)
        if unknown := sorted(asked - self._frequencies.keys()):
            if len(self._frequencies) > _MOST_REMEMBERED:
                self._frequencies.clear()
                unknown = sorted(asked)
            found = dict(self._db.execute(_FREQUENCIES, (json.dumps(unknown),)))
            self._frequencies.update((token, found.get(token, 0)) for token in unknown)
        return {token: self._frequencies[token] for token in asked if self._frequencies[token]}

    def rarity(self, frequency: int) -> float:
        """Return the inverse document frequency of a token that occurs in so many chunks."""
        return math.log(1 + (self.chunks - frequency + 0.5) / (frequency + 0.5))

    def rarities(self, wanted: Collection[str]) -> dict[str, float]:
        """Return the inverse document frequency of each token that occurs."""
        return {token: self.rarity(frequency) for token, frequency in self.frequencies(wanted).items()}

    def search(self, wanted: Collection[str], limit: int, language: Language | None = None) -> dict[int, float]:
        """Return the rows of chunks, of one language or all, with any of the tokens: best first, with BM25 scores."""
        if language and not self._by_language[language]:
            return {}
        found = self.frequencies(wanted)
        rarest = sorted(found, key=lambda token: (found[token], token))[:_MOST_TOKENS]
        if not rarest:
            return {}
        query = " OR ".join(f'"{token}"' for token in rarest)
        query = f"{{heading body}} : ({query})"
        if language:
            query = f"{query} AND language : {language_token(language)}"
        return dict(self._db.execute(_SEARCH, {"query": query, "limit": limit}))

    def read(self, rows: Collection[int]) -> dict[int, Chunk]:
        """Return the chunks of these rows."""
        return {row: Chunk(*columns) for row, *columns in self._db.execute(_CHUNKS, (json.dumps(list(rows)),))}

    def term_vectors(self, wanted: Iterable[str]) -> list[Floats]:
        """Return the vectors of those of the tokens that have one."""
        known = "SELECT vector FROM terms WHERE token IN (SELECT value FROM json_each(?)) ORDER BY token"
        found = self._db.execute(known, (json.dumps(sorted(set(wanted))),))
        return [np.frombuffer(vector, np.float32) for (vector,) in found]

    def texts(self) -> list[str]:
        """Return the text of every chunk under its heading, in the order of the rows, as models read them."""
        return [text_of(*row) for row in self._db.execute("SELECT heading, content FROM chunks ORDER BY id")]


def text_of(heading: str, content: str) -> str:
    """Return a passage as models read it: under its heading."""
    return f"{heading}\n\n{content}" if heading else content


def language_token(language: Language) -> str:
    """Return the token by which the chunks of a language are found; longer than any word of a question."""
    return f"{language:_>{LONGEST_WORD + 1}}"
