"""What can be evaluated: whatever ranks passages for a question and says how sure it is."""

from collections.abc import Callable, Sequence
from typing import Protocol

from ragserver.chunks import Chunk
from ragserver.contract import Confidence, Utterance

Stages = frozenset[str]

_RUNGS = (
    ("own tokens", None),
    ("+ glossary", "glossary"),
    ("+ vectors (RRF)", "vectors"),
    ("+ rerank A", "rerank"),
    ("+ rerank B = whole", "sections"),
)


class Ranked(Protocol):
    """A passage in its place among the others."""

    @property
    def chunk(self) -> Chunk:
        """The passage."""


class Found(Protocol):
    """What an engine found, before the filter takes any away; the pipeline's Findings are one."""

    @property
    def hits(self) -> Sequence[Ranked]:
        """The passages, best first."""

    @property
    def confidence(self) -> Confidence:
        """Whether the question would be answered."""

    @property
    def degraded(self) -> Sequence[str]:
        """The stages whose remote model was away."""


class Engine(Protocol):
    """Finds passages for a question; the pipeline does, and so do the simpler engines it is compared with."""

    async def find(self, text: str, history: Sequence[Utterance] = ()) -> Found:
        """Return what was found; `history` is what was said before, oldest first."""


def ladder(build: Callable[[Stages], Engine]) -> list[tuple[str, Engine]]:
    """Return one engine for each stage that is switched on after the others; the last one is the whole."""
    stages: Stages = frozenset()
    rungs = []
    for name, stage in _RUNGS:
        stages |= {stage} if stage else set()
        rungs.append((name, build(stages)))
    return rungs
