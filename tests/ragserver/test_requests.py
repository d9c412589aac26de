"""What the server does with requests that are odd, wrong or not allowed."""

import json

import httpx
import pytest

from tests.ragserver.conftest import Serve
from tests.ragserver.questions import ask

CHAT = "/api/v1/chat"
JSON = {"Content-Type": "application/json"}


class TestOddQuestions:
    @pytest.mark.parametrize(
        "question",
        [
            "test",
            "a",
            "ㅋㅋㅋ",
            "가",
            "😀👩‍👩‍👧",
            '"',
            "* OR NOT",
            'NEAR("list tuple", 3)',
            "heading:list AND body:*",
            "'; DROP TABLE chunks; --",
            "list\0tuple",
            "\u2067리스트\u2066 tuple",
            "리스트와 튜플의 차이는? " * 250,
            "x" * 8000,
            "ﷺ" * 8000,
            "\\ud800",
        ],
    )
    async def test_they_are_answered(self, rag: httpx.AsyncClient, question: str) -> None:
        body = await ask(rag, question)

        assert body["answer"]

    async def test_decomposed_korean_is_the_same_question(self, rag: httpx.AsyncClient) -> None:
        composed = await ask(rag, "튜플이란?")
        decomposed = await ask(rag, "튜플이란?")

        assert decomposed["sources"] == composed["sources"]

    async def test_a_lone_surrogate_is_refused_and_nothing_breaks(self, rag: httpx.AsyncClient) -> None:
        bodies = (
            '{"question": "list \\ud800 tuple"}',
            '{"question": "list", "user_id": "\\udfff"}',
            '{"question": 5, "\\ud800": ["\\udfff"]}',
        )
        for body in bodies:
            answered = await rag.post(CHAT, content=body, headers=JSON)

            assert answered.status_code == 422
            assert answered.json()["success"] is False

    async def test_text_in_the_history_may_be_as_odd(self, rag: httpx.AsyncClient) -> None:
        history = [{"role": "user", "content": '" NEAR( \0 *'}, {"role": "tool", "content": ""}]
        body = await ask(rag, "리스트", chat_history=history)

        assert body["sources"]


class TestRefusals:
    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"question": ""},
            {"question": " \n\t"},
            {"question": "x" * 8001},
            {"question": None},
            {"question": 5},
            {"question": ["list"]},
            {"question": "list", "chat_history": "none"},
            {"question": "list", "chat_history": [{"role": "user"}]},
            {"question": "list", "user_id": {"id": 1}},
            [],
            "list",
        ],
    )
    async def test_a_body_that_is_not_a_question_is_422(self, rag: httpx.AsyncClient, body: object) -> None:
        answered = await rag.post(CHAT, json=body)

        assert answered.status_code == 422
        assert answered.json()["success"] is False
        assert answered.json()["error"]

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"\xff\xfe",
            b'{"question": "\xff"}',
            b'{"question": "list", "user_id": NaN}',
            b'{"question": "list", "user_id": 1e400}',
            b'{"question": "list", "user_id": %s}' % (b"9" * 5000),
            b"[" * 100_000,
        ],
    )
    async def test_a_body_that_is_not_json_is_the_clients_fault(self, rag: httpx.AsyncClient, content: bytes) -> None:
        answered = await rag.post(CHAT, content=content, headers=JSON)

        assert answered.status_code in {400, 422}
        assert answered.json()["success"] is False

    async def test_other_paths_and_methods_have_the_same_envelope(self, rag: httpx.AsyncClient) -> None:
        missing = await rag.get("/nowhere")
        slash = await rag.post(f"{CHAT}/", json={"question": "test"})
        method = await rag.get(CHAT)

        assert [missing.status_code, slash.status_code, method.status_code] == [404, 404, 405]
        assert method.headers["Allow"] == "POST"
        for answered in (missing, slash, method):
            assert answered.json() == {"success": False, "error": answered.json()["error"]}

    async def test_what_was_sent_is_not_sent_back(self, rag: httpx.AsyncClient) -> None:
        answered = await rag.post(CHAT, json={"question": "q" * 9000})

        assert "qqq" not in answered.text


class TestApiKey:
    async def test_only_its_bearer_may_ask(self, serve: Serve) -> None:
        async with serve(rag_api_key="sesame-1") as client:
            wrong = ("", "Bearer", "Bearer sesame-2", "Basic sesame-1", "sesame-1", "Bearer sésame")
            for header in wrong:
                sent = [(b"Authorization", header.encode())]
                refused = await client.post(CHAT, json={"question": "test"}, headers=sent)
                assert refused.status_code == 401, header
                assert refused.json()["success"] is False
                assert refused.headers["WWW-Authenticate"] == "Bearer"

            allowed = await client.post(CHAT, json={"question": "test"}, headers={"Authorization": "Bearer sesame-1"})
            assert allowed.status_code == 200

    async def test_health_needs_none(self, serve: Serve) -> None:
        async with serve(rag_api_key="sesame-1") as client:
            assert (await client.get("/health")).status_code == 200


class TestOpenApi:
    async def test_it_describes_the_contract(self, rag: httpx.AsyncClient) -> None:
        described = json.dumps((await rag.get("/openapi.json")).json())

        assert CHAT in described
        assert "chat_history" in described


class TestSize:
    async def test_a_body_beyond_reason_is_refused(self, rag: httpx.AsyncClient) -> None:
        history = [{"role": "user", "content": "x" * 200_000}] * 50
        answered = await rag.post(CHAT, json={"question": "리스트?", "chat_history": history})

        assert answered.status_code == 413

    async def test_a_long_conversation_is_not(self, rag: httpx.AsyncClient) -> None:
        history = [{"role": "user", "content": "x" * 200_000}] * 20

        assert (await ask(rag, "리스트와 튜플의 차이는?", chat_history=history))["sources"]
