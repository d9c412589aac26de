"""The index: one SQLite file with the chunks, an FTS5 table of our tokens and the fingerprint of its documents.

A file is never changed once it is in place. A new index is built beside it and takes its name, so processes that
share the path, or still read the old file, do not disturb each other.
"""

import contextlib
import itertools
import json
import logging
import math
import sqlite3
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from ragserver import chunks, corpus, tokens
from ragserver.chunks import Chunk
from ragserver.corpus import Document

Language = Literal["ko", "en"]

_logger = logging.getLogger(__name__)
_APPLICATION_ID = 0x52414749
_APPLICATION_ID_AT = slice(68, 72)  # in the header of every SQLite file
_KOREAN_FROM = 0.1
_MOST_TOKENS = 40  # the rarest ones say it; more only take time
_HEADING_WEIGHT = 1.5
_OTHER_LANGUAGE = 0.6
_SCHEMA = f"""
PRAGMA journal_mode = OFF;
PRAGMA application_id = {_APPLICATION_ID};
CREATE TABLE manifest (fingerprint TEXT NOT NULL);
CREATE TABLE chunks (id INTEGER PRIMARY KEY, chunk_id TEXT NOT NULL, document TEXT NOT NULL,
                     heading TEXT NOT NULL, content TEXT NOT NULL, language TEXT NOT NULL);
CREATE VIRTUAL TABLE words USING fts5 (heading, body, tokenize = "unicode61 remove_diacritics 0 tokenchars '_'");
CREATE VIRTUAL TABLE vocabulary USING fts5vocab (words, row);
"""
_SEARCH = """
SELECT chunk_id, document, chunks.heading, content, words.heading || ' ' || words.body,
       -bm25(words, :heading_weight) * iif(language = :language, 1, :other_language) AS score
FROM words JOIN chunks ON chunks.id = words.rowid
WHERE words MATCH :query ORDER BY score DESC, chunks.id LIMIT :limit
"""


class ForeignFileError(Exception):
    """The path of the index names a file that is something else, so it is not replaced."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that shares tokens with a query, and how well it matches; only comparable within one query."""

    chunk: Chunk
    tokens: frozenset[str]
    score: float


class Store:
    """An index that is open for reading."""

    def __init__(self, path: Path) -> None:
        # Opened in the thread that builds, read in the event loop's: never in two at a time.
        self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        counts = "SELECT count(*), count(DISTINCT document), total(language = 'ko') FROM chunks"
        self.fingerprint: str
        self.chunks: int
        self.documents: int
        try:
            (self.fingerprint,) = self._db.execute("SELECT fingerprint FROM manifest").fetchone()
            self.chunks, self.documents, korean = self._db.execute(counts).fetchone()
        except sqlite3.DatabaseError:
            self._db.close()
            raise
        self.is_korean = korean >= _KOREAN_FROM * max(self.chunks, 1)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def frequencies(self, wanted: Iterable[str]) -> dict[str, int]:
        """Return in how many chunks each token occurs; those that occur nowhere are missing."""
        known = "SELECT term, doc FROM vocabulary WHERE term IN (SELECT value FROM json_each(?))"
        return dict(self._db.execute(known, (json.dumps(sorted(set(wanted))),)))

    def rarity(self, frequency: int) -> float:
        """Return the inverse document frequency of a token that occurs in so many chunks."""
        return math.log(1 + (self.chunks - frequency + 0.5) / (frequency + 0.5))

    def search(self, wanted: Collection[str], language: Language, limit: int) -> list[Hit]:
        """Return the chunks with any of the tokens, best first; those in the other language rank lower."""
        found = self.frequencies(wanted)
        rarest = sorted(found, key=lambda token: (found[token], token))[:_MOST_TOKENS]
        if not rarest:
            return []
        parameters = {
            "query": " OR ".join(f'"{token}"' for token in rarest),
            "language": language,
            "limit": limit,
            "heading_weight": _HEADING_WEIGHT,
            "other_language": _OTHER_LANGUAGE,
        }
        return [_hit(*row) for row in self._db.execute(_SEARCH, parameters)]


def open_index(path: Path, folder: Path, chunk_chars: int) -> Store:
    """Return the index of a folder: the one at the path if the documents are still the same, else a new one.

    Raises:
        ForeignFileError: the path is taken by something that is not an index.
        OSError: the index cannot be written.
    """
    refuse_foreign_file(path)
    documents = corpus.read(folder)
    fingerprint = corpus.fingerprint(documents, chunk_chars)
    if store := _open_same(path, fingerprint):
        return store
    _replace(path, documents, fingerprint, chunk_chars)
    return Store(path)


def refuse_foreign_file(path: Path) -> None:
    """Raise ForeignFileError if something other than an index of ours is at the path, such as another database."""
    if not path.exists():
        return
    if not path.is_file():
        raise ForeignFileError(f"{path} is not a file")
    with path.open("rb") as file:
        header = file.read(_APPLICATION_ID_AT.stop)
    if header and header[_APPLICATION_ID_AT] != _APPLICATION_ID.to_bytes(4, "big"):
        raise ForeignFileError(f"{path} is not an index of this server and is left as it is")


def language_of(text: str) -> Language:
    """Return the language a document is taken to be in."""
    return "ko" if tokens.hangul_share(text) >= _KOREAN_FROM else "en"


def _hit(chunk_id: str, document: str, heading: str, content: str, words: str, score: float) -> Hit:  # noqa: PLR0913, PLR0917 - the columns of _SEARCH
    return Hit(Chunk(chunk_id, document, heading, content), frozenset(words.split()), score)


def _open_same(path: Path, fingerprint: str) -> Store | None:
    try:
        store = Store(path)
    except sqlite3.Error:
        return None  # no index yet, or a damaged one: both are answered with a new one
    if store.fingerprint == fingerprint:
        return store
    store.close()
    return None


def _replace(path: Path, documents: list[Document], fingerprint: str, chunk_chars: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        fresh = Path(folder) / "index.db"
        with contextlib.closing(sqlite3.connect(fresh)) as db:
            db.executescript(_SCHEMA)
            with db:
                count = _fill(db, documents, fingerprint, chunk_chars)
        fresh.replace(path)
    _logger.info("Index built: %d chunks of %d documents in %s", count, len(documents), path)


def _fill(db: sqlite3.Connection, documents: list[Document], fingerprint: str, chunk_chars: int) -> int:
    db.execute("INSERT INTO manifest VALUES (?)", (fingerprint,))
    rows = itertools.count(1)
    for document in documents:
        language = language_of(document.text)
        for chunk in chunks.cut(document.name, document.text, chunk_chars):
            row = next(rows)
            columns = (row, chunk.chunk_id, chunk.document, chunk.heading, chunk.content, language)
            db.execute("INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?)", columns)
            searched = (row, " ".join(tokens.tokens(chunk.heading)), " ".join(tokens.tokens(chunk.content)))
            db.execute("INSERT INTO words (rowid, heading, body) VALUES (?, ?, ?)", searched)
    return next(rows) - 1
