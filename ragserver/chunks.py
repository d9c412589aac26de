"""A document cut into the passages that search finds and answers quote."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ragserver import markdown
from ragserver.markdown import Block

_WITH_ITS_CODE = 1.4  # a chunk may grow this much so that an example stays with its explanation


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage under one heading; `chunk_id` stays the same while document, heading and text do."""

    chunk_id: str
    document: str
    heading: str
    content: str


@dataclass(slots=True)
class _Section:
    """The blocks under one heading, packed into contents of about the size that is wanted."""

    heading: str
    size: int
    contents: list[str] = field(default_factory=list)
    _kept: list[str] = field(default_factory=list)

    def add(self, block: Block) -> None:
        for piece in _pieces(block, self.size):
            limit = self.size * _WITH_ITS_CODE if block.kind == "code" else self.size
            if self._kept and sum(map(len, self._kept)) + len(piece) > limit:
                self.close()
            self._kept.append(piece)

    def close(self) -> None:
        if self._kept:
            self.contents.append("\n\n".join(self._kept))
            self._kept.clear()


def cut(document: str, text: str, size: int) -> list[Chunk]:
    """Return the chunks of a Markdown document of about `size` characters; code fences stay whole.

    A heading starts a chunk. Chunks that are mostly links lead elsewhere and are left out.
    """
    seen: Counter[tuple[str, str]] = Counter()
    chunks = []
    for section in _sections(text, size):
        for content in section.contents:
            if markdown.is_mostly_links(content):
                continue
            seen[section.heading, content] += 1
            chunk_id = _chunk_id(document, section.heading, content, seen[section.heading, content])
            chunks.append(Chunk(chunk_id, document, section.heading, content))
    return chunks


def _sections(text: str, size: int) -> Iterator[_Section]:
    path: list[tuple[int, str]] = []
    section = _Section("", size)
    for block in markdown.joined_lists(markdown.blocks(markdown.body(text))):
        if block.kind != "heading":
            section.add(block)
            continue
        section.close()
        yield section
        path = [step for step in path if step[0] < block.level] + [(block.level, block.text)]
        section = _Section(" > ".join(title for _, title in path), size)
    section.close()
    yield section


def _pieces(block: Block, size: int) -> Iterator[str]:
    """Yield the block, or what is left of a long one after cutting at lines, sentences or anywhere at last."""
    if block.kind == "code" or len(block.text) <= size:
        yield block.text
        return
    parts = markdown.sentences(block.text) if block.kind == "prose" else block.text.split("\n")
    glue = " " if block.kind == "prose" else "\n"
    kept = ""
    for part in (long[at : at + size] for long in parts for at in range(0, len(long), size)):
        if kept and len(kept) + len(part) > size:
            yield kept
            kept = ""
        kept = f"{kept}{glue}{part}" if kept else part
    if kept:
        yield kept


def _chunk_id(document: str, heading: str, content: str, occurrence: int) -> str:
    key = "\0".join((document, heading, content, str(occurrence)))
    return hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
