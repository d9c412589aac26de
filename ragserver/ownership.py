"""Whether a file is ours: a SQLite database has a number in its header that names the application it belongs to."""

from pathlib import Path
from typing import Final

_APPLICATION_ID_AT: Final = slice(68, 72)


class ForeignFileError(OSError):
    """A path of ours names a file that is something else, so it is not touched."""


def refuse_foreign(path: Path, application_id: int) -> None:
    """Raise ForeignFileError if something other than a database of this application is at the path.

    Nothing there is well, and so is an empty file; one too short to say what it is, is not.
    """
    if not path.exists():
        return
    if not path.is_file():
        raise ForeignFileError(f"{path} is not a file")
    with path.open("rb") as file:
        header = file.read(_APPLICATION_ID_AT.stop)
    if header and header[_APPLICATION_ID_AT] != application_id.to_bytes(4, "big"):
        raise ForeignFileError(f"{path} was not made by this server and is left as it is")
