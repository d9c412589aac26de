"""The chunks of an index as a remote model sees them, and how near a question is to each."""

import asyncio
import logging
import sqlite3
from collections.abc import Mapping, Sequence

import numpy as np

from ragserver.embedding_store import EmbeddingStore, digest
from ragserver.remote.embeddings import Embeddings
from ragserver.remote.endpoint import RemoteError
from ragserver.vectors import Floats

_logger = logging.getLogger(__name__)
_AT_ONCE = 128  # chunks that are embedded, then kept; what is lost when the process ends
_LONGEST_PAUSE_S = 300.0


class Embedded:
    """The vectors of a remote model for the chunks of one index; there is no nearness before all are there."""

    def __init__(self, embeddings: Embeddings, kept: EmbeddingStore, texts: Sequence[str]) -> None:
        self._embeddings = embeddings
        self._kept = kept
        self._texts = texts
        self._vectors: Floats | None = None
        self._outdated = asyncio.Event()
        self._at_once = _AT_ONCE

    @property
    def is_complete(self) -> bool:
        """Whether every chunk has its vector."""
        return self._vectors is not None

    async def cosines(self, text: str) -> Floats:
        """Return the cosine of each chunk with a text, in the order of the chunks.

        Raises:
            RemoteError: not all chunks are embedded yet, or the text could not be.
        """
        if self._vectors is None:
            raise RemoteError("the documents are not embedded yet")
        (vector,) = await self._embeddings.embed([text])
        if len(self._vectors) and len(vector) != self._vectors.shape[1]:
            self._outdated.set()
            raise RemoteError("the model has another dimension than it had for the documents")
        return self._vectors @ vector if len(self._vectors) else np.zeros(0, np.float32)

    async def keep_complete(self, first_pause_s: float) -> None:
        """Embed the chunks, and all of them anew when a question shows that the model is another; it never ends.

        What fails is tried again, with half as many chunks at once, as a slow server may not get through all of them
        in time; the pauses grow to five minutes.
        """
        while True:
            pause = first_pause_s
            while not self.is_complete:
                try:
                    await self.complete()
                except (RemoteError, sqlite3.Error, OSError) as exc:
                    _logger.warning("Documents not embedded, again in %.0f s: %s", pause, exc)
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE_S)
                    self._at_once = max(self._at_once // 2, 1)
            self._at_once = _AT_ONCE
            await self._outdated.wait()
            self._vectors = None

    async def complete(self) -> None:
        """Embed every chunk that has no vector yet; those that were sent before are not sent again.

        Raises:
            RemoteError: the model did not embed all of them; what it did is kept.
        """
        if self._outdated.is_set():
            await asyncio.to_thread(self._kept.keep_only, [])
            self._outdated.clear()
        digests = [digest(text) for text in self._texts]
        found = await asyncio.to_thread(self._kept.read)
        await self._add_missing(found, digests)
        if _is_mixed(found, digests):
            _logger.warning("%s has another dimension than before: all documents are embedded anew", self.model)
            found.clear()
            await self._add_missing(found, digests)
            if _is_mixed(found, digests):
                raise RemoteError("the vectors have different dimensions")
        await asyncio.to_thread(self._kept.keep_only, digests)
        rows = [found[key] for key in digests]
        self._vectors = np.stack(rows) if rows else np.zeros((0, 0), np.float32)

    @property
    def model(self) -> str:
        """What the model is called."""
        return self._embeddings.model

    async def _add_missing(self, found: dict[bytes, Floats], digests: Sequence[bytes]) -> None:
        missing = [at for at, key in enumerate(digests) if key not in found]
        for first in range(0, len(missing), self._at_once):
            part = missing[first : first + self._at_once]
            keys = [digests[at] for at in part]
            vectors = await self._embeddings.embed([self._texts[at] for at in part])
            await asyncio.to_thread(self._kept.add, keys, vectors)
            found.update(zip(keys, vectors, strict=True))
        if missing:
            _logger.info("Documents embedded by %s: %d new of %d chunks", self.model, len(missing), len(digests))


def _is_mixed(found: Mapping[bytes, Floats], digests: Sequence[bytes]) -> bool:
    """Tell whether the model behind the name was exchanged: its vectors and those of the old one do not mix."""
    return len({len(found[key]) for key in digests}) > 1
