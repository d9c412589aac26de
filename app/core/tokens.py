"""Access and refresh tokens: signed JWTs.

The only module that knows python-jose (3.5.0). One algorithm and one HMAC key: forgeries that mix algorithms,
embed keys or name none are refused by `algorithms=[one]`; the claims are then checked again, strictly.
"""

import time
from datetime import timedelta
from enum import StrEnum
from typing import Literal

from jose import jwk, jwt
from jose.exceptions import JOSEError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.core.errors import NotAuthenticatedError
from app.core.limits import MAX_ID, MAX_TOKEN_CHARS

CLOCK_SKEW_SECONDS = 30
MAX_TIME = 253_402_300_799  # the end of the year 9999


class TokenKind(StrEnum):
    """What a token may be used for; one kind is never taken for the other."""

    ACCESS = "access"
    REFRESH = "refresh"


class TokenClaims(BaseModel):
    """The claims that every token of ours carries."""

    model_config = ConfigDict(strict=True, frozen=True)

    sub: str = Field(pattern=r"^[1-9][0-9]{0,18}$")
    type: Literal["access", "refresh"]
    iat: int
    exp: int = Field(le=MAX_TIME)

    @property
    def user_id(self) -> int:
        """The id of the user whom the token was issued to."""
        return int(self.sub)


class TokenSigner:
    """Issues and verifies tokens with one secret."""

    def __init__(self, secret: str, *, algorithm: str, access: timedelta, refresh: timedelta) -> None:
        self._key = jwk.construct(secret, algorithm)
        self._algorithm = algorithm
        self._header = str(jwt.encode({}, self._key, algorithm=algorithm)).partition(".")[0] + "."
        self._lifetimes = {TokenKind.ACCESS: access, TokenKind.REFRESH: refresh}

    def lifetime_seconds(self, kind: TokenKind) -> int:
        """How long a token of this kind lives."""
        return int(self._lifetimes[kind].total_seconds())

    def issue(self, user_id: int, kind: TokenKind) -> str:
        """A new token for the user."""
        now = int(time.time())
        claims = TokenClaims(sub=str(user_id), type=kind.value, iat=now, exp=now + self.lifetime_seconds(kind))
        return str(jwt.encode(claims.model_dump(), self._key, algorithm=self._algorithm))

    def verify(self, token: str, kind: TokenKind) -> TokenClaims:
        """What the token says: whom it was issued to, and until when it counts.

        Raises:
            NotAuthenticatedError: forged, expired, of another kind, or not a token at all.
        """
        claims = self._claims(token)
        if claims.type != kind or claims.iat > time.time() + CLOCK_SKEW_SECONDS or claims.user_id > MAX_ID:
            raise NotAuthenticatedError("the token is of another kind, from the future, or nobody's")
        return claims

    def _claims(self, token: str) -> TokenClaims:
        # Ours all begin alike. Another header asks for something (`crit`, `kid`, `jku`), or is made to hurt its reader.
        if len(token) > MAX_TOKEN_CHARS or not token.startswith(self._header):
            raise NotAuthenticatedError("not a token of this service")
        try:
            return TokenClaims.model_validate(jwt.decode(token, self._key, algorithms=[self._algorithm]))
        # jose raises more than its own errors on odd claims: TypeError on `exp: []`, OverflowError on Infinity.
        except (JOSEError, TypeError, ValueError, OverflowError, ValidationError) as exc:
            raise NotAuthenticatedError("the token cannot be verified") from exc
