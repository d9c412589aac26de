"""Sign-in, tokens, and who one is."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from app.core.limits import MAX_EMAIL_CHARS, MAX_TOKEN_CHARS, MAX_USERNAME_CHARS
from app.core.usernames import normal_username
from app.schemas.base import RequestModel, ResponseModel, Storable, SuccessModel, Visible

MIN_PASSWORD_CHARS = 8
MAX_PASSWORD_CHARS = 1024

ACCESS_TOKEN_EXAMPLE = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"  # noqa: S105 - an example


class LoginCreate(RequestModel):
    """Username and password."""

    username: Annotated[str, Field(min_length=1, max_length=MAX_USERNAME_CHARS), Storable] = Field(
        description="As it was registered; capitals matter.", examples=["testuser"]
    )
    password: Annotated[str, Field(min_length=1, max_length=MAX_PASSWORD_CHARS), Storable] = Field(
        description="The password.", examples=["password123"]
    )


class UserCreate(RequestModel):
    """A new account, as the command line makes them."""

    username: Annotated[
        str,
        BeforeValidator(normal_username),
        Field(min_length=1, max_length=MAX_USERNAME_CHARS, pattern=r"^[\w.@+-]+$"),
        Visible,
    ]
    password: Annotated[str, Field(min_length=MIN_PASSWORD_CHARS, max_length=MAX_PASSWORD_CHARS), Storable]
    email: Annotated[str, Field(max_length=MAX_EMAIL_CHARS, pattern=r"^([^@\s]+@[^@\s]+)?$"), Storable] = ""


class TokenForm(LoginCreate):
    """The same as an OAuth2 password form; what else such forms carry is ignored."""

    grant_type: Literal["password"] = Field(default="password", description="The only one there is.")


class RefreshCreate(RequestModel):
    """A refresh token."""

    refresh_token: Annotated[str, Field(min_length=1, max_length=MAX_TOKEN_CHARS), Storable] = Field(
        description="From the login or the last refresh.", examples=[ACCESS_TOKEN_EXAMPLE]
    )


class TokenRead(SuccessModel):
    """Tokens to sign requests with."""

    access_token: str = Field(description="Goes into `Authorization: Bearer …`.", examples=[ACCESS_TOKEN_EXAMPLE])
    refresh_token: str = Field(
        description="Gets the next pair at `/api/v1/auth/refresh/`; it opens nothing else.",
        examples=[ACCESS_TOKEN_EXAMPLE],
    )
    token_type: Literal["bearer"] = Field(default="bearer", description="The scheme of the access token.")
    expires_in: int = Field(description="Seconds that the access token lives.", examples=[1800])


class UserRead(ResponseModel):
    """The signed-in user."""

    id: int = Field(description="The user's id.", examples=[1])
    username: str = Field(description="The name to sign in with.", examples=["testuser"])
    email: str = Field(description="The e-mail address; may be empty.", examples=["testuser@example.com"])
    is_staff: bool = Field(description="Belongs to the operators.", examples=[False])
    is_superuser: bool = Field(description="May enter the admin site.", examples=[False])
    date_joined: datetime = Field(description="When the account was made, UTC.", examples=["2025-12-01T10:00:00Z"])
    last_login: datetime | None = Field(
        description="The last sign-in with a password, UTC.", examples=["2025-12-01T17:30:00Z"]
    )
