"""What is true of every response: ids, headers, CORS, crashes; and the log lines beside them."""

import json
import logging
from collections.abc import Iterator

import httpx
import pytest
import structlog

from app.core.logging import configure_logging
from app.core.texts import Text
from tests.conftest import SignedIn
from tests.rag import FakeRag
from tests.server import LiveServer, make_settings, running_server

SPA = "https://spa.example"
SESSIONS = "/api/v1/chatbot/sessions/"


class TestRequestId:
    async def test_clients_own_id_is_kept_and_logged(self, alice: SignedIn, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        response = await alice.http.get(SESSIONS, headers={"X-Request-ID": "abc-123"})
        assert response.headers["x-request-id"] == "abc-123"
        assert any(line.startswith(f"GET {SESSIONS} 200 ") for line in caplog.messages)

    @pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "../../x", "ä".encode("latin-1").decode("latin-1")])
    async def test_unfit_id_is_replaced(self, alice: SignedIn, given: str) -> None:
        headers = httpx.Headers({"X-Request-ID": given}, encoding="latin-1")
        response = await alice.http.get(SESSIONS, headers=headers)
        assert len(response.headers["x-request-id"]) == 32

    async def test_error_names_its_request(self, anonymous: httpx.AsyncClient) -> None:
        response = await anonymous.get(SESSIONS)
        assert response.json()["request_id"] == response.headers["x-request-id"]


class TestAccessLog:
    async def test_path_cannot_pass_for_another_line(self, alice: SignedIn, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        await alice.http.get("/api/x/%5BChat%5D%20Response%20saved:%20message_id=9?token=canary")
        (line,) = [record.getMessage() for record in caplog.records if record.name == "app.access"]
        assert line.startswith("GET /api/x/%5BChat%5D%20Response%20saved:%20message_id=9 404 ")


class TestHeaders:
    @pytest.mark.parametrize("path", [SESSIONS, "/nothing", "/health/live", "/openapi.json", "/docs"])
    async def test_every_response_is_kept_from_guessing_and_framing(
        self, anonymous: httpx.AsyncClient, path: str
    ) -> None:
        headers = (await anonymous.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert ("no-store" in headers.get("cache-control", "")) == (path != "/docs")


class TestCors:
    async def test_listed_origin_may_read_answers_and_errors(self, server: LiveServer, alice: SignedIn) -> None:
        for response in (
            await alice.http.get(SESSIONS, headers={"Origin": SPA}),
            await alice.http.get("/nothing", headers={"Origin": SPA}),
            await alice.http.post("/api/v1/chatbot/chat/", content=b"{", headers={"Origin": SPA}),
        ):
            assert response.headers["access-control-allow-origin"] == SPA
            assert "X-Request-ID" in response.headers["access-control-expose-headers"]
            assert "access-control-allow-credentials" not in response.headers

    async def test_preflight_is_answered_without_a_token(self, anonymous: httpx.AsyncClient) -> None:
        wish = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
        response = await anonymous.options("/api/v1/chatbot/chat/", headers={"Origin": SPA, **wish})
        assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, SPA)

    @pytest.mark.parametrize(
        "origin",
        [
            "https://evil.example",
            "null",
            "http://spa.example",
            f"{SPA}.evil.example",
            f"{SPA}:8443",
            "https://xspa.example",
        ],
    )
    async def test_other_origins_get_no_permission(self, alice: SignedIn, origin: str) -> None:
        response = await alice.http.get(SESSIONS, headers={"Origin": origin})
        assert "access-control-allow-origin" not in response.headers


class TestCrash:
    async def test_bug_is_logged_once_and_leaks_nothing(
        self, alice: SignedIn, database_url: str, rag: FakeRag, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings = make_settings(database_url=database_url, cors_origins=SPA)
        async with running_server(settings) as broken, broken.client(Authorization=f"Bearer {alice.token}") as http:
            # A service with a hole where its chat should be stands for any bug.
            chat = broken.services.chat
            object.__setattr__(broken.services, "chat", None)
            response = await http.post("/api/v1/chatbot/chat/", json={"message": "hi"}, headers={"Origin": SPA})
            object.__setattr__(broken.services, "chat", chat)
        assert (response.status_code, response.json()["code"]) == (500, "internal_error")
        assert response.json()["error"] == "서버 내부 오류가 발생했습니다."
        assert response.headers["access-control-allow-origin"] == SPA
        assert "NoneType" not in response.text
        assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


def divide_by_zero(_password: str) -> float:
    return 1 / 0


class TestLogFormat:
    @pytest.fixture(autouse=True)
    def root_logger(self) -> Iterator[None]:
        """The handlers that pytest put there come back."""
        root = logging.getLogger()
        before = root.handlers[:], root.level
        yield
        root.handlers[:], root.level = before[0], before[1]

    def test_json_is_one_object_a_line_without_local_variables(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure_logging("INFO", "json")
        logger = logging.getLogger("app.test")
        with structlog.contextvars.bound_contextvars(request_id="abc"):
            logger.info("[Chat] User message saved: %s", 456)
            try:
                divide_by_zero("canary")
            except ZeroDivisionError:
                logger.exception("a bug")
        lines = capsys.readouterr().err.splitlines()
        first, second = map(json.loads, lines)
        assert (first["event"], first["level"], first["request_id"]) == (
            "[Chat] User message saved: 456",
            "info",
            "abc",
        )
        assert second["exception"][0]["exc_type"] == "ZeroDivisionError"
        assert "canary" not in lines[1]

    def test_console_keeps_what_clients_sent_on_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure_logging("INFO", "console")
        logging.getLogger("app.test").info("%s", "name\r\n\x1b[31m[Chat] User message saved: 1\u2028")
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert "\x1b" not in lines[0]

    def test_text_is_korean_unless_english_is_preferred(self) -> None:
        text = Text("한국어", "English")
        assert text.for_language("") == "한국어"
        assert text.for_language("en") == "English"
