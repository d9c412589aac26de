"""Vectors that a remote model made, kept on disk: a passage that stays as it is need not be sent again."""

import hashlib
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ragserver.vectors import Floats

_logger = logging.getLogger(__name__)
_APPLICATION_ID = 0x52414745
_APPLICATION_ID_AT = slice(68, 72)  # in the header of every SQLite file
_BUSY_S = 30
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION_ID};
CREATE TABLE IF NOT EXISTS embeddings (model TEXT, digest BLOB, vector BLOB NOT NULL, PRIMARY KEY (model, digest))
WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class EmbeddingStore:
    """The file with the vectors of one model; several processes may use it at once."""

    path: Path
    model: str

    def read(self) -> dict[bytes, Floats]:
        """Return the vectors that are there by the digests of their texts; a damaged file has none, and is removed."""
        try:
            with self._opened() as db:
                rows = db.execute("SELECT digest, vector FROM embeddings WHERE model = ?", (self.model,)).fetchall()
            return {digest: np.frombuffer(vector, np.float32) for digest, vector in rows}
        except sqlite3.OperationalError:
            raise  # locked or out of space, which says nothing of what is in it
        except sqlite3.DatabaseError as exc:
            if not self._is_ours():
                raise
            _logger.warning("The kept vectors are damaged, the documents are embedded anew: %s", exc)
            self.path.unlink()
            return {}

    def add(self, digests: Sequence[bytes], vectors: Floats) -> None:
        """Keep vectors, in rows, under the digests of their texts."""
        rows = [(self.model, digest, row.tobytes()) for digest, row in zip(digests, vectors, strict=True)]
        with self._opened() as db, db:
            db.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)", rows)

    def keep_only(self, digests: Sequence[bytes]) -> None:
        """Forget the vectors of all other texts."""
        gone = [(self.model, found) for found in self.read().keys() - set(digests)]
        with self._opened() as db, db:
            db.executemany("DELETE FROM embeddings WHERE model = ? AND digest = ?", gone)

    def _is_ours(self) -> bool:
        with self.path.open("rb") as file:
            header = file.read(_APPLICATION_ID_AT.stop)
        return header[_APPLICATION_ID_AT] in {b"", _APPLICATION_ID.to_bytes(4, "big")}

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=_BUSY_S)) as db:
            db.executescript(_SCHEMA)
            yield db


def digest(text: str) -> bytes:
    """Return what a text is kept under."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
