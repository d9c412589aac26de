"""Models that were taught what words mean, so that a test can decide what is near to what."""

import json
from typing import Any

from tests.ragserver.models.faults import Good
from tests.ragserver.models.wire import Asked, Wire

_COMMON = 0.3  # what every text has of the last dimension
_RELEVANT = 0.9
_IRRELEVANT = 0.05


class Meanings:
    """Texts with a word of the same group are alike, in whatever language; `width` is the vectors' dimension.

    `embed` and `rerank` are to be set as `server.faults["embeddings"]` and `["rerank"]`.
    """

    def __init__(self, *groups: tuple[str, ...], width: int = 8) -> None:
        self._groups = groups
        self._width = width

    def of(self, text: str) -> list[float]:
        return [float(any(word in text.lower() for word in group)) for group in self._groups]

    async def embed(self, asked: Asked, wire: Wire, _good: Good) -> None:
        rest = [0.0] * (self._width - len(self._groups) - 1) + [_COMMON]
        data = [{"index": k, "embedding": self.of(text) + rest} for k, text in enumerate(asked.body["input"])]
        await _reply(wire, {"data": data})

    async def rerank(self, asked: Asked, wire: Wire, _good: Good) -> None:
        wanted = self.of(asked.body["query"])
        alike = (any(map(min, wanted, self.of(text))) for text in asked.body["documents"])
        results = [{"index": k, "relevance_score": _RELEVANT if is_ else _IRRELEVANT} for k, is_ in enumerate(alike)]
        await _reply(wire, {"results": results})


async def _reply(wire: Wire, payload: dict[str, Any]) -> None:
    await wire.respond(200, json.dumps(payload).encode())
