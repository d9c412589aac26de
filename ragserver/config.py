"""What an operator may set, each from an environment variable of the same name."""

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    DirectoryPath,
    Field,
    FilePath,
    HttpUrl,
    SecretStr,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

PACKAGED_DOCUMENTS = Path(__file__).parent / "documents"
RerankStyle = Literal["jina", "tei"]
RerankScores = Literal["prob", "logit"]
_ENDPOINTS: Final = ("/embeddings", "/rerank", "/completions")
_KEY: Final = re.compile(r"[\x21-\x7e]+")


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _is_base(url: HttpUrl) -> HttpUrl:
    """Refuse what a path cannot be put behind, and credentials, which would end up in the log."""
    if url.username or url.password:
        raise ValueError("must not hold a user or a password; a key has a setting of its own")
    if url.query or url.fragment:
        raise ValueError("must end with the path, without ? or #")
    if (url.path or "").rstrip("/").endswith(_ENDPOINTS):
        raise ValueError("must be the base of the API, such as http://localhost:8000/v1")
    return url


def _fits_a_header(key: SecretStr) -> SecretStr:
    """Return the key without the line end that a file may have put behind it."""
    stripped = key.get_secret_value().strip()
    if not _KEY.fullmatch(stripped):
        raise ValueError("must be printable ASCII without spaces")
    return SecretStr(stripped)


BaseUrl = Annotated[HttpUrl, AfterValidator(_is_base)]
Key = Annotated[SecretStr, AfterValidator(_fits_a_header)]


class Settings(BaseSettings):
    """The server's settings; empty variables count as unset.

    A documents folder that is given and missing is refused here, so the command can say so before it listens.
    Each of the three models is used where its URL is set, and has its own key, so that no vendor sees another's.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

    rag_docs_dir: DirectoryPath = PACKAGED_DOCUMENTS
    rag_db: Path = Path("var/ragserver.db")
    rag_glossary: FilePath | None = None
    rag_chunk_chars: int = Field(default=900, ge=200, le=8000)
    rag_candidates: int = Field(default=50, ge=1, le=1000)
    rag_rerank_n: int = Field(default=30, ge=1, le=1000)
    rag_top_k: int = Field(default=5, ge=1, le=50)
    rag_min_evidence: float = Field(default=0.70, ge=0, le=1)
    rag_sure_evidence: float = Field(default=0.88, ge=0, le=1)
    rag_embed_url: BaseUrl | None = None
    rag_embed_key: Key | None = None
    rag_embed_model: str = "BAAI/bge-m3"
    rag_rerank_url: BaseUrl | None = None
    rag_rerank_key: Key | None = None
    rag_rerank_model: str = "BAAI/bge-reranker-v2-m3"
    rag_rerank_style: Annotated[RerankStyle, BeforeValidator(_lower)] = "jina"
    rag_rerank_scores: Annotated[RerankScores, BeforeValidator(_lower)] = "prob"
    rag_rerank_min: float = Field(default=0.3, ge=0, le=1)
    rag_llm_url: BaseUrl | None = None
    rag_llm_key: Key | None = None
    rag_llm_model: str = "gpt-4.1"
    rag_timeout_s: float = Field(default=30, gt=0, le=600)
    rag_http_batch: int = Field(default=32, ge=1, le=256)
    rag_pace_ms: int = Field(default=0, ge=0, le=1000)
    rag_api_key: Key | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"

    @model_validator(mode="after")
    def _sure_is_not_under_min(self) -> Self:
        if self.rag_sure_evidence < self.rag_min_evidence:
            raise ValueError("RAG_SURE_EVIDENCE must not be under RAG_MIN_EVIDENCE")
        return self
