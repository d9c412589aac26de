"""How well a text covers what a question asks for: the filter that keeps the server from answering anyway."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Self

from ragserver import tokens
from ragserver.question import Concept
from ragserver.store import Store

_COVERAGE_SHARE = 0.6
_KNOWN_SHARE = 0.4
_FOREIGN_WEIGHT = 0.2
_LEAST_OF_A_WORD = 0.5


@dataclass(frozen=True, slots=True)
class _Term:
    tokens: frozenset[str]
    weight: float
    importance: float
    is_known: bool

    def share_in(self, found: AbstractSet[str]) -> float:
        share = len(self.tokens & found) / len(self.tokens)
        return share if share >= _LEAST_OF_A_WORD else 0.0


@dataclass(frozen=True, slots=True)
class Scale:
    """The concepts of one question, weighed by how rare they are in a corpus; unknown words weigh the most."""

    terms: tuple[_Term, ...]

    @classmethod
    def of(cls, concepts: Sequence[Concept], store: Store) -> Self:
        """Weigh the concepts of a question in the corpus of an index."""
        frequencies = store.frequencies(token for concept in concepts for token in concept.tokens)
        return cls(tuple(_term(concept, frequencies, store) for concept in concepts))

    def coverage(self, found: AbstractSet[str]) -> float:
        """Return how much of the question a text with these tokens speaks of, from 0 to 1."""
        total = sum(term.importance for term in self.terms)
        covered = sum(term.importance * term.share_in(found) for term in self.terms)
        return covered / total if total else 0.0

    def evidence(self, best: Sequence[AbstractSet[str]]) -> float:
        """Return, from 0 to 1, how sure it is that the corpus can answer, from the tokens of the best chunks."""
        total = sum(term.weight for term in self.terms)
        known = sum(term.weight for term in self.terms if term.is_known)
        coverage = max(map(self.coverage, best), default=0.0)
        return _COVERAGE_SHARE * coverage + _KNOWN_SHARE * (known / total if total else 0.0)


def _term(concept: Concept, frequencies: dict[str, int], store: Store) -> _Term:
    of_word = [frequencies.get(token, 0) for token in concept.tokens]
    is_known = sum(map(bool, of_word)) > _LEAST_OF_A_WORD * len(of_word)
    foreign = not is_known and not store.is_korean and tokens.has_hangul(concept.word)
    weight = concept.weight * (_FOREIGN_WEIGHT if foreign else 1.0)
    rarity = sum(map(store.rarity, of_word)) / len(of_word)
    return _Term(frozenset(concept.tokens), weight, weight * rarity, is_known)
