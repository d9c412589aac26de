"""The index of a folder of documents: built into a file of its own, which then takes its place.

A file is never changed once it is in place, so processes that share the path, or still read the old file, do not
disturb each other.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from ragserver import chunks, corpus, memory, store, tokens, vectors
from ragserver.chunks import Chunk
from ragserver.corpus import Document
from ragserver.ownership import refuse_foreign
from ragserver.replacement import replacing
from ragserver.store import Store, language_token
from ragserver.vectors import Passages

_logger = logging.getLogger(__name__)
_APPLICATION_ID = 0x52414749
_SCHEMA = f"""
PRAGMA journal_mode = OFF;
PRAGMA application_id = {_APPLICATION_ID};
CREATE TABLE manifest (fingerprint TEXT NOT NULL, width INTEGER NOT NULL, vectors BLOB NOT NULL);
CREATE TABLE chunks (id INTEGER PRIMARY KEY, chunk_id TEXT NOT NULL, document TEXT NOT NULL,
                     heading TEXT NOT NULL, content TEXT NOT NULL, language TEXT NOT NULL);
CREATE TABLE terms (token TEXT PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (heading, body, language,
                                       tokenize = "unicode61 remove_diacritics 0 tokenchars '_'");
CREATE VIRTUAL TABLE vocabulary USING fts5vocab (words, row);
"""


def open_index(path: Path, folder: Path, chunk_chars: int) -> Store:
    """Return the index of a folder: the one at the path if the documents are still the same, else a new one.

    Raises:
        ForeignFileError: the path is taken by something that is not an index.
        OSError: the folder cannot be read, or the index not be written.
    """
    refuse_foreign_file(path)
    documents = corpus.read(folder)
    fingerprint = corpus.fingerprint(documents, chunk_chars, __file__, store.__file__)
    if opened := _open_same(path, fingerprint):
        return opened
    opened = _replace(path, documents, fingerprint, chunk_chars)
    del documents
    memory.give_back()
    return opened


def refuse_foreign_file(path: Path) -> None:
    """Raise ForeignFileError if something other than an index of ours is at the path, such as another database."""
    refuse_foreign(path, _APPLICATION_ID)


def _open_same(path: Path, fingerprint: str) -> Store | None:
    try:
        store = Store(path)
    except (sqlite3.Error, TypeError, ValueError):
        return None  # no index yet, a damaged one, or one of an older release: all are answered with a new one
    if store.fingerprint == fingerprint:
        return store
    store.close()
    return None


def _replace(path: Path, documents: Sequence[Document], fingerprint: str, chunk_chars: int) -> Store:
    try:
        with replacing(path) as fresh:
            with contextlib.closing(sqlite3.connect(fresh)) as db:
                db.executescript(_SCHEMA)
                with db:
                    _fill(db, documents, fingerprint, chunk_chars)
            store = Store(fresh)  # not by its path later, where the index of another process may be by then
    except (OSError, sqlite3.Error) as exc:
        raise OSError(f"No index can be written to {path}: {exc}") from exc
    _logger.info("Index built: %d chunks of %d documents in %s", store.chunks, len(documents), path)
    return store


def _fill(db: sqlite3.Connection, documents: Sequence[Document], fingerprint: str, chunk_chars: int) -> None:
    passages = Passages()
    for document in documents:
        for chunk in chunks.cut(document.name, document.text, chunk_chars):
            _add(db, chunk, passages)
    lsa = vectors.fit(passages)
    db.execute("INSERT INTO manifest VALUES (?, ?, ?)", (fingerprint, lsa.passages.shape[1], lsa.passages.tobytes()))
    db.executemany("INSERT INTO terms VALUES (?, ?)", ((token, at.tobytes()) for token, at in lsa.terms.items()))


def _add(db: sqlite3.Connection, chunk: Chunk, passages: Passages) -> None:
    heading, body = tokens.tokens(chunk.heading), tokens.tokens(chunk.content)
    passages.add(heading + body)
    row = (len(passages), chunk.chunk_id, chunk.document, chunk.heading, chunk.content, chunk.language)
    db.execute("INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?)", row)
    searched = (len(passages), " ".join(heading), " ".join(body), language_token(chunk.language))
    db.execute("INSERT INTO words (rowid, heading, body, language) VALUES (?, ?, ?, ?)", searched)
