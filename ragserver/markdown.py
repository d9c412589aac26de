"""Markdown to blocks and sentences, as far as search and quotation need it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

Kind = Literal["heading", "prose", "list", "table", "code"]

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n---[ \t]*(?:\n|\Z)", re.DOTALL)
_FENCE = re.compile(r" {0,3}(?:[-*+] +)?(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(\S.*)")
_ITEM = re.compile(r"\s*(?:[-*+]|\d{1,3}[.)])\s+\S")
_LINK = re.compile(r"!?\[[^\[\]\n]*\](?:\([^()\n]*\)|:\s*\S+)|<?https?://[^\s>]+>?")
_SENTENCE_END = re.compile(r"(?<=[.!?。])(?<!e\.g\.)(?<!i\.e\.)\s+(?=[\"'(`*\[A-Z0-9가-힣])")
_MOSTLY = 0.5


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a document that belongs together; `level` is of headings only."""

    kind: Kind
    text: str
    level: int = 0


def body(document: str) -> str:
    """Return a document with its line ends made alike and without its front matter."""
    return _FRONT_MATTER.sub("", document.replace("\r\n", "\n").replace("\r", "\n"))


def blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of a Markdown text in order; a fence is never divided."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        end = _block_end(lines, at)
        if end > at:
            yield _block(lines[at:end])
        at = max(end, at + 1)


def joined_lists(found: Iterator[Block]) -> Iterator[Block]:
    """Yield the blocks with the items of a loose list, which blank lines divide, as one list again."""
    for kind, group in groupby(found, key=lambda block: block.kind):
        if kind == "list":
            yield Block("list", "\n".join(block.text for block in group))
        else:
            yield from group


def sentences(paragraph: str) -> list[str]:
    """Return the sentences of a paragraph, its line breaks taken for spaces."""
    return [sentence for sentence in _SENTENCE_END.split(" ".join(paragraph.split())) if sentence]


def is_mostly_links(text: str) -> bool:
    """Tell whether little is left of a text without its links, as in a table of contents."""
    linked = sum(len(match[0]) for match in _LINK.finditer(text))
    return linked > _MOSTLY * len("".join(text.split()))


def _block_end(lines: list[str], start: int) -> int:
    """Return where the block that starts here ends; `start` itself for a blank line."""
    if fence := _FENCE.match(lines[start]):
        return _fence_end(lines, start, fence[1])
    if _HEADING.fullmatch(lines[start]):
        return start + 1
    end = start
    while end < len(lines) and lines[end].strip() and not _interrupts(lines, start, end):
        end += 1
    return end


def _fence_end(lines: list[str], start: int, mark: str) -> int:
    for at in range(start + 1, len(lines)):
        stripped = lines[at].strip()
        if len(stripped) >= len(mark) and set(stripped) == {mark[0]}:
            return at + 1
    return len(lines)


def _interrupts(lines: list[str], start: int, at: int) -> bool:
    """Tell whether a line ends the paragraph before it: a heading, a fence, or the first item of a list."""
    if at == start:
        return False
    first_item = bool(_ITEM.match(lines[at])) and not _ITEM.match(lines[start])
    return first_item or bool(_HEADING.fullmatch(lines[at]) or _FENCE.match(lines[at]))


def _block(lines: list[str]) -> Block:
    first = lines[0]
    if _FENCE.match(first):
        return Block("code", "\n".join(lines))
    if heading := _HEADING.fullmatch(first):
        return Block("heading", _without_closing(heading[2].rstrip()), level=len(heading[1]))
    text = "\n".join(lines).strip()
    if _ITEM.match(first):
        return Block("list", text)
    return Block("table" if first.lstrip().startswith("|") else "prose", text)


def _without_closing(title: str) -> str:
    """Return a title without the number signs that may close it after a space; C# keeps its own."""
    words, _, last = title.rpartition(" ")
    return words.rstrip() if words and set(last) == {"#"} else title
