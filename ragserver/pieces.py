"""A finished text in the pieces in which a person would see it written."""

import re
import unicodedata
from collections.abc import Iterator

_LENGTH = 60
# Up to the end of a line, or of a sentence with the number of its source; the number of a list item ends none.
_SENTENCE = re.compile(
    rf"[\s\S]{{1,{_LENGTH}}}?"
    r"(?:(?<=\n)\n*|(?<=[.!?。])(?<![0-9]\.)(?<!e\.g\.)(?<!i\.e\.)[^\S\n]++(?:\[[0-9]+\][^\S\n]*)?\n*)"
)
_WORDS = re.compile(rf"[\s\S]{{1,{_LENGTH}}}(?:(?<=\s)|\s+)")
_VIRAMA = 9  # the combining class of the signs that tie two Indic consonants together
_LEAD_JAMO = re.compile("[\u1100-\u115f\ua960-\ua97c]")
_VOWEL_OR_FINAL_JAMO = re.compile("[\u1160-\u11ff\ud7b0-\ud7fb]")
_REGIONAL = re.compile("[\U0001f1e6-\U0001f1ff]")  # two of them are a flag
_MODIFIER = re.compile("[\U0001f3fb-\U0001f3ff\uff9e\uff9f]")  # skin tones, halfwidth voicing marks


def split(text: str) -> Iterator[str]:
    """Yield the text in pieces of about 60 characters at most, whose concatenation it is.

    A piece ends where a line or a sentence does, in a longer one between words, in a longer word between any two
    characters that a reader would tell apart.
    """
    start = 0
    while start < len(text):
        end = _end(text, start)
        yield text[start:end]
        start = end


def _end(text: str, start: int) -> int:
    end = min(start + _LENGTH, len(text))
    if (found := _SENTENCE.match(text, start)) or (end < len(text) and (found := _WORDS.match(text, start))):
        end = found.end()
    while end < len(text) and _belong_together(text[end - 1], text[end]):
        end += 1
    return end


def _belong_together(before: str, after: str) -> bool:
    """Tell whether two characters are one to a reader; rather too often than not."""
    if unicodedata.category(before) == "Cf" or unicodedata.combining(before) == _VIRAMA:  # Cf: joiners and the like
        return True
    if unicodedata.category(after) in {"Mn", "Mc", "Me", "Cf"} or _MODIFIER.match(after):
        return True
    if _VOWEL_OR_FINAL_JAMO.match(after) or (before == "\r" and after == "\n"):
        return True
    return any(kind.match(before) and kind.match(after) for kind in (_LEAD_JAMO, _REGIONAL))
