"""A pipeline put together from the settings: its index opened, and built where it is not there yet."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from ragserver.config import Settings
from ragserver.contract import Health
from ragserver.embedded import Embedded
from ragserver.embedding_store import EmbeddingStore
from ragserver.glossary import PACKAGED, Glossary
from ragserver.indexing import open_index
from ragserver.pipeline import Pipeline
from ragserver.remote.models import Models
from ragserver.search import Search
from ragserver.store import Store


@dataclass(frozen=True, slots=True)
class Opened:
    """What answers, and what it answers from; `embedded` where a remote model embeds the documents."""

    store: Store
    search: Search
    pipeline: Pipeline
    models: Models
    embedded: Embedded | None = None

    def health(self) -> Health:
        """Return how much is answered from, and with whose help."""
        return Health(
            status="ok",
            chunks=self.store.chunks,
            documents=self.store.documents,
            models=self.models.names(),
            embedded=self.embedded.is_complete if self.embedded else None,
        )


async def open_pipeline(settings: Settings, models: Models) -> Opened:
    """Return a pipeline over the documents of the settings.

    Raises:
        ForeignFileError: RAG_DB is taken by something that is not an index.
        GlossaryError: RAG_GLOSSARY is not a glossary.
        OSError: the index cannot be written, or a file not be read.
    """
    glossary = await asyncio.to_thread(Glossary.read, settings.rag_glossary or PACKAGED)
    store = await asyncio.to_thread(open_index, settings.rag_db, settings.rag_docs_dir, settings.rag_chunk_chars)
    embedded = None
    if models.embeddings:
        kept = EmbeddingStore(embeddings_path(settings.rag_db), models.embeddings.model)
        embedded = await asyncio.to_thread(Embedded, models.embeddings, kept, store)
    search = Search(store, settings, glossary, embedded, models.reranker)
    return Opened(store, search, Pipeline(search, settings, models.language_model), models, embedded)


def embeddings_path(index: Path) -> Path:
    """Return where the vectors of a remote model are kept: beside the index."""
    return index.with_name(f"{index.name}-embeddings")
