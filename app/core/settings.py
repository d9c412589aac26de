"""Settings: read once from the environment or `.env`, typed and frozen."""

import re
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MIN_SECRET_BYTES = 32
# Secrets that are printed somewhere: in this repository, in tutorials, in the lab of the old service.
KNOWN_SECRETS = (
    "changeme",
    "change-me",
    "your-secret-key",
    "bench-secret-key-of-at-least-32-bytes",
    "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
)
_LABEL = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?|[0-9a-f.]*:[0-9a-f:.]*")  # a name, IPv4, or IPv6 without its brackets
PUBLIC_KEY_MARKS = ("-----BEGIN", "ssh-rsa")  # python-jose refuses to sign with these, too
DATABASE_SCHEMES = ("postgresql", "postgres", "postgresql+asyncpg", "sqlite", "sqlite+aiosqlite")
HOW_TO_MAKE_ONE = "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"


class SettingsError(Exception):
    """The environment cannot be used; the text says which variable, why, and what to do. It holds no values."""


class DatabaseSettings(BaseSettings):
    """What the commands need that speak to the database only: migrating, creating users."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    database_url: SecretStr = SecretStr("sqlite:///var/ragchat.db")
    database_pool_size: int = Field(default=10, ge=1, le=1000)

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, url: SecretStr) -> SecretStr:
        scheme, _, rest = url.get_secret_value().partition("://")
        if scheme not in DATABASE_SCHEMES or not rest:
            raise ValueError(f"must start with one of: {', '.join(f'{name}://' for name in DATABASE_SCHEMES)}")
        if scheme.startswith("sqlite") and rest.strip("/") in ("", ":memory:"):
            raise ValueError("must name a file, as in sqlite:///var/ragchat.db")
        return url


class Settings(DatabaseSettings):
    """Everything an operator can set; the names in capitals are the environment variables."""

    environment: Literal["production", "development", "test"] = "production"

    runpod_rag_url: str | None = None
    runpod_chatbot_url: str | None = None
    rag_api_key: SecretStr | None = None
    rag_timeout_seconds: float = Field(default=60, gt=0, le=3600)
    drain_seconds: float = Field(default=75, ge=0, le=3600)
    rag_history_messages: int = Field(default=20, ge=0, le=200)
    rag_history_chars: int = Field(default=16_000, ge=0, le=1_000_000)

    jwt_secret_key: SecretStr = Field(default=SecretStr(""), validate_default=True)
    jwt_algorithm: Literal["HS256", "HS384", "HS512"] = "HS256"
    access_token_minutes: int = Field(default=30, ge=1, le=60 * 24)
    refresh_token_days: int = Field(default=14, ge=1, le=365)

    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["console", "json"] = "console"
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        """`https://a.example, https://b.example`, as people write lists in an environment."""
        if not isinstance(value, str):
            return value
        return tuple(part.strip().lower() for part in value.split(",") if part.strip())

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            parts = urlsplit(origin)
            is_bare = bool(parts.netloc) and origin == f"{parts.scheme}://{parts.netloc}" and " " not in origin
            if parts.scheme not in ("http", "https") or not is_bare:
                raise ValueError("each origin is scheme://host[:port], nothing behind it, and never a wildcard")
        return origins

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("runpod_rag_url", "runpod_chatbot_url")
    @classmethod
    def _check_rag_url(cls, url: str | None) -> str | None:
        url = url.strip() if url else None
        if not url:
            return None
        parts = urlsplit(with_scheme(url))
        if parts.scheme not in ("http", "https") or not HOST.fullmatch(parts.hostname or "") or parts.port == 0:
            raise ValueError("must be an http or https URL with a host, such as https://<pod>-8080.proxy.runpod.net")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must be a base URL without user, query or fragment; a key goes into RAG_API_KEY")
        return url

    @field_validator("rag_api_key")
    @classmethod
    def _check_api_key(cls, key: SecretStr | None) -> SecretStr | None:
        """Without the newline that secrets read from files end in; the rest must fit into a header."""
        value = key.get_secret_value().strip() if key else ""
        if not _is_plain(value):
            raise ValueError("must be printable ASCII without blanks")
        return SecretStr(value) if value else None

    @field_validator("jwt_secret_key")
    @classmethod
    def _check_secret(cls, key: SecretStr, info: ValidationInfo) -> SecretStr:
        secret = key.get_secret_value()
        is_production = info.data.get("environment", "production") == "production"
        if not secret or (is_production and len(secret.encode()) < MIN_SECRET_BYTES):
            raise ValueError(f"must be set, to {MIN_SECRET_BYTES} bytes or more; {HOW_TO_MAKE_ONE}")
        if is_production and any(known in secret.lower() for known in KNOWN_SECRETS):
            raise ValueError(f"is a known example, anybody could sign tokens with it; {HOW_TO_MAKE_ONE}")
        if any(mark in secret for mark in PUBLIC_KEY_MARKS):
            raise ValueError(f"is a public key or a certificate, known to others; {HOW_TO_MAKE_ONE}")
        return key

    @property
    def configured_rag_url(self) -> str | None:
        """The RAG server's URL as the operator wrote it; RUNPOD_RAG_URL wins over its other name."""
        return self.runpod_rag_url or self.runpod_chatbot_url

    @property
    def rag_url(self) -> str | None:
        """The RAG server's base URL with a scheme and no slash at its end, or None."""
        url = self.configured_rag_url
        return with_scheme(url).rstrip("/") if url else None


def with_scheme(url: str) -> str:
    """The URL with https:// in front where its writer left the scheme out."""
    return url if "://" in url else f"https://{url}"


AnySettings = TypeVar("AnySettings", bound=DatabaseSettings)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def load_settings(kind: type[AnySettings]) -> AnySettings:
    """The settings of this process.

    Raises:
        SettingsError: with one line for each variable that is missing or cannot be used.
    """
    try:
        return kind()
    except ValidationError as exc:
        lines = (_problem(".".join(map(str, error["loc"])), error["msg"]) for error in exc.errors(include_input=False))
        raise SettingsError("\n".join(lines)) from None


def _problem(field: str, message: str) -> str:
    text = message.removeprefix("Value error, ")
    return f"{field.upper()}: {text}" if field else text
