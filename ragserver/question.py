"""A question taken apart: its language and the concepts that search looks for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ragserver import grammar, tokens
from ragserver.contract import QUESTION_LENGTH, Utterance
from ragserver.store import Language

_VERB_LIKE_WEIGHT = 0.4
_DIGITS_WEIGHT = 0.5
_SYLLABLE_WEIGHT = 0.4
_CONTEXT_WEIGHT = 0.5
_ENOUGH_CONCEPTS = 2


@dataclass(frozen=True, slots=True)
class Concept:
    """One thing a question asks for: a word with its search tokens, and how much the word says."""

    word: str
    tokens: tuple[str, ...]
    weight: float


@dataclass(frozen=True, slots=True)
class Question:
    """What to search for: the question's own concepts and, for a short follow-up, those of the one before.

    `tokens` are those of all its words: "what is" and "when" find nothing, yet a heading that says them fits better.
    """

    language: Language
    tokens: frozenset[str]
    concepts: tuple[Concept, ...]
    context: tuple[Concept, ...] = ()


def parse(text: str, history: Sequence[Utterance]) -> Question:
    """Take a question apart; one with fewer than two concepts borrows those of the last question of the user."""
    own = concepts(text)
    context: tuple[Concept, ...] = ()
    if len(own) < _ENOUGH_CONCEPTS:
        said = next((one.content for one in reversed(history) if one.role == "user" and one.content != text), "")
        words = {concept.word for concept in own}
        context = tuple(
            replace(concept, weight=concept.weight * _CONTEXT_WEIGHT)
            for concept in concepts(said[:QUESTION_LENGTH])
            if concept.word not in words
        )
    language: Language = "ko" if tokens.has_hangul(text) else "en"
    return Question(language, frozenset(tokens.tokens(text)), own, context)


def concepts(text: str) -> tuple[Concept, ...]:
    """Return the concepts of a question in order, without the words that only make it a question."""
    is_korean = tokens.has_hangul(text)
    found: dict[tuple[str, ...], Concept] = {}
    for word in tokens.words(text):
        searched = tokens.word_tokens(word)
        if not _only_asks(word, is_korean=is_korean):
            found.setdefault(searched, Concept(word, searched, _weight(word)))
    return tuple(found.values())


def _only_asks(word: str, *, is_korean: bool) -> bool:
    # In a Korean sentence `with`, `for` and `is` are code, not grammar.
    grammatical = word in grammar.STOP_WORDS and not is_korean
    asking = word in grammar.ASKING_ENGLISH or word in grammar.ASKING_KOREAN
    return grammatical or asking or word.startswith(grammar.ASKING_KOREAN_STARTS)


def _weight(word: str) -> float:
    if word.isdigit():
        return _DIGITS_WEIGHT
    if len(word) == 1 and tokens.has_hangul(word):
        return _SYLLABLE_WEIGHT
    return _VERB_LIKE_WEIGHT if tokens.is_verb_like(word) else 1.0
