"""What was found for a question: what an answer is written from."""

from collections.abc import Sequence
from dataclasses import dataclass

from ragserver.contract import Confidence, Fallback, Utterance
from ragserver.evidence import Scale
from ragserver.reranking import Hit
from ragserver.tokens import Language


@dataclass(frozen=True, slots=True)
class Findings:
    """The question as it was put, the passages for it, best first, and how sure it is that they answer it.

    The passages are there whatever the confidence; `certainty`, from 0 to 1, is the number behind it.
    """

    question: str
    history: Sequence[Utterance]
    language: Language
    hits: Sequence[Hit]
    scale: Scale
    certainty: float
    confidence: Confidence
    degraded: Sequence[Fallback] = ()
