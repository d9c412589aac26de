"""When the RAG server fails: the question stays, the client gets the right code, the log says why, the chat goes on."""

import logging
import time

import pytest

from tests.conftest import SignedIn
from tests.rag import FakeRag
from tests.server import LiveServer, make_settings, running_server

CHAT = "/api/v1/chatbot/chat/"

ERROR = (502, "rag_error")
BAD_ANSWER = (502, "rag_bad_answer")
REFUSED = (502, "rag_refused")
UNAVAILABLE = (503, "rag_unavailable")
TIMEOUT = (504, "rag_timeout")

BAD_BODIES = [
    *("html", "empty", "null", "number", "string", "array", "object", "nan", "utf16", "broken-utf8", "half-character"),
    *("deep", "no-answer", "null-answer", "blank-answer", "number-answer", "list-answer", "text-sources"),
    *("list-of-text-sources", "list-metadata", "text-success", "large"),
]
FAULTS = [
    ("slow:3", TIMEOUT, "Connection timeout"),
    ("drip", TIMEOUT, "Connection timeout"),
    ("reset:accept", ERROR, "Connection lost"),
    ("reset:head", ERROR, "Connection lost"),
    ("reset:body", ERROR, "Connection lost"),
    ("junk", ERROR, "Connection lost"),
    *((f"status:{code}", ERROR, f"HTTP {code}") for code in (400, 401, 403, 404, 413, 418, 500, 502, 503, 203)),
    ("status:429", UNAVAILABLE, "HTTP 429"),
    *((f"status:{code}", BAD_ANSWER, f"HTTP {code}") for code in (301, 302, 303, 307, 308)),
    *((f"body:{name}", BAD_ANSWER, "") for name in BAD_BODIES),
    ("gzip", BAD_ANSWER, "compressed"),
    ("body:refused", REFUSED, "index is being built"),
    ("body:refused-bare", REFUSED, "success is false"),
]


class TestFaults:
    @pytest.mark.parametrize(("fault", "expected", "reason"), FAULTS)
    async def test_question_stays_and_the_next_one_works(  # noqa: PLR0917 - fixtures
        self,
        alice: SignedIn,
        rag: FakeRag,
        caplog: pytest.LogCaptureFixture,
        fault: str,
        expected: tuple[int, str],
        reason: str,
    ) -> None:
        started = time.perf_counter()
        response = await alice.http.post(CHAT, json={"message": fault})
        body = response.json()
        assert (response.status_code, body["code"]) == expected
        assert (body["success"], body["retryable"]) == (False, True)
        assert time.perf_counter() - started < 5
        assert "secret of the upstream" not in response.text
        assert "index is being built" not in response.text
        (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
        assert line.startswith("[Chat] RAG server error: ")
        assert reason in line
        assert len(rag.journal) == 1

        following = await alice.http.post(CHAT, json={"message": "and now?", "session_id": body["session_id"]})
        assert following.status_code == 200
        assert rag.journal[1]["chat_history"] == []
        detail = (await alice.http.get(f"/api/v1/chatbot/sessions/{body['session_id']}/")).json()["data"]
        assert [m["role"] for m in detail["messages"]] == ["user", "user", "assistant"]
        assert detail["messages"][0]["content"] == fault

    async def test_refused_connection_is_unavailable(self, alice: SignedIn, database_url: str) -> None:
        settings = make_settings(database_url=database_url, runpod_rag_url="http://127.0.0.1:9/")
        async with running_server(settings) as lonely, lonely.client(Authorization=f"Bearer {alice.token}") as http:
            response = await http.post(CHAT, json={"message": "hi"}, headers={"Accept-Language": "en"})
        body = response.json()
        assert (response.status_code, body["code"]) == UNAVAILABLE
        assert body["error"] == "The RAG server cannot be reached."
        detail = (await alice.http.get(f"/api/v1/chatbot/sessions/{body['session_id']}/")).json()["data"]
        assert detail["messages"][0]["content"] == "hi"

    @pytest.mark.parametrize("url", ["http://xn--zzzzzzz9", "http://no-such-host.invalid"])
    async def test_host_that_cannot_be_is_unavailable(self, alice: SignedIn, database_url: str, url: str) -> None:
        settings = make_settings(database_url=database_url, runpod_rag_url=url)
        async with running_server(settings) as lonely, lonely.client(Authorization=f"Bearer {alice.token}") as http:
            response = await http.post(CHAT, json={"message": "hi"})
        assert (response.status_code, response.json()["code"]) == UNAVAILABLE

    async def test_service_without_a_rag_url_says_so(
        self, alice: SignedIn, database_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings = make_settings(environment="production", database_url=database_url)
        async with running_server(settings) as lonely, lonely.client(Authorization=f"Bearer {alice.token}") as http:
            response = await http.post(CHAT, json={"message": "hi"})
            listed = await http.get("/api/v1/chatbot/sessions/")
        assert (response.status_code, response.json()["code"]) == (503, "rag_not_configured")
        assert len(listed.json()["data"]) == 1
        assert "RUNPOD_RAG_URL environment variable not set!" in caplog.messages


class TestAnswers:
    @pytest.mark.parametrize("name", ["bare", "nulls"])
    async def test_answer_without_sources_is_an_answer(self, alice: SignedIn, rag: FakeRag, name: str) -> None:
        body = (await alice.http.post(CHAT, json={"message": f"body:{name}"})).json()
        assert body["data"]["sources"] == []

    async def test_nul_in_an_answer_does_not_lose_it(self, alice: SignedIn, rag: FakeRag) -> None:
        body = (await alice.http.post(CHAT, json={"message": "body:nul"})).json()
        assert body["data"]["response"] == "a\ufffdb"

    async def test_number_that_json_does_not_have_is_stored_as_null(self, alice: SignedIn, rag: FakeRag) -> None:
        body = (await alice.http.post(CHAT, json={"message": "body:infinity"})).json()
        detail = (await alice.http.get(f"/api/v1/chatbot/sessions/{body['session_id']}/")).json()["data"]
        assert detail["messages"][1]["sources"] == [{"score": None}]

    async def test_cookies_of_one_answer_are_not_sent_with_the_next_question(
        self, alice: SignedIn, rag: FakeRag
    ) -> None:
        await alice.http.post(CHAT, json={"message": "body:cookie"})
        await alice.http.post(CHAT, json={"message": "again"})
        assert "cookie" not in rag.heads[1].lower()


class TestRequestToTheRagServer:
    async def test_key_goes_out_as_a_bearer_token(
        self, alice: SignedIn, database_url: str, rag: FakeRag, server: LiveServer
    ) -> None:
        settings = make_settings(database_url=database_url, runpod_rag_url=rag.url, rag_api_key="the-key")
        async with running_server(settings) as keyed, keyed.client(Authorization=f"Bearer {alice.token}") as http:
            await http.post(CHAT, json={"message": "hi"})
        assert "authorization: bearer the-key" in rag.heads[0].lower()
        assert alice.token not in rag.heads[0]

    async def test_path_and_headers_are_the_contracts(self, alice: SignedIn, rag: FakeRag) -> None:
        await alice.http.post(CHAT, json={"message": "hi"})
        lines = rag.heads[0].lower().split("\r\n")
        assert lines[0] == "post /api/v1/chat http/1.1"
        assert {"accept: application/json", "content-type: application/json"} <= set(lines)
        assert "authorization" not in rag.heads[0].lower()
