"""The folder of Markdown documents: what is in it and whether it is still the same."""

import hashlib
import inspect
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ragserver import chunks, grammar, markdown, tokens

_logger = logging.getLogger(__name__)
_MARKDOWN = {".md", ".markdown"}
_MAKERS = tuple(inspect.getfile(module) for module in (chunks, grammar, markdown, tokens))


@dataclass(frozen=True, slots=True)
class Document:
    """A readable document; `name` is its path in the folder, with forward slashes."""

    name: str
    text: str


def read(folder: Path) -> list[Document]:
    """Return the documents of a folder in the order of their names.

    A folder that is not there has none. Files that are binary or cannot be read are left out with a warning.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _MARKDOWN and _is_public(path, folder))
    return list(_documents(paths, folder))


def fingerprint(documents: list[Document], chunk_chars: int) -> str:
    """Return a hash that changes when an index of these documents would come out differently.

    The code that makes chunks and tokens is part of it, so that a new release never searches an old index.
    """
    digest = hashlib.sha256(f"chunk_chars={chunk_chars}".encode())
    for maker in _MAKERS:
        digest.update(Path(maker).read_bytes())
    for document in documents:
        text = document.text.encode()
        digest.update(f"\0{document.name}\0{len(text)}\0".encode())
        digest.update(text)
    return digest.hexdigest()


def _documents(paths: list[Path], folder: Path) -> Iterator[Document]:
    for path in paths:
        # A file name need not be UTF-8, but it travels in JSON.
        name = os.fsencode(path.relative_to(folder).as_posix()).decode(errors="replace")
        try:
            raw = path.read_bytes()
        except OSError as exc:
            _logger.warning("Document left out, it cannot be read: %s (%s)", name, exc.strerror)
            continue
        if b"\0" in raw:
            _logger.warning("Document left out, it is binary: %s", name)
            continue
        yield Document(name, raw.decode("utf-8-sig", errors="replace"))


def _is_public(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.is_file()
