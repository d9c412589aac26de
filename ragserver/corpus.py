"""The folder of Markdown documents: what is in it and whether it is still the same."""

import codecs
import hashlib
import inspect
import logging
import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ragserver import chunks, grammar, markdown, tokens, vectors

_logger = logging.getLogger(__name__)
_MARKDOWN = {".md", ".markdown"}
_MAKERS = tuple(inspect.getfile(module) for module in (chunks, grammar, markdown, tokens, vectors))
_LARGEST = 100_000_000  # bytes; indexing takes about thirteen times that
_MOST_BROKEN = 0.2  # of the characters; more is no text, or one in an encoding that nobody named
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_DECOMPOSED = re.compile("[\u1100-\u1112][\u1161-\u1175][\u11a8-\u11c2]?")  # a syllable as macOS writes it


class _LeftOutError(Exception):
    """A file is no document; the text says why."""


@dataclass(frozen=True, slots=True)
class Document:
    """A readable document; `name` is its path in the folder, with forward slashes."""

    name: str
    text: str


def read(folder: Path) -> list[Document]:
    """Return the documents of a folder in the order of their names.

    Hidden files are none. What is binary, too large, not readable or a link that leads out of the folder is left out
    with a warning.

    Raises:
        OSError: the folder itself cannot be read.
    """
    documents = sorted(_documents(folder), key=lambda document: document.name)
    if not documents:
        _logger.warning("No document in %s", folder)
    return documents


def fingerprint(documents: list[Document], chunk_chars: int, *makers: str) -> str:
    """Return a hash that changes when an index of these documents would come out differently.

    The code that makes chunks and tokens, and that in the files `makers`, is part of it, so that a new release never
    searches an old index.
    """
    digest = hashlib.sha256(f"chunk_chars={chunk_chars}".encode())
    for maker in (*_MAKERS, *makers):
        digest.update(Path(maker).read_bytes())
    for document in documents:
        text = document.text.encode()
        digest.update(f"\0{document.name}\0{len(text)}\0".encode())
        digest.update(text)
    return digest.hexdigest()


def _documents(folder: Path) -> Iterator[Document]:
    for path in _paths(folder):
        try:
            text = _text(path, folder)
        except OSError as exc:
            _leave_out(path, f"it cannot be read ({exc.strerror})")
        except _LeftOutError as exc:
            _leave_out(path, str(exc))
        else:
            # A file name need not be UTF-8, but it travels in JSON.
            name = os.fsencode(path.relative_to(folder).as_posix()).decode(errors="backslashreplace")
            yield Document(name, text)


def _paths(folder: Path) -> Iterator[Path]:
    """Yield what is named like Markdown in a folder and in those under it; there is no depth that is too deep."""
    files, waiting = _listed(folder)
    yield from files
    while waiting:
        inner = waiting.pop()
        try:
            files, folders = _listed(inner)
        except OSError as exc:
            _leave_out(inner, f"it cannot be read ({exc.strerror})")
        else:
            waiting += folders
            yield from files


def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the Markdown files and the folders in a folder; links to folders may go round in circles and are none."""
    files, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif path.suffix.lower() in _MARKDOWN:
                files.append(path)
            elif entry.is_symlink() and os.path.isdir(path):  # noqa: PTH112 - Path.is_dir may raise
                _leave_out(path, "it is a link to a folder")
    return files, folders


def _text(path: Path, folder: Path) -> str:
    # A link within the folder is fine: Kubernetes mounts files so.
    if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise _LeftOutError("it is a link out of the folder")
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise _LeftOutError("it is not a file")
    if status.st_size > _LARGEST:
        raise _LeftOutError(f"it has more than {_LARGEST:,} bytes")
    text = _decoded(path.read_bytes())
    return text if text.isascii() else _DECOMPOSED.sub(lambda found: unicodedata.normalize("NFC", found[0]), text)


def _decoded(raw: bytes) -> str:
    text = raw.decode("utf-16" if raw.startswith(_UTF_16) else "utf-8-sig", errors="replace")
    if "\0" in text:
        raise _LeftOutError("it is binary")
    if text.count("\ufffd") > _MOST_BROKEN * len(text):
        raise _LeftOutError("it is neither UTF-8 nor UTF-16")
    return text


def _leave_out(path: Path, reason: str) -> None:
    # As a literal, or a line end in a name would begin a line of the log.
    _logger.warning("Document left out, %s: %r", reason, str(path))
