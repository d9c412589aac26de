"""The upstream's journal, read as it grows."""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path


@dataclass
class UpstreamCall:
    """One request that the upstream got."""

    number: int
    canary: str
    at: float
    is_stream: bool
    sent: str = ""
    whole: str = ""
    """The answer as it would be in full."""
    end: str | None = None


class Journal:
    """What the upstream wrote so far."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_to = 0
        self._calls: dict[int, UpstreamCall] = {}
        self._by_canary: dict[str, list[UpstreamCall]] = defaultdict(list)

    def calls(self, canary: str) -> list[UpstreamCall]:
        """The calls with this canary, in their order."""
        self._read()
        return self._by_canary[canary]

    @property
    def total(self) -> int:
        """The number of calls so far."""
        self._read()
        return len(self._calls)

    def since(self, at: float) -> list[UpstreamCall]:
        """The calls that began after a moment."""
        self._read()
        return [call for call in self._calls.values() if call.at >= at]

    def _read(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._read_to)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # still being written
                self._read_to += len(line)
                self._take(json.loads(line))

    def _take(self, entry: dict[str, object]) -> None:
        number = int(str(entry["call"]))
        if "canary" in entry:
            call = UpstreamCall(number, str(entry["canary"]), float(str(entry["at"])), bool(entry["stream"]))
            self._calls[number] = call
            self._by_canary[call.canary].append(call)
        else:
            call = self._calls[number]
            call.sent, call.whole, call.end = str(entry["sent"]), str(entry["whole"]), str(entry["end"])
