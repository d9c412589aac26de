"""Which of its two forms an answer takes, by the Accept header of the request."""

import re
from collections.abc import Sequence

EVENTS = "text/event-stream"
JSON = "application/json"
_TAKING_JSON = (JSON, "application/*", "*/*")  # the most exact one counts
_QUALITY = re.compile(r"q=(0(?:\.[0-9]*)?|1(?:\.0*)?)")


def prefers_events(accept: str) -> bool:
    """Tell whether an Accept header names event streams, and likes nothing that takes JSON better.

    What is liked as much as the other is decided by the order of the two names; a wildcard is not a name.
    """
    ranges = _ranges(accept)
    events = ranges.get(EVENTS, 0.0)
    json = next((ranges[media] for media in _TAKING_JSON if media in ranges), 0.0)
    if events != json:
        return events > json
    first = next((media for media in ranges if media in {EVENTS, JSON}), JSON)
    return events > 0 and first == EVENTS


def _ranges(accept: str) -> dict[str, float]:
    """Return the quality of each media range, in the order of the header."""
    ranges: dict[str, float] = {}
    for named in accept.lower().split(","):
        media, *parameters = [part.strip() for part in named.split(";")]
        ranges.setdefault(media, _quality(parameters))
    return ranges


def _quality(parameters: Sequence[str]) -> float:
    """Return the `q` among the parameters of a media range: 1 without one, 0 for one that says nothing."""
    given = next((parameter for parameter in parameters if parameter.startswith("q=")), "q=1")
    match = _QUALITY.fullmatch(given)
    return float(match[1]) if match else 0.0
