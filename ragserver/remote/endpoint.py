"""One model server's API: every failure as one kind of error, and a rest once the server was found to be away."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar

import httpx
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import from_json

from ragserver.remote.reply import Reply, UnreadableError, bounded

_REST_S: Final = 10.0
_LONGEST_REST_S: Final = 60.0
_MOST_REASON_CHARS: Final = 200
# What httpx raises for a connection that the server closed while it was idle.
_LOST: Final = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
# Bad input by name. llama.cpp calls an input that is too long a 500 (its issue 11105), so did Ollama.
_REFUSED: Final = frozenset({400, 413, 422, 500})
_BUSY: Final = frozenset({408, 429})

Shape = TypeVar("Shape", bound=BaseModel)


class RemoteError(Exception):
    """A model's server did not give what it was asked for; the text is for the log and holds no key."""


class RefusedError(RemoteError):
    """The server is there, but would not take this very input."""


class FailedError(RefusedError):
    """The server failed over an input, which it may take the next time; or never, as some that is too long."""


class Endpoint:
    """The API below one base URL.

    A server that does not answer, or says that it is busy, is left alone for ten seconds or as long as it asks for:
    calls then fail at once, so that a dead server costs one time-out and not one per question. After the rest the
    first call is a probe, and the others go on failing until it has an answer.

    Args:
        client: Where connections come from; shared between endpoints.
        url: The base of the API; a path is put behind it.
        key: Sent as a bearer token, where there is one.
        timeout_s: How long the server may take; in a stream, how long it may be silent.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        key: SecretStr | None,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._url = url.rstrip("/")
        self._key = key.get_secret_value() if key else ""
        self._timeout_s = timeout_s
        self._clock = clock
        self._rests_until = 0.0

    async def post(self, path: str, body: dict[str, Any], shape: type[Shape]) -> Shape:
        """Send the body as JSON and return the reply as `shape`.

        Raises:
            RefusedError: the server would not take the body.
            RemoteError: there is no such reply.
        """
        async with self.stream(path, body) as reply:
            return shape.model_validate_json(await reply.read(), strict=True)

    @asynccontextmanager
    async def stream(self, path: str, body: dict[str, Any]) -> AsyncGenerator[Reply, None]:
        """Send the body as JSON and give the reply while it arrives; the connection is closed at the end.

        What goes wrong with the reply inside the block leaves it as a `RemoteError`.

        Raises:
            RefusedError: the server would not take the body.
            RemoteError: there is no reply, or it was not what it should be.
        """
        with self._named(path):
            self._admit()
            deadline = asyncio.get_running_loop().time() + self._timeout_s
            try:
                async with asyncio.timeout_at(deadline):
                    response = await self._send(path, body)
            except asyncio.CancelledError:
                self._rests_until = min(self._rests_until, self._clock())  # a probe that tells nothing: the next is one
                raise
            self._rests_until = 0.0
            try:
                yield Reply(response, deadline, self._timeout_s)
            finally:
                await response.aclose()

    def _admit(self) -> None:
        now = self._clock()
        if now < self._rests_until:
            raise RemoteError("resting after a failure")
        if self._rests_until:
            self._rests_until = now + self._timeout_s  # this call is the probe

    def _away(self, text: str, rest_s: float = _REST_S) -> RemoteError:
        self._rests_until = self._clock() + rest_s
        return RemoteError(text)

    async def _send(self, path: str, body: dict[str, Any]) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        request = self._client.build_request("POST", self._url + path, json=body, headers=headers)
        try:
            response = await self._client.send(request, stream=True)
        except _LOST:
            try:
                response = await self._client.send(request, stream=True)
            except _LOST as exc:
                raise self._away(f"connection lost: {_text_of(exc)}") from exc
        if response.status_code != httpx.codes.OK:
            try:
                raise await self._failure(response)
            finally:
                await response.aclose()
        return response

    async def _failure(self, response: httpx.Response) -> RemoteError:
        status = response.status_code
        text = f"HTTP {status}{await self._reason(response)}"
        if status in _REFUSED:
            self._rests_until = 0.0
            return (FailedError if status == httpx.codes.INTERNAL_SERVER_ERROR else RefusedError)(text)
        if status in _BUSY or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            return self._away(text, _rest_s(response))
        self._rests_until = 0.0
        return RemoteError(text)

    async def _reason(self, response: httpx.Response) -> str:
        """Return the server's own words, where they are where servers put them: anything else may repeat the input."""
        try:
            body = from_json(b"".join([chunk async for chunk in bounded(response)]))
        except (ValueError, httpx.HTTPError, UnreadableError):
            return ""
        said = body.get("error") or body.get("message") if isinstance(body, dict) else None
        said = said.get("message") if isinstance(said, dict) else said
        if not isinstance(said, str):
            return ""
        line = " ".join(said.split())
        return f": {self._masked(line)}"[:_MOST_REASON_CHARS]

    def _masked(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text

    @contextmanager
    def _named(self, path: str) -> Iterator[None]:
        """Turn every failure of a call into a `RemoteError` that says whose it is."""
        try:
            with self._translated():
                yield
        except RemoteError as exc:
            raise type(exc)(f"{self._url}{path}: {self._masked(str(exc))}") from exc

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (TimeoutError, httpx.TimeoutException) as exc:
            raise self._away(f"no answer for {self._timeout_s:g} s") from exc
        except httpx.ConnectError as exc:
            raise self._away(f"cannot connect: {_text_of(exc)}") from exc
        except ValidationError as exc:
            first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise RemoteError(f"not the reply it should be: {where or 'all of it'}: {first['msg']}") from exc
        except (httpx.HTTPError, httpx.InvalidURL, UnreadableError, UnicodeError) as exc:
            raise RemoteError(f"broken reply: {_text_of(exc)}") from exc


def _text_of(exc: Exception) -> str:
    return str(exc) or type(exc).__name__


def _rest_s(response: httpx.Response) -> float:
    """Return how long the server asks to be left alone, within reason."""
    asked = response.headers.get("Retry-After", "")
    return min(float(asked), _LONGEST_REST_S) if asked.isascii() and asked.isdigit() else _REST_S
