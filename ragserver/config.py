"""What an operator may set, each from an environment variable of the same name."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, DirectoryPath, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PACKAGED_DOCUMENTS = Path(__file__).parent / "documents"


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class Settings(BaseSettings):
    """The server's settings; empty variables count as unset.

    A documents folder that is given and missing is refused here, so the command can say so before it listens.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    rag_docs_dir: DirectoryPath = PACKAGED_DOCUMENTS
    rag_db: Path = Path("var/ragserver.db")
    rag_chunk_chars: int = Field(default=900, ge=200, le=8000)
    rag_candidates: int = Field(default=50, ge=1, le=1000)
    rag_top_k: int = Field(default=5, ge=1, le=50)
    rag_min_evidence: float = Field(default=0.45, ge=0, le=1)
    rag_sure_evidence: float = Field(default=0.60, ge=0, le=1)
    rag_api_key: SecretStr | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"

    @model_validator(mode="after")
    def _sure_is_not_under_min(self) -> Self:
        if self.rag_sure_evidence < self.rag_min_evidence:
            raise ValueError("RAG_SURE_EVIDENCE must not be under RAG_MIN_EVIDENCE")
        return self
