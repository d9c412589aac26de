"""Text to search tokens: Korean without particles in two-syllable windows, English by a small stemmer."""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, Literal

from ragserver import grammar

Language = Literal["ko", "en"]

# Longer runs than any word are divided, so that the cache of words stays small whatever is sent.
LONGEST_WORD: Final = 40
_UP_TO = f"{{1,{LONGEST_WORD}}}"
_RUN = re.compile(rf"[가-힣]{_UP_TO}|[\u3040-\u30ff\u3400-\u9fff]{_UP_TO}|[^\W가-힣\u3040-\u30ff\u3400-\u9fff]{_UP_TO}")
# Composing takes time by the square of the marks on one letter, so it is done in parts; they end before a space.
_PART_LENGTH = 400
_PART = re.compile(rf"[\s\S]{{1,{_PART_LENGTH}}}(?!\S)|[\s\S]{{1,{_PART_LENGTH}}}")
_PLAIN_RUN = re.compile(rf"\w{_UP_TO}")
_HANGUL = re.compile(r"[가-힣]+")
_KOREAN_FROM = 0.1
_LANGUAGE_SAMPLE = 20_000  # characters
_LATIN = re.compile("[A-Za-z]+")
_WINDOWED = re.compile(r"[가-힣\u3040-\u30ff\u3400-\u9fff]+")
_SHORTEST_HANGUL_STEM = 2
_LONGEST_SUFFIX = 5
_MOST_SUFFIXES = 2
_SURE_PARTICLES = "을를"  # after one syllable too, as in 키를 and 값을; the others end many a noun of two
_SHORTEST_ENGLISH_STEM = 3

_SUFFIXES = grammar.PARTICLES | grammar.ENDINGS


def normalise(text: str) -> str:
    """Return the text in the form that all tokens are made from; decomposed Hangul is composed again."""
    return _composed(text).lower().replace("`", "")


def words(text: str) -> Iterator[str]:
    """Yield the words of a text in order: runs of one script, without a particle that hangs on another script.

    In `Python에서` and `리스트(list)와` the tail is grammar and not a word; in `with문은` it is one syllable.
    """
    plain = normalise(text)
    if not _WINDOWED.search(plain):
        yield from _PLAIN_RUN.findall(plain)  # the same as below, several times as fast
        return
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


@lru_cache(maxsize=20_000)
def wanted_tokens(word: str) -> tuple[str, ...]:
    """Return the search tokens that a passage should have which has this word.

    Of a Korean word the beginning counts as such only: 로그 is not to be found in 프로그램.
    """
    found = word_tokens(word)
    return tuple(token for token in found if f"_{token}" not in found)


def is_verb_like(word: str) -> bool:
    """Tell whether a Korean word looks like a verb form, which says less about the subject than a noun."""
    return word.endswith(grammar.VERB_LIKE)


def has_hangul(text: str) -> bool:
    """Tell whether a text has a Hangul syllable."""
    return _HANGUL.search(_composed(text)) is not None


def language_of(text: str) -> Language:
    """Return the language that a question or a word is taken to be in: Korean as soon as a syllable is."""
    return "ko" if has_hangul(text) else "en"


def written_in(text: str) -> Language:
    """Return the language that a document is in; some Latin words make a Korean one no other."""
    sample = text[:_LANGUAGE_SAMPLE]
    hangul = sum(map(len, _HANGUL.findall(sample)))
    latin = sum(map(len, _LATIN.findall(sample)))
    return "ko" if hangul and hangul >= _KOREAN_FROM * (hangul + latin) else "en"


def hangul_forms(word: str) -> Iterator[str]:
    """Yield a Korean word as it stands, then without its last particle or ending, then without the one before."""
    yield word
    for _ in range(_MOST_SUFFIXES):
        shorter = _without_suffix(word)
        if shorter == word:
            return
        yield shorter
        word = shorter


def _composed(text: str) -> str:
    if text.isascii():
        return text
    if len(text) <= _PART_LENGTH:
        return unicodedata.normalize("NFKC", text)
    return "".join(unicodedata.normalize("NFKC", part) for part in _PART.findall(text))


def _hangul_stem(word: str) -> str:
    *_, stem = hangul_forms(word)
    return stem


def _without_suffix(word: str) -> str:
    if len(word) == _SHORTEST_HANGUL_STEM and word[-1] in _SURE_PARTICLES:
        return word[:-1]
    for size in range(min(_LONGEST_SUFFIX, len(word) - _SHORTEST_HANGUL_STEM), 0, -1):
        if word[-size:] in _SUFFIXES:
            return word[:-size]
    return word


def _windows(stem: str) -> tuple[str, ...]:
    """Return each two syllables in a row, and the first two once more as a beginning: 로그 is no part of 프로그램."""
    if len(stem) < _SHORTEST_HANGUL_STEM:
        return (stem,)
    windows = dict.fromkeys(stem[at : at + 2] for at in range(len(stem) - 1))
    return (*windows, f"_{stem[:2]}")


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
