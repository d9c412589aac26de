"""Settings: what the environment may say, and what the service says when it cannot be used."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.settings import DatabaseSettings, Settings, SettingsError, load_settings
from tests.server import SECRET, make_settings, running_server

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / ".env.example"
README = ROOT / "README.md"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> pytest.MonkeyPatch:
    """An environment with a good secret, in a folder without an .env."""
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.setenv("JWT_SECRET_KEY", SECRET)
    return monkeypatch


class TestDefaults:
    def test_are_those_that_the_documentation_names(self, environment: pytest.MonkeyPatch) -> None:
        settings = load_settings(Settings)
        assert settings.environment == "production"
        assert settings.database_url.get_secret_value() == "sqlite:///var/ragchat.db"
        assert (settings.rag_timeout_seconds, settings.rag_history_messages, settings.rag_history_chars) == (
            60,
            20,
            16_000,
        )
        assert (settings.jwt_algorithm, settings.access_token_minutes, settings.refresh_token_days) == ("HS256", 30, 14)
        assert (settings.host, settings.port, settings.log_format) == ("127.0.0.1", 8000, "console")
        assert settings.rag_url is None


class TestSecret:
    @pytest.mark.parametrize(
        "secret",
        [
            "",
            "secret",
            "changeme",
            "x" * 31,
            "please-changeme-please-changeme-please",
            "bench-secret-key-of-at-least-32-bytes",
        ],
    )
    def test_missing_short_or_known_secret_is_refused(self, environment: pytest.MonkeyPatch, secret: str) -> None:
        environment.setenv("JWT_SECRET_KEY", secret)
        environment.setenv("PORT", "x")
        with pytest.raises(SettingsError, match=r"JWT_SECRET_KEY: .*make one with") as caught:
            load_settings(Settings)
        assert "PORT: " in str(caught.value)

    def test_development_takes_a_short_one_but_not_none(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("ENVIRONMENT", "development")
        environment.setenv("JWT_SECRET_KEY", "short")
        assert load_settings(Settings).jwt_secret_key.get_secret_value() == "short"
        environment.delenv("JWT_SECRET_KEY")
        with pytest.raises(SettingsError, match="JWT_SECRET_KEY: must be set"):
            load_settings(Settings)

    def test_length_is_counted_in_bytes(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("JWT_SECRET_KEY", "열한글자비밀열쇠입니다")
        assert len(load_settings(Settings).jwt_secret_key.get_secret_value().encode()) == 33

    def test_commands_on_the_database_need_none(self, environment: pytest.MonkeyPatch) -> None:
        environment.delenv("JWT_SECRET_KEY")
        assert load_settings(DatabaseSettings).database_pool_size == 10

    def test_asgi_server_ends_with_a_sentence(self, environment: pytest.MonkeyPatch) -> None:
        environment.delenv("JWT_SECRET_KEY")
        command = [sys.executable, "-m", "uvicorn", "app.main:app", "--port", "0"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert ended.returncode != 0
        assert "JWT_SECRET_KEY: must be set" in ended.stderr
        assert "Traceback" not in ended.stderr


class TestRagUrl:
    @pytest.mark.parametrize(
        ("values", "url"),
        [
            ({"RUNPOD_RAG_URL": "https://pod-8080.proxy.runpod.net"}, "https://pod-8080.proxy.runpod.net"),
            ({"RUNPOD_RAG_URL": "https://pod.example///"}, "https://pod.example"),
            ({"RUNPOD_RAG_URL": "pod-8080.proxy.runpod.net"}, "https://pod-8080.proxy.runpod.net"),
            ({"RUNPOD_RAG_URL": "localhost:8080/base/"}, "https://localhost:8080/base"),
            ({"RUNPOD_RAG_URL": "http://rag_server:8080"}, "http://rag_server:8080"),
            ({"RUNPOD_RAG_URL": "http://[::1]:8080"}, "http://[::1]:8080"),
            ({"RUNPOD_RAG_URL": " https://pod.example "}, "https://pod.example"),
            ({"RUNPOD_CHATBOT_URL": "http://10.0.0.1:8080"}, "http://10.0.0.1:8080"),
            ({"RUNPOD_RAG_URL": "", "RUNPOD_CHATBOT_URL": "http://b"}, "http://b"),
            ({"RUNPOD_RAG_URL": "http://a", "RUNPOD_CHATBOT_URL": "http://b"}, "http://a"),
        ],
    )
    def test_forms_that_operators_write_are_understood(
        self, environment: pytest.MonkeyPatch, values: dict[str, str], url: str
    ) -> None:
        for name, value in values.items():
            environment.setenv(name, value)
        assert load_settings(Settings).rag_url == url

    @pytest.mark.parametrize(
        "url",
        [
            *(
                "file:///etc/passwd",
                "gopher://x",
                "https://",
                "https://user:pw@pod",
                "https://pod?x=1",
                "https://pod#x",
            ),
            *(
                "http://pod:abc",
                "http://pod:99999",
                "http://po d",
                "http://pod\u200b.example",
                "http://a..b",
                "http://xn--/",
            ),
        ],
    )
    def test_other_urls_are_refused_without_repeating_them(self, environment: pytest.MonkeyPatch, url: str) -> None:
        environment.setenv("RUNPOD_RAG_URL", url)
        with pytest.raises(SettingsError, match="RUNPOD_RAG_URL: ") as caught:
            load_settings(Settings)
        assert "pw" not in str(caught.value)

    async def test_missing_scheme_is_warned_about(self, tmp_path: object, caplog: pytest.LogCaptureFixture) -> None:
        async with running_server(
            make_settings(database_url=f"sqlite:///{tmp_path}/x.db", runpod_rag_url="pod.example")
        ):
            pass
        warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert "The RAG server's URL has no scheme, using https://pod.example" in warnings


class TestOthers:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("DATABASE_URL", "mysql://root@localhost/chat"),
            ("DATABASE_URL", "sqlite"),
            ("DATABASE_URL", "sqlite://"),
            ("DATABASE_URL", "sqlite:///:memory:"),
            ("RAG_API_KEY", "two words"),
            ("RAG_API_KEY", "비밀"),
            ("DATABASE_POOL_SIZE", "0"),
            ("JWT_SECRET_KEY", "-----BEGIN PUBLIC KEY-----AAAAAAAAAAAAAAAAA"),
            ("JWT_ALGORITHM", "none"),
            ("JWT_ALGORITHM", "RS256"),
            ("CORS_ORIGINS", "*"),
            ("CORS_ORIGINS", "https://spa.example/"),
            ("CORS_ORIGINS", "https://a.example spa.example"),
            ("PORT", "70000"),
            ("RAG_TIMEOUT_SECONDS", "0"),
            ("LOG_FORMAT", "xml"),
            ("ENVIRONMENT", "prod"),
        ],
    )
    def test_value_that_cannot_be_used_is_named(self, environment: pytest.MonkeyPatch, name: str, value: str) -> None:
        environment.setenv(name, value)
        with pytest.raises(SettingsError, match=f"^{name}: "):
            load_settings(Settings)

    def test_origins_are_a_list_with_commas(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("CORS_ORIGINS", "https://a.example, http://localhost:3000")
        assert load_settings(Settings).cors_origins == ("https://a.example", "http://localhost:3000")

    def test_key_from_a_file_loses_its_newline(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("RAG_API_KEY", "key\n")
        key = load_settings(Settings).rag_api_key
        assert key is not None
        assert key.get_secret_value() == "key"

    def test_secrets_are_not_printed(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("DATABASE_URL", "postgresql://user:hidden@host/db")
        environment.setenv("RAG_API_KEY", "hidden")
        shown = repr(load_settings(Settings))
        assert "hidden" not in shown
        assert SECRET not in shown


class TestExampleFile:
    def test_documents_every_setting_with_its_default(self, environment: pytest.MonkeyPatch) -> None:
        lines = (line.partition("=") for line in EXAMPLE.read_text().splitlines() if line and line[0] != "#")
        example = {name: value for name, _, value in lines}
        assert example.keys() == {name.upper() for name in Settings.model_fields}
        for name, value in example.items():
            if name != "JWT_SECRET_KEY":
                environment.setenv(name, value)
        from_example = load_settings(Settings)
        for name in example:
            environment.delenv(name, raising=False)
        environment.setenv("JWT_SECRET_KEY", SECRET)
        assert load_settings(Settings) == from_example

    def test_readme_names_every_setting(self) -> None:
        readme = README.read_text()
        assert [name for name in Settings.model_fields if f"`{name.upper()}`" not in readme] == []
