"""The chat service between a single-page app and a RAG server."""
