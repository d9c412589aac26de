"""The chat service between a single-page app and a RAG server."""

__version__ = "0.1.0"
