"""A question taken apart: its language and the concepts that search looks for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

from ragserver import grammar, tokens
from ragserver.contract import QUESTION_LENGTH, Utterance
from ragserver.glossary import MOST_WORDS, Glossary, Terms
from ragserver.tokens import Language

_VERB_LIKE_WEIGHT = 0.4
_DIGITS_WEIGHT = 0.5
_SYLLABLE_WEIGHT = 0.4
_TELLING_DIGITS = 3
_BORROWED_WEIGHT = 0.5  # of a concept of the question before, as evidence
_ENOUGH_CONCEPTS = 3
_MOST_SAID = 1000  # characters of the question before that a model reads with a follow-up
_MOST_WORDS = 2000  # one character may be a phrase of four words


@dataclass(frozen=True, slots=True)
class Concept:
    """One thing a question asks for: its words with their search tokens, how much they say, their translations."""

    word: str
    tokens: tuple[str, ...]
    weight: float
    translations: Terms = ()


@dataclass(frozen=True, slots=True)
class Question:
    """What to search for: the question's own concepts and, for a follow-up, those of the question before.

    `text` is what a model is to read: a follow-up, and behind it the question that it follows.
    """

    text: str
    language: Language
    concepts: tuple[Concept, ...]
    context: tuple[Concept, ...] = ()


def parse(text: str, history: Sequence[Utterance], glossary: Glossary) -> Question:
    """Take a question apart; one that does not stand alone borrows the concepts of the user's question before."""
    own = concepts(text, glossary)
    language = tokens.language_of(text)
    if len(own) >= _ENOUGH_CONCEPTS and not _points_back(text):
        return Question(text, language, own)
    said = next((one.content for one in reversed(history) if one.role == "user" and one.content != text), "")
    said = said[:QUESTION_LENGTH]
    words = {concept.word for concept in own}
    context = tuple(
        replace(concept, weight=concept.weight * _BORROWED_WEIGHT)
        for concept in concepts(said, glossary)
        if concept.word not in words
    )
    return Question(f"{text}\n{said[:_MOST_SAID]}" if said else text, language, own, context)


def concepts(text: str, glossary: Glossary) -> tuple[Concept, ...]:
    """Return the concepts of a question in order, without the words that only make it a question."""
    is_korean = tokens.has_hangul(text)
    words = list(islice(tokens.words(text), _MOST_WORDS))
    found: dict[tuple[str, ...], Concept] = {}
    at = 0
    while at < len(words):
        entry = glossary.find(words[at : at + MOST_WORDS])
        taken = words[at : at + (entry.words if entry else 1)]
        at += len(taken)
        if all(_only_asks(word, is_korean=is_korean) for word in taken):
            continue
        spellings = entry.spellings if entry else ()
        searched = spellings or tuple(dict.fromkeys(chain.from_iterable(map(tokens.wanted_tokens, taken))))
        concept = Concept(" ".join(taken), searched, max(map(_weight, taken)), entry.terms if entry else ())
        found.setdefault(searched, concept)
    # Small numbers alone ask for nothing: they are in every example.
    return tuple(found.values()) if any(_says_something(concept.word) for concept in found.values()) else ()


def tokens_of(wanted: Iterable[Concept]) -> set[str]:
    """Return the search tokens of concepts."""
    return {token for concept in wanted for token in concept.tokens}


def translated_tokens_of(wanted: Iterable[Concept]) -> set[str]:
    """Return the search tokens of the translations of concepts."""
    return {token for concept in wanted for translation in concept.translations for token in translation}


def _says_something(word: str) -> bool:
    return not word.isdigit() or len(word) >= _TELLING_DIGITS


def _points_back(text: str) -> bool:
    words = list(tokens.words(text))
    return any(word in grammar.POINTING_BACK for word in words) or (bool(words) and words[0] in grammar.CONNECTING)


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
