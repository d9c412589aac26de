"""Sign-in under /api/v1/auth/."""

from typing import Annotated

from fastapi import APIRouter, Form

from app.core.errors import (
    BodyTooLargeError,
    DatabaseUnavailableError,
    InvalidRequestError,
    NotAuthenticatedError,
    OverloadedError,
    UnsupportedMediaTypeError,
)
from app.dependencies import AuthDep, CurrentUser
from app.routers.json_route import JsonRoute
from app.schemas.auth import LoginCreate, RefreshCreate, TokenForm, TokenRead, UserRead
from app.schemas.base import Success
from app.schemas.errors import errors

router = APIRouter(
    route_class=JsonRoute,
    prefix="/api/v1/auth",
    tags=["auth"],
    responses=errors(NotAuthenticatedError, DatabaseUnavailableError),
)
WITH_BODY = errors(InvalidRequestError, BodyTooLargeError, UnsupportedMediaTypeError)
WITH_PASSWORD = WITH_BODY | errors(DatabaseUnavailableError, OverloadedError)


@router.post("/login/", summary="Sign in", responses=WITH_PASSWORD)
async def login(credentials: LoginCreate, auth: AuthDep) -> TokenRead:
    """Trade a username and a password for tokens. Unknown, inactive and wrong look alike."""
    return TokenRead.model_validate(await auth.login(credentials.username, credentials.password))


@router.post("/token/", summary="Sign in with a form", responses=WITH_PASSWORD)
async def login_with_form(form: Annotated[TokenForm, Form()], auth: AuthDep) -> TokenRead:
    """The same for OAuth2 password clients, such as the Authorize button of this page."""
    return TokenRead.model_validate(await auth.login(form.username, form.password))


@router.post("/refresh/", summary="Get new tokens", responses=WITH_BODY)
async def refresh(body: RefreshCreate, auth: AuthDep) -> TokenRead:
    """Trade a refresh token for a new pair, without the password."""
    return TokenRead.model_validate(await auth.refresh(body.refresh_token))


@router.get("/me/", summary="Who am I")
async def read_me(user: CurrentUser) -> Success[UserRead]:
    """The user whom the access token belongs to."""
    return Success[UserRead](data=UserRead.model_validate(user))
