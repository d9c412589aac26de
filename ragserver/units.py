"""The units a passage says things in: what a quotation begins and ends with."""

from collections.abc import Iterator
from dataclasses import dataclass

from ragserver import markdown


@dataclass(frozen=True, slots=True)
class Unit:
    """A sentence, or a list, table or code block as a whole."""

    kind: markdown.Kind
    text: str
    paragraph: int


def units(content: str) -> Iterator[Unit]:
    """Yield the units of a Markdown text in order."""
    for paragraph, block in enumerate(markdown.joined_lists(markdown.blocks(content))):
        for text in markdown.sentences(block.text) if block.kind == "prose" else [block.text]:
            yield Unit(block.kind, text, paragraph)
