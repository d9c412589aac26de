"""Which settings of the models are taken, and that no key is shown."""

from typing import Any

import pytest
from pydantic import ValidationError

from ragserver.config import Settings

URLS = ["rag_embed_url", "rag_rerank_url", "rag_llm_url"]
KEYS = ["rag_embed_key", "rag_rerank_key", "rag_llm_key"]


class TestUrls:
    @pytest.mark.parametrize("name", URLS)
    @pytest.mark.parametrize("url", ["http://127.0.0.1:8081", "https://api.openai.com/v1/", "http://[::1]:80/v1"])
    async def test_are_taken(self, name: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name.upper(), url)
        assert getattr(Settings(), name)

    @pytest.mark.parametrize("name", URLS)
    async def test_that_are_empty_count_as_none(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name.upper(), "")
        assert getattr(Settings(), name) is None

    @pytest.mark.parametrize("name", URLS)
    @pytest.mark.parametrize(
        ("url", "text"),
        [
            ("localhost:8081", "URL scheme should be 'http' or 'https'"),
            ("ftp://localhost", "URL scheme should be 'http' or 'https'"),
            ("http://", "valid URL"),
            ("http://user:hush@localhost/v1", "must not hold a user or a password"),
            ("http://localhost/v1?key=hush", "must end with the path"),
            ("http://localhost/v1/embeddings", "must be the base of the API"),
            ("http://localhost/rerank/", "must be the base of the API"),
            ("http://localhost/v1/chat/completions", "must be the base of the API"),
        ],
    )
    async def test_that_cannot_be_used_are_refused(self, name: str, url: str, text: str) -> None:
        chosen: dict[str, Any] = {name: url}
        with pytest.raises(ValidationError) as caught:
            Settings(**chosen)
        (error,) = caught.value.errors()
        assert error["loc"] == (name,)
        assert text in error["msg"]
        assert "hush" not in error["msg"]


class TestKeys:
    @pytest.mark.parametrize("name", KEYS)
    async def test_lose_the_line_end_of_a_file(self, name: str) -> None:
        chosen: dict[str, Any] = {name: " sk-1\r\n"}
        settings = Settings(**chosen)
        assert getattr(settings, name).get_secret_value() == "sk-1"
        assert "sk-1" not in repr(settings)

    @pytest.mark.parametrize("name", KEYS)
    @pytest.mark.parametrize("key", ["sk-hush\nX: y", "sk-hush 2", "sk-hush-비밀", " \n"])
    async def test_that_do_not_fit_a_header_are_refused(self, name: str, key: str) -> None:
        chosen: dict[str, Any] = {name: key}
        with pytest.raises(ValidationError, match="printable ASCII") as caught:
            Settings(**chosen)
        assert "hush" not in str(caught.value)


class TestOthers:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("rag_rerank_style", "cohere"),
            ("rag_rerank_scores", "raw"),
            ("rag_rerank_min", "1.5"),
            ("rag_timeout_s", "0"),
            ("rag_http_batch", "0"),
            ("rag_rerank_n", "0"),
            ("rag_pace_ms", "1001"),
            ("rag_glossary", "no/such/file.tsv"),
        ],
    )
    async def test_out_of_bounds_are_refused(self, name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name.upper(), value)
        with pytest.raises(ValidationError):
            Settings()

    async def test_words_may_be_written_in_capitals(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAG_RERANK_STYLE", "TEI")
        monkeypatch.setenv("RAG_RERANK_SCORES", "Logit")
        settings = Settings()
        assert (settings.rag_rerank_style, settings.rag_rerank_scores) == ("tei", "logit")
