"""The chat over a WebSocket: the same turns and events as over HTTP, several at once on one connection."""

import asyncio
import logging
import time
from contextlib import aclosing, suppress
from enum import IntEnum
from urllib.parse import urlsplit

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from app.core.errors import AppError, InternalError, NotAuthenticatedError, OverloadedError
from app.core.tasks import Tasks
from app.core.tokens import TokenKind
from app.dependencies import Services, ServicesDep
from app.error_handlers import error_read, invalid_request
from app.routers.turn_read import turn_read
from app.schemas.frames import (
    CLIENT_FRAME,
    CLIENT_FRAME_TYPES,
    AuthFrame,
    CallFrame,
    ClientFrame,
    ErrorFrame,
    ReadyFrame,
    ResumeFrame,
    StopFrame,
    TurnFrame,
)
from app.services.turn_opening import Question
from app.services.turn_stream import Event, Signal, events_of, offset_of
from app.services.turn_view import TurnView

SUBPROTOCOL = "ragchat.v1"
BEARER = "bearer."
AUTH_SECONDS = 5
MAX_CONNECTIONS_PER_USER = 20
MAX_CALLS = 16

router = APIRouter()
logger = logging.getLogger(__name__)


class CloseCode(IntEnum):
    """Why we close: the HTTP status that would say the same, plus 4000."""

    BAD_FRAME = 4400
    NOT_AUTHENTICATED = 4401
    TOO_MANY = 4429


class _ClosingError(Exception):
    def __init__(self, code: CloseCode) -> None:
        super().__init__(code.name)
        self.code = code


@router.websocket("/api/v1/chatbot/ws/")
async def converse(websocket: WebSocket, services: ServicesDep) -> None:
    """Serve one connection until either side closes it."""
    if not _is_welcome(websocket, services):
        await websocket.close()  # before it is accepted: the browser sees a 403
        return
    await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in websocket.scope["subprotocols"] else None)
    connection = Connection(websocket, services)
    try:
        await connection.serve()
    except WebSocketDisconnect:
        pass
    except _ClosingError as exc:
        await websocket.close(exc.code, exc.code.name.lower())
    finally:
        await connection.leave()


class Connection:
    """One client on one connection."""

    def __init__(self, websocket: WebSocket, services: Services) -> None:
        self._websocket = websocket
        self._services = services
        self._language = websocket.headers.get("accept-language", "")
        self._tasks = Tasks()
        self._user_id = 0

    async def serve(self) -> None:
        """Take frames until the client leaves, or the token expires.

        Raises:
            WebSocketDisconnect: the client has left.
        """
        try:
            async with asyncio.timeout(AUTH_SECONDS) as self._expiry:
                await self._authenticate()
                with self._services.sockets.take(self._user_id, MAX_CONNECTIONS_PER_USER, "too many connections"):
                    await self._send(ReadyFrame())
                    while True:
                        await self._take(await self._receive())
        except (TimeoutError, NotAuthenticatedError) as exc:
            raise _ClosingError(CloseCode.NOT_AUTHENTICATED) from exc
        except OverloadedError as exc:
            raise _ClosingError(CloseCode.TOO_MANY) from exc

    async def leave(self) -> None:
        """Stop looking at turns; they go on."""
        await self._tasks.close()

    async def _authenticate(self) -> None:
        """By the sub-protocol, or by the first frame; never by the URL, which ends up in logs."""
        for name in self._websocket.scope["subprotocols"]:
            if name.startswith(BEARER):
                return self._sign_in(name.removeprefix(BEARER))
        frame = await self._receive()
        if not isinstance(frame, AuthFrame):
            raise NotAuthenticatedError("another frame came before the token")
        return self._sign_in(frame.token)

    def _sign_in(self, token: str) -> None:
        claims = self._services.tokens.verify(token, TokenKind.ACCESS)
        if self._user_id not in (0, claims.user_id):
            raise NotAuthenticatedError("the new token is another user's")
        self._user_id = claims.user_id
        self._expiry.reschedule(asyncio.get_running_loop().time() + claims.exp - time.time())

    async def _receive(self) -> ClientFrame | ErrorFrame:
        """The next frame, or what is wrong with its fields."""
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"])
        try:
            frame = from_json(message.get("text") or "", allow_inf_nan=False)
        except ValueError:
            raise _ClosingError(CloseCode.BAD_FRAME) from None
        if not isinstance(frame, dict) or frame.get("type") not in CLIENT_FRAME_TYPES:
            raise _ClosingError(CloseCode.BAD_FRAME)
        try:
            return CLIENT_FRAME.validate_python(frame)
        except ValidationError as exc:
            ref = frame.get("ref")
            return self._refusal(invalid_request(exc.errors()), ref if isinstance(ref, str) else None)

    async def _take(self, frame: ClientFrame | ErrorFrame) -> None:
        if isinstance(frame, ErrorFrame):
            await self._send(frame)
        elif isinstance(frame, AuthFrame):
            self._sign_in(frame.token)
            await self._send(ReadyFrame())
        elif len(self._tasks) >= MAX_CALLS:
            await self._send(self._refusal(OverloadedError("too many calls on one connection"), frame.ref))
        else:
            self._tasks.start(self._serve_call(frame), f"WebSocket {frame.type}")

    async def _serve_call(self, frame: CallFrame) -> None:
        with suppress(WebSocketDisconnect):
            try:
                await self._call(frame)
            except AppError as error:
                await self._send(self._refusal(error, frame.ref))
                if isinstance(error, NotAuthenticatedError):
                    self._expiry.reschedule(0)
            except WebSocketDisconnect:
                raise
            except Exception:
                logger.exception("Unhandled exception in a WebSocket's %s", frame.type)
                await self._send(self._refusal(InternalError(), frame.ref))

    async def _call(self, frame: CallFrame) -> None:
        chat, user_id = self._services.chat, self._user_id
        if isinstance(frame, StopFrame):
            turn = await chat.stop(frame.turn_id, user_id=user_id)
            await self._send(TurnFrame(ref=frame.ref, data=turn_read(turn, self._language)))
        elif isinstance(frame, ResumeFrame):
            view = await chat.watch(frame.turn_id, user_id=user_id)
            offset = offset_of(frame.last_event_id, view) if frame.last_event_id else 0
            await self._play(view, offset, frame.ref)
        else:
            question = Question(frame.message, user_id, frame.session_id, frame.idempotency_key)
            # A client that leaves now must not cut the turn in two: stored, but with nobody working on it.
            opened = await chat.open_for_good(question)
            await self._play(opened.view, 0, frame.ref)

    async def _play(self, view: TurnView, offset: int, ref: str | None) -> None:
        about = {"turn_id": view.turn_id} | ({"ref": ref} if ref is not None else {})
        async with aclosing(events_of(view, offset=offset, language=self._language)) as events:
            async for event in events:
                if isinstance(event, Event):
                    what = {"type": "event", "id": event.id, "event": event.chunk} if event.chunk else {"type": "done"}
                elif event is Signal.RECONNECT:
                    what = {"type": "reconnect"}
                else:
                    continue  # the protocol has its own heartbeats
                await self._websocket.send_text(to_json({**what, **about}).decode())

    async def _send(self, frame: ReadyFrame | TurnFrame | ErrorFrame) -> None:
        # A turn has its nulls, as over HTTP; the envelope of an error leaves out what it has not.
        is_error = isinstance(frame, ErrorFrame)
        await self._websocket.send_text(frame.model_dump_json(exclude_none=is_error))

    def _refusal(self, error: AppError, ref: str | None) -> ErrorFrame:
        envelope = error_read(error, self._language, self._websocket.scope["state"]["request_id"])
        return ErrorFrame(**dict(envelope), ref=ref)


def _is_welcome(websocket: WebSocket, services: Services) -> bool:
    """Browsers name the page's origin: ours, or one of CORS_ORIGINS. Programs name none."""
    origin = websocket.headers.get("origin")
    return origin is None or origin in services.origins or urlsplit(origin).netloc == websocket.headers.get("host")
