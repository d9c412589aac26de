"""What is refused, on every route: a clear 4xx in the envelope, nothing stored, nothing sent upstream."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from app.models import Bookmark, ChatSession, Message
from tests.conftest import SignedIn, count
from tests.rag import FakeRag
from tests.server import LiveServer

CHATBOT = "/api/v1/chatbot"
CHAT = f"{CHATBOT}/chat/"
JSON = {"Content-Type": "application/json"}
BODY_ROUTES = [
    ("POST", "/api/v1/auth/login/"),
    ("POST", "/api/v1/auth/refresh/"),
    ("POST", CHAT),
    ("PATCH", f"{CHATBOT}/sessions/1/"),
    ("POST", f"{CHATBOT}/bookmark/"),
]
ODD_IDS = [
    *("0", "-1", "2147483648", "9223372036854775807", "9223372036854775808", "1" + "0" * 30, "1_000", "%201", "+1"),
    *("1.0", "0x1", "٣", "abc", "%00", "%2e%2e%2f", "1%2f2", "1;2", "%ff", "null", "1%0d%0aX: y"),
]
ODD_PAGES = [
    *("limit=0", "limit=-1", "limit=1001", "limit=10000000000000000000000", "limit=x", "limit=1.5", "limit="),
    *("cursor=x", "cursor=%00", "cursor=" + "a" * 65, "cursor=MC4tMQ", "cursor=%ff"),
    *("limit=1_000", "limit=%201", "limit=%2B1", "limit=1.0", "limit=٣", "cursor=KzFfMC4gNSA"),
    *("cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTkuMQ", "cursor=MC45OTk5OTk5OTk5OTk5OTk5OTk5OTk"),
]
PATH_ROUTES = [
    ("GET", "sessions/{}/"),
    ("PATCH", "sessions/{}/"),
    ("DELETE", "sessions/{}/delete/"),
    ("DELETE", "bookmark/{}/"),
]


@pytest.fixture(autouse=True)
async def nothing_happens(server: LiveServer, rag: FakeRag, caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """After every refusal: no row more, no call upstream, no traceback."""
    yield
    assert [await count(server, table) for table in (ChatSession, Message, Bookmark)] == [0, 0, 0]
    assert rag.journal == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


class TestMessage:
    @pytest.mark.parametrize(
        ("message", "error"),
        [
            ("", "메시지를 입력해 주세요."),
            (" \t\n", "메시지를 입력해 주세요."),
            ("\u200b\u3000\ufeff\u2028", "메시지를 입력해 주세요."),
            ("\u3164\u115f\u2800", "메시지를 입력해 주세요."),
            ("\x01\x02", "메시지를 입력해 주세요."),
            ("\u0301\u0302", "메시지를 입력해 주세요."),
            ("x" * 8001, "내용이 너무 깁니다."),
            ("😀" * 8001, "내용이 너무 깁니다."),
            ("a\x00b", "저장할 수 없는 문자가 포함되어 있습니다."),
            (None, "요청 내용이 올바르지 않습니다."),
            (5, "요청 내용이 올바르지 않습니다."),
            (True, "요청 내용이 올바르지 않습니다."),
            (["x"], "요청 내용이 올바르지 않습니다."),
            ({"a": "x"}, "요청 내용이 올바르지 않습니다."),
        ],
    )
    async def test_unfit_message_is_refused(self, alice: SignedIn, message: object, error: str) -> None:
        response = await alice.http.post(CHAT, json={"message": message})
        body = response.json()
        assert (response.status_code, body["code"], body["error"]) == (422, "invalid_request", error)
        assert body["fields"][0]["field"] == "message"

    async def test_missing_message_is_named(self, alice: SignedIn) -> None:
        body = (await alice.http.post(CHAT, json={"mesage": "hi"})).json()
        assert body["fields"] == [{"field": "message", "problem": "Field required"}]

    @pytest.mark.parametrize(
        "raw",
        [
            b'{"message": "\\ud800"}',
            b'{"message": "a\\udfffb"}',
            b'{"message": "\\u0000"}',
            b'{"message": 5, "\\ud800": 1}',
            b'{"session_id": "\\ud800", "message": "x"}',
            b'{"message": "x", "session_id": NaN}',
            b'{"message": "x", "session_id": Infinity}',
            b'{"message": "x", "session_id": 1e400}',
            b'{"message": "x", "session_id": ' + b"9" * 5000 + b"}",
            b'{"message": "first", "message": ""}',
            b"{",
            b"[]",
            b"null",
            b'"x"',
            b"0",
            b"",
            b'{"message": "\xff"}',
            b'{"message": "\xc0\xaf"}',
            b'{"message": "tr',
            '{"message": "x"}'.encode("utf-16"),
            b"[" * 100_000,
            b'{"message": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        ],
    )
    async def test_unreadable_body_is_refused(self, alice: SignedIn, raw: bytes) -> None:
        response = await alice.http.post(CHAT, content=raw, headers=JSON)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


class TestIds:
    @pytest.mark.parametrize("session_id", [0, -1, 2**63, -(2**63) - 1, 10**30, 1.0, 1.5, "1", True, [], {}])
    async def test_unfit_session_id_in_a_body_is_refused(self, alice: SignedIn, session_id: object) -> None:
        response = await alice.http.post(CHAT, json={"message": "hi", "session_id": session_id})
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request")

    @pytest.mark.parametrize("session_id", [1, 2**31, 2**63 - 1])
    async def test_unknown_session_is_not_found(self, alice: SignedIn, session_id: int) -> None:
        response = await alice.http.post(CHAT, json={"message": "hi", "session_id": session_id})
        assert (response.status_code, response.json()["code"]) == (404, "not_found")

    @pytest.mark.parametrize(("method", "path"), PATH_ROUTES)
    @pytest.mark.parametrize("row_id", ODD_IDS)
    async def test_odd_id_in_a_path_is_refused(self, alice: SignedIn, method: str, path: str, row_id: str) -> None:
        body = {"json": {"title": "x"}} if method == "PATCH" else {}
        response = await alice.http.request(method, f"{CHATBOT}/{path.format(row_id)}", **body)  # type: ignore[arg-type]
        assert response.status_code in (404, 422)
        assert response.json()["code"] in ("not_found", "invalid_request")

    @pytest.mark.parametrize("path", ["sessions/", "bookmarks/"])
    @pytest.mark.parametrize("query", ODD_PAGES)
    async def test_odd_page_is_refused(self, alice: SignedIn, path: str, query: str) -> None:
        response = await alice.http.get(f"{CHATBOT}/{path}?{query}")
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


class TestBodies:
    @pytest.mark.parametrize(("method", "path"), BODY_ROUTES)
    async def test_body_over_a_mebibyte_is_refused(self, alice: SignedIn, method: str, path: str) -> None:
        body = json.dumps({"message": "x" * 1024 * 1024}).encode()
        response = await alice.http.request(method, path, content=body, headers=JSON)
        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")

    async def test_body_without_a_length_is_refused_while_it_is_read(self, alice: SignedIn) -> None:
        async def endless() -> AsyncIterator[bytes]:
            for _ in range(40):
                yield b"x" * 65536

        response = await alice.http.post(CHAT, content=endless(), headers=JSON)
        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")

    async def test_declared_gigabyte_is_refused_before_it_is_read(self, server: LiveServer, alice: SignedIn) -> None:
        host, port = urlsplit(server.url).netloc.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.token}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n{{".encode())
        status = await asyncio.wait_for(reader.readline(), 5)
        writer.close()
        await writer.wait_closed()
        assert b" 413 " in status

    @pytest.mark.parametrize(("method", "path"), BODY_ROUTES)
    @pytest.mark.parametrize(
        "media_type", [None, "text/plain", "text/json", "multipart/form-data; boundary=x", "application/xml"]
    )
    async def test_body_that_is_not_json_by_its_type_is_refused(
        self, alice: SignedIn, method: str, path: str, media_type: str | None
    ) -> None:
        headers = {"Content-Type": media_type} if media_type else {}
        response = await alice.http.request(method, path, content=b'{"message": "hi"}', headers=headers)
        assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")

    @pytest.mark.parametrize(("method", "path"), BODY_ROUTES)
    @pytest.mark.parametrize("body", [[], "x", 0, None, {}, [{"message": "hi"}]])
    async def test_json_that_is_no_request_is_refused(
        self, alice: SignedIn, method: str, path: str, body: object
    ) -> None:
        response = await alice.http.request(method, path, json=body)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request")

    @pytest.mark.parametrize("charset", ["utf-16", "euc-kr", "latin-1"])
    async def test_json_in_another_encoding_is_refused(self, alice: SignedIn, charset: str) -> None:
        headers = {"Content-Type": f"application/json; charset={charset}"}
        response = await alice.http.post(CHAT, content=b'{"message": "hi"}', headers=headers)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request")

    @pytest.mark.parametrize(("method", "path"), BODY_ROUTES[2:])
    async def test_broken_body_without_a_token_is_a_401(self, server: LiveServer, method: str, path: str) -> None:
        async with server.client() as http:
            response = await http.request(method, path, content=b"{", headers=JSON)
        assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")

    async def test_refused_values_are_not_repeated(self, alice: SignedIn, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "app")
        response = await alice.http.post(CHAT, json={"message": ["canary"], "session_id": "canary"})
        assert "canary" not in response.text + caplog.text


class TestRequests:
    @pytest.mark.parametrize(
        ("method", "path"), [("GET", CHAT), ("PUT", CHAT), ("POST", f"{CHATBOT}/sessions/"), ("TRACE", CHAT)]
    )
    async def test_wrong_method_is_refused(self, alice: SignedIn, method: str, path: str) -> None:
        response = await alice.http.request(method, path)
        assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
        assert response.headers["allow"]

    @pytest.mark.parametrize("path", ["/", "/nothing", "/api/v1/chatbot/nothing/", "/docs/assets/../../etc/passwd"])
    async def test_unknown_path_is_not_found_in_the_envelope(self, alice: SignedIn, path: str) -> None:
        response = await alice.http.get(path)
        assert (response.status_code, response.json()["code"]) == (404, "not_found")

    async def test_error_is_in_english_for_who_prefers_it(self, alice: SignedIn) -> None:
        async def error(accept_language: str) -> str:
            headers = {"Accept-Language": accept_language}
            return str((await alice.http.post(CHAT, json={"message": ""}, headers=headers)).json()["error"])

        assert await error("en") == "Please enter a message."
        assert await error("en-US,en;q=0.9,ko;q=0.8") == "Please enter a message."
        for other in ("ko-KR,ko;q=0.9,en;q=0.8", "", "fr", "*", "en;q=x", "en;q=0", ";;;=,,"):
            assert await error(other) == "메시지를 입력해 주세요."
