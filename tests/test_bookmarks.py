"""Bookmarks: frozen copies that outlive what they were made from."""

import pytest

from app.core.errors import NotFoundError
from app.models import Bookmark
from app.repositories.bookmarks import BookmarkRepository
from tests.conftest import SignedIn
from tests.rag import SOURCES, FakeRag
from tests.server import LiveServer

CHATBOT = "/api/v1/chatbot"


async def bookmark(user: SignedIn, **fields: object) -> dict[str, object]:
    response = await user.http.post(f"{CHATBOT}/bookmark/", json={"content": "kept", **fields})
    assert response.status_code == 201, response.text
    data: dict[str, object] = response.json()["data"]
    return data


class TestBookmarks:
    async def test_newest_come_first_in_pages(self, alice: SignedIn) -> None:
        ids = [(await bookmark(alice))["id"] for _ in range(5)]
        first = (await alice.http.get(f"{CHATBOT}/bookmarks/", params={"limit": 3})).json()
        rest = (await alice.http.get(f"{CHATBOT}/bookmarks/", params={"cursor": first["next_cursor"]})).json()
        assert [b["id"] for b in first["data"] + rest["data"]] == ids[::-1]

    async def test_bookmark_outlives_its_session(self, alice: SignedIn, rag: FakeRag) -> None:
        answer = (await alice.http.post(f"{CHATBOT}/chat/", json={"message": "hi"})).json()
        kept = await bookmark(alice, message_id=answer["message_id"], sources=SOURCES)
        assert kept["message_id"] == answer["message_id"]
        await alice.http.delete(f"{CHATBOT}/sessions/{answer['session_id']}/delete/")
        (found,) = (await alice.http.get(f"{CHATBOT}/bookmarks/")).json()["data"]
        assert found == {**kept, "message_id": None}

    async def test_message_of_another_user_is_a_missing_one(self, alice: SignedIn, bob: SignedIn, rag: FakeRag) -> None:
        theirs = (await bob.http.post(f"{CHATBOT}/chat/", json={"message": "hi"})).json()["message_id"]
        bodies = []
        for message_id in (theirs, 2**62):
            response = await alice.http.post(f"{CHATBOT}/bookmark/", json={"content": "x", "message_id": message_id})
            assert response.status_code == 404
            bodies.append({**response.json(), "request_id": ""})
        assert bodies[0] == bodies[1]
        assert (await alice.http.get(f"{CHATBOT}/bookmarks/")).json()["data"] == []

    async def test_bookmark_of_another_user_is_a_missing_one(self, alice: SignedIn, bob: SignedIn) -> None:
        theirs = await bookmark(bob)
        assert (await alice.http.get(f"{CHATBOT}/bookmarks/")).json()["data"] == []
        assert (await alice.http.delete(f"{CHATBOT}/bookmark/{theirs['id']}/")).status_code == 404
        assert len((await bob.http.get(f"{CHATBOT}/bookmarks/")).json()["data"]) == 1

    async def test_message_that_goes_in_this_moment_is_a_missing_one(self, server: LiveServer, alice: SignedIn) -> None:
        with pytest.raises(NotFoundError):
            await self._add(server, Bookmark(user_id=alice.id, content="x", sources=[], message_id=2**62))

    @staticmethod
    async def _add(server: LiveServer, new: Bookmark) -> None:
        async with server.database.transaction() as db:
            await BookmarkRepository(db).add(new)

    async def test_sources_come_back_as_they_were_given(self, alice: SignedIn) -> None:
        sources = [{"chunk_id": "c", "score": 0.5, "nested": {"a": [1, None, True, "한글", 2**70]}}]
        assert (await bookmark(alice, sources=sources))["sources"] == sources

    async def test_deletion_can_be_read_in_english(self, alice: SignedIn) -> None:
        kept = await bookmark(alice)
        response = await alice.http.delete(
            f"{CHATBOT}/bookmark/{kept['id']}/", headers={"Accept-Language": "en-GB,en;q=0.9,ko;q=0.5"}
        )
        assert response.json() == {"success": True, "message": "The bookmark was deleted."}

    @pytest.mark.parametrize(
        ("sources", "problem"),
        [
            ('[{"a": ' + "[" * 30 + "]" * 30 + "}]", "too deep"),
            ('[{"score": 1e400}]', "a number that JSON does not have"),
        ],
    )
    async def test_sources_that_cannot_be_kept_are_refused(self, alice: SignedIn, sources: str, problem: str) -> None:
        response = await alice.http.post(
            f"{CHATBOT}/bookmark/",
            content=f'{{"content": "x", "sources": {sources}}}',
            headers={"Content-Type": "application/json"},
        )
        assert response.status_code == 422
        assert problem in response.json()["fields"][0]["problem"]

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"content": ""},
            {"content": "\u200b\u3000"},
            {"content": "x" * 200_001},
            {"content": "x", "sources": "no list"},
            {"content": "x", "sources": ["no object"]},
            {"content": "x", "sources": [{"n": "\x00"}]},
            {"content": "x", "sources": [{"\x00": 1}]},
            {"content": "x", "sources": [{}] * 201},
            {"content": "x", "message_id": "7"},
            {"content": "x", "message_id": True},
            {"content": "x", "message_id": 0},
            {"content": "x", "message_id": 2**63},
        ],
    )
    async def test_unfit_bookmark_is_refused(self, alice: SignedIn, body: dict[str, object]) -> None:
        response = await alice.http.post(f"{CHATBOT}/bookmark/", json=body)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
        assert (await alice.http.get(f"{CHATBOT}/bookmarks/")).json()["data"] == []
