"""Sign-in, tokens, and what is not one."""

import asyncio
import base64
import json
import time
from datetime import timedelta
from typing import Any

import pytest
from jose import jwt
from passlib.hash import django_pbkdf2_sha256
from sqlalchemy import delete, select, update

from app.core.tokens import TokenKind, TokenSigner
from app.models import User
from tests.conftest import PASSWORD, SignedIn, deactivate, sign_up
from tests.server import SECRET, LiveServer

LOGIN = "/api/v1/auth/login/"
REFRESH = "/api/v1/auth/refresh/"
ME = "/api/v1/auth/me/"


async def log_in(server: LiveServer, username: str, password: str, path: str = LOGIN) -> tuple[int, dict[str, Any]]:
    body = {"username": username, "password": password}
    async with server.client() as http:
        response = await (http.post(path, json=body) if path == LOGIN else http.post(path, data=body))
    return response.status_code, response.json()


async def stored(server: LiveServer, username: str) -> User:
    async with server.database.transaction(read_only=True) as db:
        return (await db.scalars(select(User).where(User.username == username))).one()


def signed(**claims: object) -> str:
    now = int(time.time())
    everything: dict[str, object] = {"sub": "1", "type": "access", "iat": now, "exp": now + 60, **claims}
    return str(jwt.encode({k: v for k, v in everything.items() if v is not ...}, SECRET, algorithm="HS256"))


class TestLogin:
    @pytest.mark.parametrize("path", [LOGIN, "/api/v1/auth/token/"])
    async def test_right_password_gives_both_tokens(self, server: LiveServer, path: str) -> None:
        await sign_up(server, "testuser", with_password=True)
        status, body = await log_in(server, "testuser", PASSWORD, path)
        assert status == 200
        assert body.keys() == {"success", "access_token", "refresh_token", "token_type", "expires_in"}
        assert (body["token_type"], body["expires_in"]) == ("bearer", 1800)
        assert (await stored(server, "testuser")).last_login is not None

    async def test_me_shows_who_is_signed_in(self, server: LiveServer) -> None:
        await sign_up(server, "testuser", with_password=True)
        _, tokens = await log_in(server, "testuser", PASSWORD)
        async with server.client(Authorization=f"bearer {tokens['access_token']}") as http:
            me = (await http.get(ME)).json()["data"]
        assert (me["username"], me["email"], me["is_superuser"]) == ("testuser", "testuser@example.com", False)
        assert me["last_login"] > me["date_joined"]
        assert "password" not in str(me)

    async def test_unknown_wrong_and_inactive_look_alike(self, server: LiveServer) -> None:
        await sign_up(server, "testuser", with_password=True)
        gone = await sign_up(server, "inactive", with_password=True)
        await deactivate(server, gone.id)
        await sign_up(server, "unusable")
        cases = [
            ("nobody", PASSWORD),
            ("testuser", "wrong"),
            ("inactive", PASSWORD),
            ("unusable", "!"),
            ("TestUser", PASSWORD),
        ]
        answers = [await log_in(server, *case) for case in cases]
        for status, body in answers:
            assert status == 401
            assert body["error"] == "아이디 또는 비밀번호가 올바르지 않습니다."
            assert body["code"] == "not_authenticated"

    async def test_django_hash_works_and_is_replaced_by_argon2(self, server: LiveServer) -> None:
        await sign_up(server, "legacy")
        django = django_pbkdf2_sha256.using(rounds=1000).hash(PASSWORD)
        async with server.database.transaction() as db:
            await db.execute(update(User).where(User.username == "legacy").values(password_hash=django))
        assert (await log_in(server, "legacy", "wrong"))[0] == 401
        assert (await stored(server, "legacy")).password_hash == django
        assert (await log_in(server, "legacy", PASSWORD))[0] == 200
        assert (await stored(server, "legacy")).password_hash.startswith("$argon2id$")
        assert (await log_in(server, "legacy", PASSWORD))[0] == 200

    async def test_username_is_compared_in_one_normal_form(self, server: LiveServer) -> None:
        await sign_up(server, "ﬁnn\u0065\u0301", with_password=True)
        assert (await log_in(server, "finné", PASSWORD))[0] == 200

    async def test_event_loop_stays_free_while_passwords_are_hashed(self, server: LiveServer) -> None:
        await sign_up(server, "testuser", with_password=True)
        longest = 0.0
        async with server.client() as http:
            wrong = {"username": "testuser", "password": "wrong"}
            logins = [asyncio.create_task(http.post(LOGIN, json=wrong)) for _ in range(10)]
            while not all(login.done() for login in logins):
                before = time.perf_counter()
                await asyncio.sleep(0)
                longest = max(longest, time.perf_counter() - before)
        assert longest < 0.2

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"username": "testuser"},
            {"username": "testuser", "password": None},
            {"username": 5, "password": "x"},
            {"username": "", "password": "x"},
            {"username": "a\x00", "password": "x"},
            {"username": "x" * 151, "password": "x"},
            {"username": "testuser", "password": "canary" * 200},
            ["testuser", "x"],
        ],
    )
    async def test_unfit_credentials_are_refused_without_an_echo(self, server: LiveServer, body: object) -> None:
        async with server.client() as http:
            response = await http.post(LOGIN, json=body)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
        assert "canary" not in response.text

    @pytest.mark.parametrize("password", ["\x00", "p\x00assword123", "한글" * 500])
    async def test_odd_password_is_only_wrong(self, server: LiveServer, password: str) -> None:
        await sign_up(server, "testuser", with_password=True)
        status, _ = await log_in(server, "testuser", password)
        assert status in (401, 422)


class TestRefresh:
    async def test_refresh_token_gives_a_new_pair(self, server: LiveServer, alice: SignedIn) -> None:
        token = server.services.tokens.issue(alice.id, TokenKind.REFRESH)
        async with server.client() as http:
            pair = (await http.post(REFRESH, json={"refresh_token": token})).json()
            me = await http.get(ME, headers={"Authorization": f"Bearer {pair['access_token']}"})
        assert me.json()["data"]["username"] == "alice"

    async def test_one_kind_of_token_is_not_taken_for_the_other(self, server: LiveServer, alice: SignedIn) -> None:
        refresh = server.services.tokens.issue(alice.id, TokenKind.REFRESH)
        async with server.client() as http:
            as_access = await http.get(ME, headers={"Authorization": f"Bearer {refresh}"})
            as_refresh = await http.post(REFRESH, json={"refresh_token": alice.token})
        assert (as_access.status_code, as_refresh.status_code) == (401, 401)

    async def test_inactive_or_deleted_user_gets_none(self, server: LiveServer, alice: SignedIn, bob: SignedIn) -> None:
        await deactivate(server, alice.id)
        async with server.database.transaction() as db:
            await db.execute(delete(User).where(User.id == bob.id))
        async with server.client() as http:
            for user in (alice, bob):
                token = server.services.tokens.issue(user.id, TokenKind.REFRESH)
                assert (await http.post(REFRESH, json={"refresh_token": token})).status_code == 401
                assert (await user.http.get(ME)).status_code == 401


def _parts(claims: dict[str, Any], header: dict[str, Any]) -> str:
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims)
    )


NOW = int(time.time())
GOOD_CLAIMS = {"sub": "1", "type": "access", "iat": NOW, "exp": NOW + 3600}


class TestForgedTokens:
    @pytest.mark.parametrize(
        "token",
        [
            "x",
            "a.b.c",
            ".." * 10,
            _parts(GOOD_CLAIMS, {"alg": "none", "typ": "JWT"}) + ".",
            _parts(GOOD_CLAIMS, {"alg": "None"}) + ".",
            _parts(GOOD_CLAIMS, {"alg": "HS256"}) + ".",
            jwt.encode(GOOD_CLAIMS, "another secret of thirty-two bytes", algorithm="HS256"),
            jwt.encode(GOOD_CLAIMS, SECRET, algorithm="HS512"),
            signed() + "x",
            signed() + ".x",
            signed()[:-2],
            signed(exp=NOW - 1),
            signed(exp=...),
            signed(exp="9999999999"),
            signed(exp=[]),
            signed(exp=None),
            signed(exp=float("inf")),
            signed(exp=10**20, iat=10**19),
            signed(nbf=NOW + 3600),
            signed(iat=NOW + 3600, exp=NOW + 7200),
            signed(iat=...),
            signed(sub=...),
            signed(sub="0"),
            signed(sub="-1"),
            signed(sub="1\x00"),
            signed(sub="9" * 30),
            signed(sub="９"),
            signed(type="refresh"),
            signed(type="reset"),
            signed(type=...),
            signed(padding="x" * 5000),
            "x" * 7000,
        ],
    )
    async def test_is_refused(self, server: LiveServer, token: str) -> None:
        async with server.client(Authorization=f"Bearer {token}") as http:
            response = await http.get(ME)
        assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")

    async def test_user_id_past_64_bits_is_nobody(self, server: LiveServer) -> None:
        async with server.client(Authorization=f"Bearer {signed(sub='9' * 19)}") as http:
            assert (await http.get(ME)).status_code == 401

    async def test_two_authorization_headers_are_refused(self, server: LiveServer, alice: SignedIn) -> None:
        async with server.client() as http:
            headers = [("Authorization", f"Bearer {alice.token}")] * 2
            assert (await http.get(ME, headers=headers)).status_code == 401

    async def test_token_elsewhere_is_not_looked_at(self, server: LiveServer, alice: SignedIn) -> None:
        async with server.client(Cookie=f"access_token={alice.token}") as http:
            assert (await http.get(ME, params={"access_token": alice.token})).status_code == 401

    def test_signer_of_another_environment_is_refused(self) -> None:
        day = timedelta(days=1)
        ours = TokenSigner(SECRET, algorithm="HS256", access=day, refresh=day)
        theirs = TokenSigner(SECRET + "!", algorithm="HS256", access=day, refresh=day)
        assert ours.verify(ours.issue(7, TokenKind.ACCESS), TokenKind.ACCESS) == 7
        with pytest.raises(Exception, match="cannot be verified"):
            ours.verify(theirs.issue(7, TokenKind.ACCESS), TokenKind.ACCESS)
