"""A new file in the place of an old one, in one step: whoever opens it finds the one or the other, never a half."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_YOUNG_S: Final = 60  # who makes a folder locks it at once, so an older one without a lock is nobody's


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the path of a file to write; it takes the place of the one at `path` if the block ends well.

    What killed processes left behind, which could not clean up, is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}.new-"
    with contextlib.suppress(OSError):
        for left in path.parent.iterdir():
            if left.name.startswith(prefix):
                _remove_if_left(left)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent) as folder, _locked(Path(folder)):
        fresh = Path(folder) / path.name
        yield fresh
        fresh.replace(path)


def _remove_if_left(folder: Path) -> None:
    with contextlib.suppress(OSError):
        if time.time() - folder.stat().st_mtime > _YOUNG_S:
            with _locked(folder) as is_held:
                if is_held:
                    shutil.rmtree(folder)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of a folder, which the system lets go of with the process; tell whether it is held.

    It is not where somebody else holds it, or where a file system has no locks.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
