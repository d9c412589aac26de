"""Texts as vectors, from an embedding model behind OpenAI's route: vLLM, TEI, Ollama, llama.cpp, OpenAI."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from pydantic import BaseModel, FiniteFloat

from ragserver.remote.batches import ask_shortened, batches
from ragserver.remote.endpoint import Endpoint, RemoteError
from ragserver.vectors import Floats

_SMALLEST: Final = 1e-12  # a vector that is shorter has no direction


class _Vector(BaseModel):
    index: int
    embedding: list[FiniteFloat]


class _Vectors(BaseModel):
    data: list[_Vector]


class Embeddings:
    """One embedding model; `model` names it, also in the index that its vectors are kept in."""

    def __init__(self, endpoint: Endpoint, model: str, batch: int) -> None:
        self.model = model
        self._endpoint = endpoint
        self._batch = batch

    async def embed(self, texts: Sequence[str]) -> Floats:
        """Return a row of length 1 for each text, in their order; no rows and no columns for no texts.

        Raises:
            RemoteError: some or all are not to be had.
        """
        parts = [await ask_shortened(self._ask, part) for part in batches(texts, self._batch)]
        if len({part.shape[1] for part in parts}) > 1:
            raise RemoteError("the vectors have different dimensions")
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    async def _ask(self, texts: list[str]) -> Floats:
        # Without `dimensions`: vLLM answers 400 to it for a model like bge-m3, which has but one.
        body = {"model": self.model, "input": texts, "encoding_format": "float"}
        reply = await self._endpoint.post("/embeddings", body, _Vectors)
        ordered = sorted(reply.data, key=lambda vector: vector.index)
        if [vector.index for vector in ordered] != list(range(len(texts))):
            raise RemoteError(f"{len(ordered)} vectors for {len(texts)} texts, or their indexes are wrong")
        return _normalised([vector.embedding for vector in ordered])


def _normalised(rows: list[list[float]]) -> Floats:
    if len({len(row) for row in rows}) > 1:
        raise RemoteError("the vectors have different dimensions")
    matrix = np.array(rows, np.float64)
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > _SMALLEST)).all():
        raise RemoteError("a vector is zero or endless")
    normalised: Floats = (matrix / lengths).astype(np.float32)
    return normalised
