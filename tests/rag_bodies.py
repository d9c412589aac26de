"""Bodies that the fault-playing RAG server answers with status 200 to a question that holds `body:<name>`."""

import json
from typing import Any


def bodies(good: dict[str, Any]) -> dict[str, bytes]:
    return {
        "html": b"<html>504 Gateway</html>",
        "empty": b"",
        "null": b"null",
        "number": b"5",
        "string": b'"x"',
        "array": b"[]",
        "object": b"{}",
        "nan": b'{"success": true, "answer": "x", "metadata": {"a": NaN}}',
        "utf16": json.dumps(good).encode("utf-16"),
        "broken-utf8": b'{"success": true, "answer": "\xff\xfe"}',
        "half-character": b'{"success": true, "answer": "\\ud800"}',
        "deep": b"[" * 100_000,
        "no-answer": b'{"success": true}',
        "null-answer": b'{"success": true, "answer": null}',
        "blank-answer": b'{"success": true, "answer": "  "}',
        "number-answer": b'{"success": true, "answer": 5}',
        "list-answer": b'{"success": true, "answer": ["x"]}',
        "text-sources": b'{"success": true, "answer": "x", "sources": "python_797"}',
        "list-of-text-sources": b'{"success": true, "answer": "x", "sources": ["python_797"]}',
        "list-metadata": b'{"success": true, "answer": "x", "metadata": []}',
        "text-success": b'{"success": "yes", "answer": "x"}',
        "refused": b'{"success": false, "error": "<b>index is being built</b>"}',
        "refused-bare": b'{"success": false}',
        "bare": b'{"success": true, "answer": "only an answer"}',
        "nulls": b'{"success": true, "answer": "nulls", "sources": null, "metadata": null}',
        "nul": b'{"success": true, "answer": "a\\u0000b"}',
        "infinity": b'{"success": true, "answer": "x", "sources": [{"score": 1e400}]}',
        "large": json.dumps({**good, "answer": "x" * 5_000_000}).encode(),
        "cookie": json.dumps(good).encode(),
    }
