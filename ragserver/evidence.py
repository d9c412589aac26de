"""How well a text covers what a question asks for: the filter that keeps the server from answering anyway."""

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Self

from ragserver import tokens
from ragserver.chunks import Chunk
from ragserver.question import Concept
from ragserver.store import Store
from ragserver.tokens import Language
from ragserver.units import Unit, units_with_tokens

_COVERAGE_SHARE = 0.6
_KNOWN_SHARE = 0.4
# What a word counts that is in a language of which the corpus has nothing, so that its absence says little; an English
# one says more, since names are written alike in Korean.
_FOREIGN_WEIGHT: dict[Language, float] = {"ko": 0.2, "en": 0.5}
_HALF_A_WORD = 0.5
_TERM_BONUS = 0.3
_MOST_TERMS = 8
_LEAST_ABSENCE = 0.5
_ENOUGH_CHUNKS = 3000  # from there the absence of a word counts in full


@dataclass(frozen=True, slots=True)
class _Term:
    """A concept by the sets of tokens that say it: its own, and each translation."""

    sayings: tuple[frozenset[str], ...]
    weight: float
    importance: float
    is_known: bool

    def share_in(self, found: AbstractSet[str]) -> float:
        share = max(len(saying & found) / len(saying) for saying in self.sayings)
        return share if share > _HALF_A_WORD else 0.0


@dataclass(frozen=True, slots=True)
class Scale:
    """The concepts of one question, weighed by how rare they are in a corpus; unknown words weigh the most."""

    terms: tuple[_Term, ...]

    @classmethod
    def of(cls, concepts: Sequence[Concept], store: Store) -> Self:
        """Weigh the concepts of a question in the corpus of an index."""
        wanted = {token for concept in concepts for saying in _sayings(concept) for token in saying}
        frequencies = store.frequencies(wanted)
        return cls(tuple(_term(concept, frequencies, store) for concept in concepts))

    def coverage(self, found: AbstractSet[str]) -> float:
        """Return how much of the question a text with these tokens speaks of, from 0 to 1."""
        total = sum(term.importance for term in self.terms)
        covered = sum(term.importance * term.share_in(found) for term in self.terms)
        return covered / total if total else 0.0

    def evidence(self, best: Sequence[Chunk]) -> float:
        """Return, from 0 to 1, how sure it is that the corpus can answer, from the best chunks.

        One sentence that speaks of it counts, and how many of the words the corpus knows at all. Of a question of many
        words a part is worth more than of one of few: "cover letter" is half in many a text, by chance.
        """
        total = sum(term.weight for term in self.terms)
        if not total:
            return 0.0
        known = sum(term.weight for term in self.terms if term.is_known) / total
        said = max((coverage for chunk in best for _, coverage in self.coverages(chunk)), default=0.0)
        share = _COVERAGE_SHARE * said + _KNOWN_SHARE * known
        return 1.0 - float((1 - share) ** (1 + _TERM_BONUS * (min(len(self.terms), _MOST_TERMS) - 1)))

    def coverages(self, chunk: Chunk) -> list[tuple[Unit, float]]:
        """Return the units of a chunk with their coverage; what the heading says counts for every unit under it."""
        assumed = frozenset(tokens.tokens(chunk.title))
        return [(unit, self.coverage(assumed | found)) for unit, found in units_with_tokens(chunk.content)]


def _sayings(concept: Concept) -> tuple[tuple[str, ...], ...]:
    return (concept.tokens, *filter(None, concept.translations))


def _term(concept: Concept, frequencies: dict[str, int], store: Store) -> _Term:
    sayings = _sayings(concept)
    known = [saying for saying in sayings if _is_known(saying, frequencies)]
    language = tokens.language_of(concept.word)
    is_foreign = not known and language not in store.languages
    weight = concept.weight * (_FOREIGN_WEIGHT[language] if is_foreign else 1.0)
    if not known:
        # A small folder lacks many a word of the questions it answers.
        weight *= min(max(math.log1p(store.chunks) / math.log(_ENOUGH_CHUNKS), _LEAST_ABSENCE), 1.0)
    rarity = min(_rarity(saying, frequencies, store) for saying in known or sayings)
    return _Term(tuple(map(frozenset, sayings)), weight, weight * rarity, bool(known))


def _is_known(saying: Sequence[str], frequencies: dict[str, int]) -> bool:
    return sum(token in frequencies for token in saying) > _HALF_A_WORD * len(saying)


def _rarity(saying: Sequence[str], frequencies: dict[str, int], store: Store) -> float:
    return sum(store.rarity(frequencies.get(token, 1)) for token in saying) / len(saying)
