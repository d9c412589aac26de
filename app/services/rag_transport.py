"""An httpx transport over aiohttp.

httpx's own transport scans all its connections on every request (encode/httpx #3215): at 200 calls waiting for one
second it gives 60 answers a second where aiohttp gives 200. The published bridge, httpx-aiohttp 0.2.0, calls a
connection that broke after the question was sent a connect time-out, which would look safe to send again. So this
one keeps to what stock httpx does: the same exceptions, no redirects, no cookies, bytes as they came.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import aiohttp
import httpx

KEEPALIVE_SECONDS = 4  # below the 5 s after which uvicorn closes an idle connection, or we would write into its end
MAX_HEADER_BYTES = 64 * 1024
CHUNK_BYTES = 64 * 1024

# The first match counts: aiohttp's classes inherit from one another.
HTTPX_ERRORS: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.ClientConnectionError, httpx.ReadError),
    (aiohttp.ClientPayloadError, httpx.RemoteProtocolError),
    (aiohttp.ClientError, httpx.RemoteProtocolError),
    (OSError, httpx.ReadError),
)


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends httpx's requests through one aiohttp session with any number of connections."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The response with its body still to be read."""
        timeout = request.extensions.get("timeout", {})
        with _httpx_errors(request):
            response = await self._open_session().request(
                request.method,
                str(request.url),
                headers=request.headers.multi_items(),
                data=await request.aread() or None,
                allow_redirects=False,
                # `connect` holds for name, socket and TLS together; `sock_connect` would wait for a silent name server.
                timeout=aiohttp.ClientTimeout(connect=timeout.get("connect"), sock_read=timeout.get("read")),
            )
        return httpx.Response(
            response.status, headers=response.raw_headers, stream=_AiohttpStream(response, request), request=request
        )

    async def aclose(self) -> None:
        """Close the session and its connections."""
        if self._session:
            await self._session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        """The session, made at the first call: aiohttp wants a running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, keepalive_timeout=KEEPALIVE_SECONDS, ssl=httpx.create_ssl_context()
                ),
                # A cookie kept from one user's answer would be sent with the next user's question.
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
                max_field_size=MAX_HEADER_BYTES,
                trust_env=False,
            )
        return self._session


class _AiohttpStream(httpx.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse, request: httpx.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors(self._request):
            async for chunk in self._response.content.iter_chunked(CHUNK_BYTES):
                yield chunk

    async def aclose(self) -> None:
        # Hands the connection back when the body was read to its end, else closes it.
        self._response.release()


@contextmanager
def _httpx_errors(request: httpx.Request) -> Iterator[None]:
    try:
        yield
    except Exception as exc:
        for theirs, ours in HTTPX_ERRORS:
            if isinstance(exc, theirs):
                raise ours(str(exc) or type(exc).__name__, request=request) from exc
        raise
