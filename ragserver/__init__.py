"""The reference RAG server: the upstream contract, answered from a folder of Markdown documents."""
