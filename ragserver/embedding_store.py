"""Vectors that a remote model made, kept on disk: a passage that stays as it is need not be sent again."""

import hashlib
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ragserver.ownership import refuse_foreign
from ragserver.vectors import Floats

_logger = logging.getLogger(__name__)
_APPLICATION_ID = 0x52414745
_BUSY_S = 30
_SCHEMA = f"""
BEGIN IMMEDIATE;
PRAGMA application_id = {_APPLICATION_ID};
CREATE TABLE IF NOT EXISTS embeddings (model TEXT, digest BLOB, vector BLOB NOT NULL, PRIMARY KEY (model, digest))
WITHOUT ROWID;
COMMIT;
"""


@dataclass(frozen=True, slots=True)
class EmbeddingStore:
    """The file with the vectors of one model; several processes may use it at once.

    Every method raises ForeignFileError where a file that is something else has its place, and sqlite3.Error or OSError
    where it cannot be used.
    """

    path: Path
    model: str

    def read(self) -> dict[bytes, Floats]:
        """Return the vectors that are there by the digests of their texts; a damaged file has none, and is removed."""
        if not self.path.exists():
            return {}
        try:
            with self._opened() as db:
                rows = db.execute("SELECT digest, vector FROM embeddings WHERE model = ?", (self.model,))
                return {digest: np.frombuffer(vector, np.float32) for digest, vector in rows if _is_vector(vector)}
        except sqlite3.OperationalError:
            raise  # locked or out of space, which says nothing of what is in it
        except sqlite3.DatabaseError as exc:
            _logger.warning("The kept vectors are damaged, the documents are embedded anew: %s", exc)
            self.path.unlink(missing_ok=True)
            return {}

    def add(self, digests: Sequence[bytes], vectors: Iterable[Floats]) -> None:
        """Keep vectors under the digests of their texts, in the place of those that were."""
        rows = [(self.model, digest, row.tobytes()) for digest, row in zip(digests, vectors, strict=True)]
        with self._opened() as db, db:
            db.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)", rows)

    def forget(self, digests: Iterable[bytes]) -> None:
        """Remove the vectors of these texts."""
        with self._opened() as db, db:
            gone = ((self.model, digest) for digest in digests)
            db.executemany("DELETE FROM embeddings WHERE model = ? AND digest = ?", gone)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        refuse_foreign(self.path, _APPLICATION_ID)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=_BUSY_S)) as db:
            if db.execute("PRAGMA application_id").fetchone() != (_APPLICATION_ID,):
                db.executescript(_SCHEMA)
            yield db


def digest(text: str) -> bytes:
    """Return what a text is kept under."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _is_vector(kept: object) -> bool:
    if not isinstance(kept, bytes) or not kept or len(kept) % np.dtype(np.float32).itemsize:
        return False
    return bool(np.isfinite(np.frombuffer(kept, np.float32)).all())
