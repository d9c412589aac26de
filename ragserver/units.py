"""The units a passage says things in: what a quotation begins and ends with."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from ragserver import markdown, tokens


@dataclass(frozen=True, slots=True)
class Unit:
    """A sentence, or a list, table or code block as a whole."""

    kind: markdown.Kind
    text: str
    paragraph: int


@lru_cache(maxsize=256)
def units_with_tokens(content: str) -> tuple[tuple[Unit, frozenset[str]], ...]:
    """Return the units of a Markdown text with their search tokens; the filter and the answer both ask for them."""
    return tuple((unit, frozenset(tokens.tokens(unit.text))) for unit in units(content))


def units(content: str) -> Iterator[Unit]:
    """Yield the units of a Markdown text in order."""
    for paragraph, block in enumerate(markdown.joined_lists(markdown.blocks(content))):
        for text in markdown.sentences(block.text) if block.kind == "prose" else [block.text]:
            yield Unit(block.kind, text, paragraph)
