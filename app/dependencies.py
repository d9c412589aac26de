"""Every dependency of the routers, named once."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Query, Request
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from app.core.database import Database
from app.core.errors import FieldProblem, InvalidRequestError, NotAuthenticatedError
from app.core.limits import KEY_PATTERN, MAX_CURSOR_CHARS, MAX_KEY_CHARS
from app.core.pagination import Cursor, PageRequest
from app.core.queues import PlacesByUser
from app.core.tokens import TokenKind, TokenSigner
from app.models import User
from app.repositories.bookmarks import BookmarkRepository
from app.repositories.messages import MessageRepository
from app.repositories.sessions import ChatSessionRepository
from app.repositories.turns import TurnRepository
from app.repositories.users import UserRepository
from app.schemas.base import PageLimit
from app.schemas.chat import ChatCreate
from app.services.auth import AuthService
from app.services.chat import ChatService
from app.services.turn_opening import Question

# Swagger UI's Authorize button posts its form there.
bearer = OAuth2PasswordBearer(tokenUrl="/api/v1/auth/token/", auto_error=False, scheme_name="JWT")


@dataclass(frozen=True)
class Services:
    """What the lifespan builds and closes, shared by all requests."""

    database: Database
    tokens: TokenSigner
    auth: AuthService
    chat: ChatService
    origins: frozenset[str]
    """Of the front ends on other origins than ours."""
    sockets: PlacesByUser


async def get_services(request: HTTPConnection) -> Services:
    """What the lifespan built."""
    return services_of(request)


def services_of(request: HTTPConnection) -> Services:
    """The same for dependencies: FastAPI takes longer to solve one than most of them need for their work."""
    services: Services = request.state.services
    return services


ServicesDep = Annotated[Services, Depends(get_services)]


async def get_transaction(request: Request) -> AsyncIterator[AsyncSession]:
    """One transaction a request: GET only reads."""
    async with services_of(request).database.transaction(read_only=request.method in ("GET", "HEAD")) as db:
        yield db


# Closed, and so committed, before the response leaves; the default scope would hold it until the response is sent.
TransactionDep = Annotated[AsyncSession, Depends(get_transaction, scope="function")]


async def get_caller_id(request: Request, token: Annotated[str | None, Depends(bearer)]) -> int:
    """The user id of the access token; the database is not asked."""
    if token is None or len(request.headers.getlist("authorization")) != 1:
        raise NotAuthenticatedError("no bearer token")
    return services_of(request).tokens.verify(token, TokenKind.ACCESS).user_id


CallerId = Annotated[int, Depends(get_caller_id)]


async def get_current_user(caller_id: CallerId, db: TransactionDep) -> User:
    """The signed-in user, who must still exist and be active."""
    user = await UserRepository(db).get(caller_id)
    if user is None or not user.is_active:
        raise NotAuthenticatedError("the user is gone or inactive")
    return user


CurrentUser = Annotated[User, Depends(get_current_user)]


async def get_page_request(
    limit: Annotated[
        PageLimit | None, Query(description="At most so many; without it, all of them.", examples=[50])
    ] = None,
    cursor: Annotated[
        str | None, Query(max_length=MAX_CURSOR_CHARS, description="`next_cursor` of the page before.")
    ] = None,
) -> PageRequest:
    """Which part of a list is asked for."""
    return PageRequest(limit, Cursor.decode(cursor) if cursor else None)


PageDep = Annotated[PageRequest, Depends(get_page_request)]


async def get_sessions(db: TransactionDep) -> ChatSessionRepository:
    """Sessions, in the request's transaction."""
    return ChatSessionRepository(db)


async def get_messages(db: TransactionDep) -> MessageRepository:
    """Messages, in the request's transaction."""
    return MessageRepository(db)


async def get_bookmarks(db: TransactionDep) -> BookmarkRepository:
    """Bookmarks, in the request's transaction."""
    return BookmarkRepository(db)


async def get_turns(db: TransactionDep) -> TurnRepository:
    """Turns, in the request's transaction."""
    return TurnRepository(db)


async def get_auth(request: HTTPConnection) -> AuthService:
    """Sign-in."""
    return services_of(request).auth


async def get_chat(request: HTTPConnection) -> ChatService:
    """The chat turn."""
    return services_of(request).chat


SessionsDep = Annotated[ChatSessionRepository, Depends(get_sessions)]
MessagesDep = Annotated[MessageRepository, Depends(get_messages)]
BookmarksDep = Annotated[BookmarkRepository, Depends(get_bookmarks)]
TurnsDep = Annotated[TurnRepository, Depends(get_turns)]
AuthDep = Annotated[AuthService, Depends(get_auth)]
ChatDep = Annotated[ChatService, Depends(get_chat)]


async def get_language(request: Request) -> str:
    """The client's `Accept-Language`, for sentences to a person."""
    return request.headers.get("accept-language", "")


Language = Annotated[str, Depends(get_language)]


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_KEY_CHARS,
        pattern=KEY_PATTERN,
        description="A name of your choice for this request, such as a UUID, kept for 24 hours: sent again with "
        "it, the same request is never a second question.",
        examples=["7c0e1c0a-6c1b-4b7e-9a52-1d2f3a4b5c6d"],
    ),
]


async def get_question(request: Request, body: ChatCreate, caller_id: CallerId, key: IdempotencyKey = None) -> Question:
    """The caller's question."""
    if len(request.headers.getlist("idempotency-key")) > 1:
        raise InvalidRequestError([FieldProblem("Idempotency-Key", "is there more than once")])
    return Question(body.message, caller_id, body.session_id, key)


QuestionDep = Annotated[Question, Depends(get_question)]


async def prefers_async(
    prefer: Annotated[
        str, Header(description="`respond-async`: answer 202 once the question is stored.", examples=[""])
    ] = "",
) -> bool:
    """Whether the client would rather not wait for the answer (RFC 7240)."""
    return any(part.partition(";")[0].strip().lower() == "respond-async" for part in prefer.split(","))


PrefersAsync = Annotated[bool, Depends(prefers_async)]


async def prefers_stream(request: Request) -> bool:
    """Whether the client asks for events."""
    return "text/event-stream" in request.headers.get("accept", "")


PrefersStream = Annotated[bool, Depends(prefers_stream)]


async def get_last_event_id(
    request: Request,
    last_event_id: Annotated[
        str | None,
        Header(alias="Last-Event-ID", description="The `id` of the last event you have; the stream goes on behind it."),
    ] = None,
) -> str | None:
    """Where a stream broke off for the client."""
    if len(request.headers.getlist("last-event-id")) > 1:
        raise InvalidRequestError([FieldProblem("Last-Event-ID", "is there more than once")])
    return last_event_id


LastEventId = Annotated[str | None, Depends(get_last_event_id)]
