"""Servers of models that are no models: they speak as vLLM, TEI, OpenAI, llama.cpp and Ollama do, and play faults."""

from tests.ragserver.models.server import FakeModels

__all__ = ["FakeModels"]
