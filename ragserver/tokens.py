"""Text to search tokens: Korean without particles in two-syllable windows, English by a small stemmer."""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from ragserver import grammar

# Longer runs than any word are divided, so that the cache of words stays small whatever is sent.
_RUN = re.compile(r"[가-힣]{1,40}|[\u3040-\u30ff\u3400-\u9fff]{1,40}|[^\W가-힣\u3040-\u30ff\u3400-\u9fff]{1,40}")
_HANGUL = re.compile(r"[가-힣]+")
_WINDOWED = re.compile(r"[가-힣\u3040-\u30ff\u3400-\u9fff]+")
_SHORTEST_HANGUL_STEM = 2
_LONGEST_SUFFIX = 5
_SURE_PARTICLES = "을를"  # after one syllable too, as in 키를 and 값을; the others end many a noun of two
_SHORTEST_ENGLISH_STEM = 3

_SUFFIXES = grammar.PARTICLES | grammar.ENDINGS


def normalise(text: str) -> str:
    """Return the text in the form that all tokens are made from; decomposed Hangul is composed again."""
    return unicodedata.normalize("NFKC", text).lower().replace("`", "")


def words(text: str) -> Iterator[str]:
    """Yield the words of a text in order: runs of one script, without a particle that hangs on another script.

    In `Python에서` and `리스트(list)와` the tail is grammar and not a word; in `with문은` it is one syllable.
    """
    plain = normalise(text)
    for match in _RUN.finditer(plain):
        start, word = match.start(), match[0]
        if start == 0 or plain[start - 1].isspace():
            yield word
        elif word[1:] in _SUFFIXES:
            yield word[0]
        elif word not in _SUFFIXES:
            yield word


def tokens(text: str) -> list[str]:
    """Return the search tokens of a text, repeated as often as they occur."""
    return [token for word in words(text) for token in word_tokens(word)]


@lru_cache(maxsize=20_000)
def word_tokens(word: str) -> tuple[str, ...]:
    """Return the search tokens of one word from `words`."""
    if _WINDOWED.fullmatch(word):
        return _windows(_hangul_stem(word))
    parts = filter(None, word.split("_"))
    return tuple(dict.fromkeys([_english_stem(word), *map(_english_stem, parts)]))


def is_verb_like(word: str) -> bool:
    """Tell whether a Korean word looks like a verb form, which says less about the subject than a noun."""
    return word.endswith(grammar.VERB_LIKE)


def has_hangul(text: str) -> bool:
    """Tell whether a text has a Hangul syllable."""
    return _HANGUL.search(unicodedata.normalize("NFKC", text)) is not None


def hangul_share(text: str) -> float:
    """Return which share of the letters of a text is Hangul; 0 for a text without letters."""
    letters = sum(char.isalpha() for char in text)
    return sum(map(len, _HANGUL.findall(text))) / letters if letters else 0.0


def _hangul_stem(word: str) -> str:
    for _ in range(2):
        shorter = _without_suffix(word)
        if shorter == word:
            break
        word = shorter
    return word


def _without_suffix(word: str) -> str:
    if len(word) == _SHORTEST_HANGUL_STEM and word[-1] in _SURE_PARTICLES:
        return word[:-1]
    for size in range(min(_LONGEST_SUFFIX, len(word) - _SHORTEST_HANGUL_STEM), 0, -1):
        if word[-size:] in _SUFFIXES:
            return word[:-size]
    return word


def _windows(stem: str) -> tuple[str, ...]:
    if len(stem) <= _SHORTEST_HANGUL_STEM:
        return (stem,)
    return tuple(dict.fromkeys(stem[at : at + 2] for at in range(len(stem) - 1)))


def _english_stem(word: str) -> str:
    if not word.isalpha():
        return word
    return _without_e(_without_tense(_singular(word)))


def _singular(word: str) -> str:
    if len(word) <= _SHORTEST_ENGLISH_STEM or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes", "zes")):
        return word[:-2]
    return word.removesuffix("s")


def _without_tense(word: str) -> str:
    for suffix in ("ing", "ed"):
        stem = word.removesuffix(suffix)
        if stem != word and len(stem) >= _SHORTEST_ENGLISH_STEM and re.search("[aeiouy]", stem):
            doubled = stem[-1] == stem[-2] and stem[-1] not in "lsz"
            return stem[:-1] if doubled else stem
    return word


def _without_e(word: str) -> str:
    return word[:-1] if len(word) > _SHORTEST_ENGLISH_STEM + 1 and word.endswith("e") else word
