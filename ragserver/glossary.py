"""Korean words with their English ones: what finds an English document for a Korean question, and the reverse."""

import logging
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from ragserver import tokens

_logger = logging.getLogger(__name__)
PACKAGED = Path(__file__).parent / "glossary.tsv"
_SHORTEST_PART = 2
MOST_WORDS = 4  # of an entry

Key = tuple[str, ...]
Terms = tuple[tuple[str, ...], ...]  # each translation as its search tokens
_Word = TypeVar("_Word", str, Key)


class GlossaryError(ValueError):
    """A line of a glossary is not one entry; the text says which."""


@dataclass(frozen=True, slots=True)
class Found:
    """An entry for some words in a row; `spellings` are the tokens of a Korean one with its spaces and without."""

    words: int
    terms: Terms
    spellings: tuple[str, ...] = ()


@dataclass(slots=True)
class Glossary:
    """Translations by their words: Korean ones by stem without spaces, English ones by their stems in order."""

    korean: dict[str, Terms] = field(default_factory=dict)
    english: dict[Key, Terms] = field(default_factory=dict)
    spellings: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the glossary of a file: Korean words, a tab, English words; commas between the words of a side.

        Raises:
            GlossaryError: a line is no entry.
            OSError: the file cannot be read.
        """
        korean: defaultdict[str, list[str]] = defaultdict(list)
        english: defaultdict[Key, list[str]] = defaultdict(list)
        spellings: dict[str, tuple[str, ...]] = {}
        for left, right in _entries(path):
            for word in left:
                joined = "".join(word.split())
                korean[joined] += right
                if joined != word:
                    spellings[joined] = tuple(dict.fromkeys(_wanted(word) + _wanted(joined)))
            for word in right:
                english[_stems(word)] += left
        if not korean:
            _logger.warning("No entry in the glossary %s: nothing is translated", path)
        return cls(_tokenised(korean), _tokenised(english), spellings)

    def find(self, words: Sequence[str]) -> Found | None:
        """Return the entry for as many of the first words as there is one for."""
        for count in range(min(MOST_WORDS, len(words)), 0, -1):
            if found := self._entry(words[:count]):
                return found
        return None

    def _entry(self, words: Sequence[str]) -> Found | None:
        count = len(words)
        if not tokens.has_hangul(words[-1]):
            terms = self.english.get(_key(words))
            return Found(count, terms) if terms else None
        before = "".join(words[:-1])
        for form in tokens.hangul_forms(words[-1]):
            if terms := self.korean.get(before + form):
                return Found(count, terms, self.spellings.get(before + form, ()))
        parts = self._terms_of_parts(words[0]) if count == 1 else ()
        return Found(count, parts) if parts else None

    def _terms_of_parts(self, word: str) -> Terms:
        """Return the terms of the words that a Korean compound is made of, longest first from the left."""
        terms: list[tuple[str, ...]] = []
        start = 0
        while start <= len(word) - _SHORTEST_PART:
            ends = range(len(word), start + _SHORTEST_PART - 1, -1)
            end = next((end for end in ends if word[start:end] in self.korean), 0)
            terms += self.korean.get(word[start:end], ())
            start = end or start + 1
        return tuple(dict.fromkeys(terms))


def _entries(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        left, tab, right = unicodedata.normalize("NFKC", line).lower().partition("\t")
        sides = [[word.strip() for word in side.split(",") if word.strip()] for side in (left, right)]
        if not tab or not all(sides):
            raise GlossaryError(f"{path.name}, line {number}: not words, a tab, and their translations")
        yield sides[0], sides[1]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        raise GlossaryError(f"{path.name}, line {line}: not UTF-8") from exc


def _stems(phrase: str) -> Key:
    return _key(list(tokens.words(phrase)))


def _key(words: Sequence[str]) -> Key:
    return tuple(tokens.word_tokens(word)[0] for word in words)


def _tokenised(entries: dict[_Word, list[str]]) -> dict[_Word, Terms]:
    return {key: tuple(dict.fromkeys(map(_wanted, phrases))) for key, phrases in entries.items()}


def _wanted(phrase: str) -> tuple[str, ...]:
    return tuple(token for word in tokens.words(phrase) for token in tokens.wanted_tokens(word))
