"""Markdown to blocks and sentences, as far as search and quotation need it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

Kind = Literal["heading", "prose", "list", "table", "code"]

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n---[ \t]*(?:\n|\Z)", re.DOTALL)
# In a list item a fence is indented by as much as the item is; three marks with more of them in the line are code
# within a line.
_FENCE = re.compile(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?(`{3,}(?=[^`]*$)|~{3,})")
_INDENTATION = re.compile(r"[ \t]*")
_INDENTED_MORE = 3  # than what it belongs to, a fence may be
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(\S.{0,299})")  # what is longer is a paragraph that nobody meant to be one
_DELIMITER_ROW = frozenset("|-: \t")
_ITEM = re.compile(r"\s*(?:[-*+]|\d{1,3}[.)])\s+\S")
_LINK = re.compile(r"!?\[[^\[\]\n]*\](?:\([^()\n]*\)|:\s*\S+)|<?https?://[^\s>]+>?")
_SENTENCE_END = re.compile(
    r"(?<=[.!?。؟！？])(?:(?<!e\.g\.)(?<!i\.e\.)\s+(?=[\"'(`*\[A-Z0-9가-힣А-ЯЁ\u0620-\u064a])|(?<=[。！？])(?=[^」』）”\s]))"
)
_MOSTLY = 0.5
_LONGEST_OPENING = 100
_LONGEST_HEAD = 200


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


def framed(block: Block) -> tuple[str, list[str], str]:
    """Return the lines of a block, and what each part of it needs before and after it to still be such a block.

    That is the marks of a fence, and the head of a table.
    """
    lines = block.text.split("\n")
    if block.kind == "code" and (fence := _FENCE.match(lines[0])):
        is_closed = set(lines[-1].strip()) == {fence[1][0]}
        opening = lines[0] if len(lines[0]) <= _LONGEST_OPENING else fence[1]
        return f"{opening}\n", lines[1 : -1 if is_closed else None], f"\n{fence[1]}"
    if block.kind == "table" and len(lines) > 1 and "-" in lines[1] and _DELIMITER_ROW.issuperset(lines[1]):
        head = "\n".join(lines[:2])
        return (f"{head}\n", lines[2:], "") if len(head) <= _LONGEST_HEAD else ("", lines, "")
    return "", lines, ""


def is_mostly_links(text: str) -> bool:
    """Tell whether little is left of a text without its links, as in a table of contents."""
    if "](" not in text and "]:" not in text and "://" not in text:
        return False
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
    """Return where a fence ends: behind the line that closes it, or with the list item that it is in."""
    least = _indentation(lines[start]) - _INDENTED_MORE
    for at in range(start + 1, len(lines)):
        stripped = lines[at].strip()
        if stripped and _indentation(lines[at]) < least:
            return at
        if len(stripped) >= len(mark) and set(stripped) == {mark[0]}:
            return at + 1
    return len(lines)


def _indentation(line: str) -> int:
    found = _INDENTATION.match(line)
    return len(found[0].expandtabs(4)) if found else 0


def _interrupts(lines: list[str], start: int, at: int) -> bool:
    """Tell whether a line ends the paragraph before it: a heading, a fence, or the first item of a list."""
    if at == start:
        return False
    first_item = bool(_ITEM.match(lines[at])) and not _ITEM.match(lines[start])
    return first_item or bool(_HEADING.fullmatch(lines[at]) or _FENCE.match(lines[at]))


def _block(lines: list[str]) -> Block:
    first = lines[0]
    if _FENCE.match(first):
        return Block("code", "\n".join(_outdented(lines)))
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


def _outdented(lines: list[str]) -> list[str]:
    """Return the lines of a fence as they are outside of the list item that they were in."""
    indented = len(lines[0]) - len(lines[0].lstrip())
    return [line[min(indented, len(line) - len(line.lstrip())) :] for line in lines] if indented else lines
