"""Passages that an answer cites: stored and returned as the RAG server gave them."""

from pydantic import JsonValue

SOURCE_EXAMPLE: dict[str, JsonValue] = {
    "chunk_id": "python_797",
    "content": "리스트는 변경할 수 있고 튜플은 변경할 수 없다.",
    "score": 0.95,
}
SOURCES_DESCRIPTION = "The passages that the answer cites, as the RAG server gave them."
