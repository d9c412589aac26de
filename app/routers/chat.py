"""The chat call."""

from fastapi import APIRouter

from app.core.errors import (
    BodyTooLargeError,
    DatabaseUnavailableError,
    InvalidRequestError,
    NotAuthenticatedError,
    NotFoundError,
    OverloadedError,
    RagBadAnswerError,
    RagError,
    RagNotConfiguredError,
    RagRefusedError,
    RagTimeoutError,
    RagUnavailableError,
    UnsupportedMediaTypeError,
)
from app.dependencies import CallerId, ChatDep
from app.routers.json_route import JsonRoute
from app.schemas.chat import ChatCreate, ChatData, ChatRead
from app.schemas.errors import errors

router = APIRouter(route_class=JsonRoute, prefix="/api/v1/chatbot", tags=["chat"])


@router.post(
    "/chat/",
    summary="Ask a question",
    responses=errors(
        NotAuthenticatedError,
        NotFoundError,
        InvalidRequestError,
        BodyTooLargeError,
        UnsupportedMediaTypeError,
        RagError,
        RagBadAnswerError,
        RagRefusedError,
        RagUnavailableError,
        RagNotConfiguredError,
        DatabaseUnavailableError,
        OverloadedError,
        RagTimeoutError,
    ),
)
async def ask(body: ChatCreate, caller_id: CallerId, chat: ChatDep) -> ChatRead:
    """Wait for the whole answer.

    The question is stored before the RAG server is asked, and the answer before you get it. When the RAG server
    fails, the question stays in its session, which the error names in `session_id`.
    """
    answer = await chat.ask(body.message, user_id=caller_id, session_id=body.session_id)
    return ChatRead(
        session_id=answer.session_id,
        message_id=answer.message_id,
        data=ChatData(response=answer.text, sources=answer.sources),
    )
