"""The models that the settings name, as long as the server runs."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httpx

from ragserver.config import BaseUrl, Key, Settings
from ragserver.contract import Fallback
from ragserver.remote.embeddings import Embeddings
from ragserver.remote.endpoint import Endpoint
from ragserver.remote.language_model import LanguageModel
from ragserver.remote.reranker import Reranker

# The answer of a language model takes its time; what has to be there before it begins gets less.
_SHARE_BEFORE_ANSWER: Final = 1 / 3
_CONNECT_S: Final = 5.0
# Below the 5 s after which uvicorn, and so vLLM, closes an idle connection, or we would write into its end.
_KEEP_ALIVE_S: Final = 4.0
# Proxies of the environment lead to vendors; a model on this machine is not behind them.
_DIRECT: Final = ("all://localhost", "all://127.0.0.1", "all://[::1]")


@dataclass(frozen=True, slots=True)
class Models:
    """The models to use; None where the server does without."""

    embeddings: Embeddings | None = None
    reranker: Reranker | None = None
    language_model: LanguageModel | None = None

    def names(self) -> dict[Fallback, str]:
        """Return what the models are called, by the stage that they serve."""
        named: dict[Fallback, Embeddings | Reranker | LanguageModel | None] = {
            "embed": self.embeddings,
            "rerank": self.reranker,
            "llm": self.language_model,
        }
        return {stage: model.model for stage, model in named.items() if model}


@asynccontextmanager
async def open_models(settings: Settings) -> AsyncGenerator[Models, None]:
    """Give the models whose URL is set, over connections that are closed at the end.

    Nothing is asked yet, and where no URL is set, no client is made: that would read all certificates of the system.
    HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR count.
    """
    if not (settings.rag_embed_url or settings.rag_rerank_url or settings.rag_llm_url):
        yield Models()
        return
    async with _client(settings.rag_timeout_s) as client:
        yield Models(_embeddings(settings, client), _reranker(settings, client), _language_model(settings, client))


def _client(timeout_s: float) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        # Deadlines are the endpoints'. Streams must not use up the connections of the other models.
        timeout=httpx.Timeout(None, connect=min(_CONNECT_S, timeout_s)),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=_KEEP_ALIVE_S),
        mounts=dict.fromkeys(_DIRECT),
    )


def _embeddings(settings: Settings, client: httpx.AsyncClient) -> Embeddings | None:
    if not (url := settings.rag_embed_url):
        return None
    endpoint = _endpoint(client, url, settings.rag_embed_key, settings.rag_timeout_s * _SHARE_BEFORE_ANSWER)
    return Embeddings(endpoint, settings.rag_embed_model, settings.rag_http_batch)


def _reranker(settings: Settings, client: httpx.AsyncClient) -> Reranker | None:
    if not (url := settings.rag_rerank_url):
        return None
    endpoint = _endpoint(client, url, settings.rag_rerank_key, settings.rag_timeout_s * _SHARE_BEFORE_ANSWER)
    style, scores = settings.rag_rerank_style, settings.rag_rerank_scores
    return Reranker(endpoint, settings.rag_rerank_model, style, scores, settings.rag_http_batch)


def _language_model(settings: Settings, client: httpx.AsyncClient) -> LanguageModel | None:
    if not (url := settings.rag_llm_url):
        return None
    endpoint = _endpoint(client, url, settings.rag_llm_key, settings.rag_timeout_s)
    return LanguageModel(endpoint, settings.rag_llm_model)


def _endpoint(client: httpx.AsyncClient, url: BaseUrl, key: Key | None, timeout_s: float) -> Endpoint:
    return Endpoint(client, str(url), key, timeout_s)
