"""The chunks of an index as a remote model sees them, and how near a question is to each."""

import asyncio
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from ragserver.embedding_store import EmbeddingStore, digest
from ragserver.remote.batches import batches
from ragserver.remote.embeddings import Embeddings
from ragserver.remote.endpoint import FailedError, RefusedError, RemoteError
from ragserver.store import Store, text_of
from ragserver.vectors import Floats

_logger = logging.getLogger(__name__)
_AT_ONCE: Final = 128  # chunks that are embedded, then kept; what is lost when the process ends
_LONGEST_PAUSE_S: Final = 300.0
_HARMLESS: Final = "document"  # what every model takes
_QUOTED_CHARS: Final = 60


class Embedded:
    """The vectors of a remote model for the chunks of one index; there is no nearness before all are there.

    To be made in a thread: every chunk and every vector that is kept is read. Nothing is sent.
    """

    def __init__(self, embeddings: Embeddings, kept: EmbeddingStore, store: Store) -> None:
        self._embeddings = embeddings
        self._kept = kept
        self._store = store
        self._digests = [digest(text) for text in store.texts()]
        self._vectors: Floats | None = None
        self._outdated = asyncio.Event()
        self._at_once = _AT_ONCE
        found = self._read_at_start()
        # What another process keeps later, of documents that this one does not know, is not in here.
        self._unneeded = found.keys() - self._digests
        if found.keys() >= set(self._digests) and not self._is_mixed(found):
            self._vectors = self._matrix(found)

    @property
    def is_complete(self) -> bool:
        """Whether every chunk has its vector."""
        return self._vectors is not None

    @property
    def model(self) -> str:
        """What the model is called."""
        return self._embeddings.model

    async def cosines(self, text: str) -> Floats:
        """Return the cosine of each chunk with a text, in the order of the chunks; 0 for one that the model refused.

        Raises:
            RemoteError: not all chunks are embedded yet, or the text could not be.
        """
        vectors = self._vectors
        if vectors is None:
            raise RemoteError("the documents are not embedded yet")
        (vector,) = await self._embeddings.embed([text])
        if len(vectors) and len(vector) != vectors.shape[1]:
            if vectors is self._vectors:
                self._outdated.set()
            raise RemoteError("the model has another dimension than it had for the documents")
        return vectors @ vector if len(vectors) else np.zeros(0, np.float32)

    async def keep_complete(self, first_pause_s: float) -> None:
        """Embed the chunks, and all of them anew when a question shows that the model is another; it never ends.

        What fails is tried again, with half as many chunks at once, as a slow server may not get through all of them
        in time; the pauses grow to five minutes.
        """
        while True:
            await self._complete_in_the_end(first_pause_s)
            await self._outdated.wait()
            _logger.warning("%s gives questions another dimension than the documents have", self.model)
            self._vectors = None
            await asyncio.sleep(first_pause_s)  # a server that gives now this and now that is not sent all at each turn

    async def complete(self) -> None:
        """Embed every chunk that has no vector yet; those that were sent before are not sent again.

        Raises:
            RemoteError: the model did not embed all of them; what it did is kept.
            OSError: the vectors cannot be kept, as where sqlite3.Error is raised.
        """
        if self._vectors is None:
            found = await asyncio.to_thread(self._kept.read)
            await self._add_missing(found)
            if self._outdated.is_set() or self._is_mixed(found):
                found = await self._of_todays_dimension(found)
            self._vectors = await asyncio.to_thread(self._matrix, found)
            self._outdated.clear()
        if self._unneeded:
            await asyncio.to_thread(self._kept.forget, self._unneeded)
            self._unneeded = set()

    async def _complete_in_the_end(self, first_pause_s: float) -> None:
        pause, self._at_once = first_pause_s, _AT_ONCE
        while True:
            try:
                await self.complete()
            except (RemoteError, sqlite3.Error, OSError) as exc:
                _logger.warning("Documents not embedded, again in %.0f s: %s", pause, exc)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                self._at_once = max(self._at_once // 2, 1)
            else:
                return

    def _read_at_start(self) -> dict[bytes, Floats]:
        try:
            return self._kept.read()
        except (sqlite3.Error, OSError) as exc:
            _logger.warning("The kept vectors cannot be read: %s", exc)
            return {}

    async def _of_todays_dimension(self, found: Mapping[bytes, Floats]) -> dict[bytes, Floats]:
        """Return vectors of one model, where another one now is behind the name; those it made already are kept."""
        width = (await self._embeddings.embed([_HARMLESS])).shape[1]
        same = {key: vector for key, vector in found.items() if len(vector) == width}
        _logger.warning("%s now has %d dimensions: documents that have others are embedded anew", self.model, width)
        await self._add_missing(same)
        if self._is_mixed(same):
            raise RemoteError("the vectors have different dimensions")
        return same

    async def _add_missing(self, found: dict[bytes, Floats]) -> None:
        missing = {key: row for row, key in enumerate(self._digests, start=1) if key not in found}
        for keys in batches(list(missing), self._at_once):
            chunks = self._store.read([missing[key] for key in keys])
            passages = (chunks[missing[key]] for key in keys)
            vectors = await self._embedded([text_of(one.heading, one.content) for one in passages])
            await asyncio.to_thread(self._kept.add, keys, vectors)
            found.update(zip(keys, vectors, strict=True))
        if missing:
            _logger.info("Documents embedded by %s: %d new of %d chunks", self.model, len(missing), len(self._digests))

    async def _embedded(self, texts: Sequence[str]) -> list[Floats]:
        """Return the vectors of texts; one of zeros, which is near to nothing, for a text that the model refuses."""
        try:
            return list(await self._embeddings.embed(texts))
        except FailedError:
            raise
        except RefusedError as exc:
            # A model that takes nothing at all refuses this too, and that is no text's fault.
            nothing = np.zeros_like(await self._embeddings.embed([_HARMLESS]))
            if len(texts) == 1:
                _logger.warning("Not embedded: the passage that begins with %.*r: %s", _QUOTED_CHARS, texts[0], exc)
                return list(nothing)
        half = len(texts) // 2
        return [*await self._embedded(texts[:half]), *await self._embedded(texts[half:])]

    def _matrix(self, found: Mapping[bytes, Floats]) -> Floats:
        return np.stack([found[key] for key in self._digests]) if self._digests else np.zeros((0, 0), np.float32)

    def _is_mixed(self, found: Mapping[bytes, Floats]) -> bool:
        """Tell whether the model behind the name was exchanged: its vectors and those of the old one do not mix."""
        return len({len(found[key]) for key in self._digests}) > 1
