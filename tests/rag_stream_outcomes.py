"""What a client must make of each `sse:` answer: the pieces it hears, and the error of those that go wrong."""

from app.core.errors import (
    RagError,
    RagNotJsonError,
    RagRefusedError,
    RagResetError,
    RagShapeError,
    RagTimeoutError,
    RagTooLargeError,
)
from tests.rag_stream import PIECES, PIECES_TEXT

TWO = list(PIECES[:2])

GOOD_STREAMS: list[tuple[str, list[str]]] = [
    *(
        (name, list(PIECES))
        for name in (
            *("good", "double-done", "data-after-done", "keepalives-then-good", "crlf", "cr", "byte-order-mark"),
            *("unknown-events", "no-answer", "different-done", "shorter-done", "token-type", "bare-done"),
            *("one-byte", "split-multibyte"),
        )
    ),
    ("longer-done", [*TWO, "튜플은 immutable 😀"]),
    ("no-deltas", [PIECES_TEXT]),
    ("trimmed-done", [*PIECES, " \n"]),
    ("nul", ["a\ufffdb", "c\ufffd"]),
    ("separators", ["a\u2028b\u0085c\u000bd"]),
    ("big:500000", ["가" * 1000] * 500),
]
BAD_STREAMS: list[tuple[str, list[str], type[RagError], str]] = [
    *((name, list(PIECES), RagResetError, "without `done`") for name in ("no-done", "only-end-marker", "half-done")),
    ("nothing", [], RagResetError, "without `done`"),
    ("reset-midway", TWO, RagResetError, "Connection lost"),
    ("error-midway", TWO, RagRefusedError, "error event: index is being built"),
    ("error-typed", [], RagRefusedError, "x" * 300),
    ("refused", TWO, RagRefusedError, "success is false: index is being built"),
    ("blank", ["  "], RagShapeError, "blank"),
    ("no-text-at-all", [], RagShapeError, "blank"),
    ("not-json", TWO, RagNotJsonError, "not JSON"),
    ("html", [], RagNotJsonError, "not JSON"),
    ("half-character", TWO, RagNotJsonError, "not JSON"),
    ("broken-utf8", TWO, RagNotJsonError, "not UTF-8"),
    ("list", [], RagShapeError, "no object"),
    ("number-text", [], RagShapeError, "no string"),
    ("no-text", [], RagShapeError, "missing"),
    ("text-sources", list(PIECES), RagShapeError, "sources"),
    ("text-success", list(PIECES), RagShapeError, "success"),
    ("idle", [PIECES[0]], RagTimeoutError, "silent for 0.2 s"),
    ("endless-line", [PIECES[0]], RagTooLargeError, "bytes"),
    ("big:5000000", [], RagTooLargeError, "bytes"),
]
