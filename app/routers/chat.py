"""The chat call, answered whole or as a stream."""

from fastapi import APIRouter, Response

from app.core.errors import (
    BodyTooLargeError,
    DatabaseUnavailableError,
    IdempotencyMismatchError,
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
    ShuttingDownError,
    TurnInProgressError,
    TurnInterruptedError,
    TurnStoppedError,
    UnsupportedMediaTypeError,
)
from app.dependencies import ChatDep, Language, PrefersAsync, QuestionDep
from app.routers.event_stream import STREAM_RESPONSE, EventStream, stream_errors
from app.routers.json_route import JsonRoute
from app.routers.turns import LOCATION_HEADER, accepted
from app.schemas.chat import ChatData, ChatRead
from app.schemas.errors import errors
from app.schemas.turns import TurnAccepted
from app.services.turn_stream import events_of

REPLAYED = {"Idempotent-Replayed": "true"}
OPENING_ERRORS = (
    NotAuthenticatedError,
    NotFoundError,
    TurnInProgressError,
    InvalidRequestError,
    IdempotencyMismatchError,
    BodyTooLargeError,
    UnsupportedMediaTypeError,
    DatabaseUnavailableError,
    OverloadedError,
    ShuttingDownError,
)

router = APIRouter(route_class=JsonRoute, prefix="/api/v1/chatbot", tags=["chat"])


@router.post(
    "/chat/",
    summary="Ask a question",
    response_model=ChatRead,
    responses={
        200: {
            "headers": {
                "Idempotent-Replayed": {
                    "description": "`true`: the answer was stored before this request.",
                    "schema": {"type": "string"},
                }
            }
        },
        202: {
            "model": TurnAccepted,
            "description": "With `Prefer: respond-async`: the question is stored.",
            "headers": LOCATION_HEADER,
        },
        **errors(
            *OPENING_ERRORS,
            TurnStoppedError,
            RagError,
            RagBadAnswerError,
            RagRefusedError,
            RagUnavailableError,
            RagNotConfiguredError,
            TurnInterruptedError,
            RagTimeoutError,
        ),
    },
)
async def ask(
    question: QuestionDep, chat: ChatDep, prefers_async: PrefersAsync, response: Response
) -> ChatRead | Response:
    """Wait for the whole answer.

    The question is stored before the RAG server is asked, and the answer before you get it; when you leave meanwhile,
    it is stored all the same. When the RAG server fails, the error names the question's session and its turn, which
    can be retried. Sent again with the same `Idempotency-Key`, the request joins its running turn, gets the answer that
    is stored, or starts the next attempt of a turn that failed.
    """
    opened = await chat.open(question, is_streamed=prefers_async)
    if opened.is_replay:
        response.headers.update(REPLAYED)
    elif prefers_async:
        return accepted(opened.view)
    answer = await chat.answer(opened.view)
    return ChatRead(
        session_id=opened.view.session_id,
        message_id=answer.message_id,
        data=ChatData(response=answer.text, sources=answer.sources),
    )


@router.post(
    "/chat/stream/",
    summary="Ask a question, and read the answer while it is made",
    status_code=200,
    response_class=EventStream,
    responses={200: STREAM_RESPONSE, **stream_errors(*OPENING_ERRORS)},
)
async def ask_streaming(question: QuestionDep, chat: ChatDep, language: Language) -> EventStream:
    """The same request as `POST chat/`, answered as server-sent events.

    The question is stored before the first event. To leave is not to stop: the answer is made and stored all the same,
    and `GET turns/{id}/stream/` joins it again, on any replica.
    """
    opened = await chat.open(question, is_streamed=True)
    return EventStream(events_of(opened.view, language=language), REPLAYED if opened.is_replay else None)
