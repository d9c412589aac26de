"""Sign-in, tokens, and what is not one."""

import asyncio
import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from jose import jwt
from passlib.context import CryptContext
from passlib.hash import django_pbkdf2_sha256
from sqlalchemy import delete, select, update

from app.core.errors import NotAuthenticatedError
from app.core.passwords import PasswordHasher
from app.core.tokens import TokenKind, TokenSigner
from app.models import User
from app.services.accounts import AccountService
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

    async def test_account_that_must_be_there_is_made_or_gets_the_password(self, server: LiveServer) -> None:
        passwords = PasswordHasher()
        accounts = AccountService(server.database, passwords)
        for password in ("first password", "second password"):
            await accounts.ensure("demo", password)
            assert (await log_in(server, "demo", password))[0] == 200
        passwords.close()
        assert (await log_in(server, "demo", "first password"))[0] == 401

    async def test_username_is_compared_in_one_normal_form(self, server: LiveServer) -> None:
        await sign_up(server, "ﬁnn\u0065\u0301", with_password=True)
        assert (await log_in(server, "finné", PASSWORD))[0] == 200

    async def test_passwords_are_hashed_off_the_event_loop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        threads: list[str] = []

        class NotingContext(CryptContext):  # type: ignore[misc] # passlib ships no types
            def verify_and_update(self, *arguments: object) -> tuple[bool, str | None]:
                threads.append(threading.current_thread().name)
                return False, None

        monkeypatch.setattr("app.core.passwords.CryptContext", NotingContext)
        passwords = PasswordHasher()
        await asyncio.gather(*(passwords.verify("wrong", "hash") for _ in range(10)))
        passwords.close()
        assert len(threads) == 10
        assert all(name.startswith("password") for name in threads)

    async def test_storm_of_passwords_is_refused_before_it_queues_for_minutes(
        self, server: LiveServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.core.passwords.MAX_WAITING", 10)
        await sign_up(server, "testuser", with_password=True)
        wrong = {"username": "testuser", "password": "wrong"}
        async with server.client() as http:
            answers = await asyncio.gather(*(http.post(LOGIN, json=wrong) for _ in range(50)))
        codes = Counter((answer.status_code, answer.json()["code"]) for answer in answers)
        assert codes.keys() == {(401, "not_authenticated"), (503, "overloaded")}
        assert (await log_in(server, "testuser", PASSWORD))[0] == 200

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

    @pytest.mark.parametrize(
        ("password", "expected"), [("p\x00assword123", 422), ("한글" * 500, 401), ("한글" * 513, 422)]
    )
    async def test_odd_password_is_wrong_or_refused(self, server: LiveServer, password: str, expected: int) -> None:
        await sign_up(server, "testuser", with_password=True)
        assert (await log_in(server, "testuser", password))[0] == expected


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


SIGNER = TokenSigner(SECRET, algorithm="HS256", access=timedelta(minutes=30), refresh=timedelta(days=14))
LATER = 3600


def claims(**changed: object) -> dict[str, object]:
    """The claims of a good access token of user 7, with some changed, or left out by `...`."""
    now = int(time.time())
    everything = {"sub": "7", "type": "access", "iat": now, "exp": now + LATER, **changed}
    return {name: value for name, value in everything.items() if value is not ...}


def signed(
    key: str = SECRET, algorithm: str = "HS256", headers: dict[str, object] | None = None, **changed: object
) -> str:
    return str(jwt.encode(claims(**changed), key, algorithm=algorithm, headers=headers))


def unsigned(**header: str) -> str:
    parts = (json.dumps(part).encode() for part in (header, claims()))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


class TestForgedTokens:
    def test_good_one_is_taken(self) -> None:
        assert SIGNER.verify(signed(), TokenKind.ACCESS).user_id == 7

    @pytest.mark.parametrize(
        "make",
        [
            lambda: "",
            lambda: "x",
            lambda: "a.b.c",
            lambda: ".." * 10,
            lambda: unsigned(alg="none", typ="JWT") + ".",
            lambda: unsigned(alg="None") + ".",
            lambda: unsigned(alg="HS256") + ".",
            lambda: signed("another secret of thirty-two bytes"),
            lambda: signed(SECRET + "!"),
            lambda: signed(algorithm="HS512"),
            lambda: signed() + "x",
            lambda: signed() + ".x",
            lambda: signed()[:-2],
            lambda: signed(exp=int(time.time()) - 1),
            lambda: signed(exp=...),
            lambda: signed(exp="9999999999"),
            lambda: signed(exp=[]),
            lambda: signed(exp=None),
            lambda: signed(exp=float("inf")),
            lambda: signed(nbf=int(time.time()) + LATER),
            lambda: signed(iat=int(time.time()) + LATER, exp=int(time.time()) + 2 * LATER),
            lambda: signed(iat=...),
            lambda: signed(iat=True),
            lambda: signed(sub=...),
            lambda: signed(sub="0"),
            lambda: signed(sub="-1"),
            lambda: signed(sub="7\x00"),
            lambda: signed(sub="9" * 19),
            lambda: signed(sub="9" * 30),
            lambda: signed(sub="７"),
            lambda: signed(type="refresh"),
            lambda: signed(type="reset"),
            lambda: signed(type=...),
            lambda: signed(padding="x" * 5000),
            lambda: signed(exp=10**20),
            lambda: signed(headers={"kid": "../../etc/passwd"}),
            lambda: signed(headers={"crit": ["exp"]}),
            lambda: signed(headers={"jku": "https://evil.example/keys"}),
            lambda: signed(headers={"typ": "at+jwt"}),
            lambda: base64.urlsafe_b64encode(b"[" * 2500).decode() + ".e30.x",
        ],
    )
    def test_other_is_refused(self, make: Callable[[], str]) -> None:
        with pytest.raises(NotAuthenticatedError):
            SIGNER.verify(make(), TokenKind.ACCESS)

    async def test_refusal_is_a_401_of_the_service(self, server: LiveServer, alice: SignedIn) -> None:
        good = signed(sub=str(alice.id))
        for token, expected in ((good, 200), (good[:-2], 401), (signed(sub=str(alice.id), type="refresh"), 401)):
            async with server.client(Authorization=f"Bearer {token}") as http:
                assert (await http.get(ME)).status_code == expected

    async def test_two_authorization_headers_are_refused(self, server: LiveServer, alice: SignedIn) -> None:
        async with server.client() as http:
            headers = [("Authorization", f"Bearer {alice.token}")] * 2
            assert (await http.get(ME, headers=headers)).status_code == 401

    async def test_token_elsewhere_is_not_looked_at(self, server: LiveServer, alice: SignedIn) -> None:
        async with server.client(Cookie=f"access_token={alice.token}") as http:
            assert (await http.get(ME, params={"access_token": alice.token})).status_code == 401
