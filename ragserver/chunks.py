"""A document cut into the passages that search finds and answers quote."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ragserver import markdown, tokens
from ragserver.markdown import Block
from ragserver.tokens import Language

_WITH_ITS_CODE = 1.4  # a chunk may grow this much so that an example stays with its explanation
_LONGEST_CODE = 8000  # beyond it a fence is no example but data; whole, it would make answers of megabytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage under one heading; `chunk_id` stays the same while document, heading and text do.

    The language is that of the whole document.
    """

    chunk_id: str
    document: str
    heading: str
    content: str
    language: Language

    @property
    def title(self) -> str:
        """The heading that the passage stands under, without those above it."""
        return self.heading.rpartition(" > ")[2]


@dataclass(slots=True)
class _Section:
    """The blocks under one heading, packed into contents of about the size that is wanted."""

    heading: str
    size: int
    contents: list[str] = field(default_factory=list)
    _kept: list[str] = field(default_factory=list)
    _length: int = 0

    def add(self, block: Block) -> None:
        for piece in _pieces(block, self.size):
            limit = self.size * _WITH_ITS_CODE if block.kind == "code" else self.size
            if self._kept and self._length + len(piece) > limit:
                self.close()
            self._kept.append(piece)
            self._length += len(piece)

    def close(self) -> None:
        if self._kept:
            self.contents.append("\n\n".join(self._kept))
            self._kept.clear()
            self._length = 0


def cut(document: str, text: str, size: int) -> list[Chunk]:
    """Return the chunks of a Markdown document of about `size` characters; code fences stay whole.

    A heading starts a chunk. Chunks that are mostly links lead elsewhere and are left out.
    """
    language = tokens.written_in(text)
    seen: Counter[tuple[str, str]] = Counter()
    chunks = []
    for section in _sections(text, size):
        for content in section.contents:
            if not content.strip() or markdown.is_mostly_links(content):
                continue
            seen[section.heading, content] += 1
            chunk_id = _chunk_id(document, section.heading, content, seen[section.heading, content])
            chunks.append(Chunk(chunk_id, document, section.heading, content, language))
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
    """Yield the block, or what is left of a long one after cutting at lines, sentences, words or anywhere at last."""
    if len(block.text) <= (max(_LONGEST_CODE, size) if block.kind == "code" else size):
        yield block.text
    elif block.kind == "prose":
        yield from _packed(markdown.sentences(block.text), " ", size)
    else:
        before, lines, after = markdown.framed(block)
        room = max(size - len(before) - len(after), size // 2)
        for piece in _packed(lines, "\n", room):
            yield f"{before}{piece}{after}"


def _packed(parts: Iterable[str], glue: str, size: int) -> Iterator[str]:
    kept = ""
    for part in (bit for long in parts for bit in _bits(long, size)):
        if kept and len(kept) + len(glue) + len(part) > size:
            yield kept
            kept = ""
        kept = f"{kept}{glue}{part}" if kept else part
    if kept:
        yield kept


def _bits(text: str, size: int) -> Iterator[str]:
    """Yield a text in bits of this size at most, cut behind a space if there is one in their last half."""
    start = 0
    while len(text) - start > size:
        end = text.rfind(" ", start + size // 2, start + size) + 1 or start + size
        yield text[start:end].rstrip(" ")
        start = end
    yield text[start:]


def _chunk_id(document: str, heading: str, content: str, occurrence: int) -> str:
    key = "\0".join((document, heading, content, str(occurrence)))
    return hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
