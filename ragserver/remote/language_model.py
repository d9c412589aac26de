"""A language model's answer while it is written, from OpenAI's chat route: OpenAI, vLLM, Ollama, llama.cpp."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final

import httpx
from httpx_sse import ServerSentEvent
from pydantic import BaseModel

from ragserver.remote.endpoint import Endpoint, RemoteError
from ragserver.remote.reply import EVENT_STREAM, Reply

_DONE: Final = "[DONE]"
_MOST_CHARS: Final = 200_000
_MOST_S: Final = 300.0  # for one that is never silent and never ends; the chat service gives up much earlier
# After the model has finished only its bill may come. Some servers (vllm-mlx, its issue 101) then keep the
# connection open without [DONE].
_CLOSING_S: Final = 2.0
_FAILED: Final = frozenset({"error", "abort", "content_filter"})
_MOST_REASON_CHARS: Final = 200


class _Said(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None


class _Chunk(BaseModel):
    # Empty or null in the chunk with the bill, and in Azure's first chunk.
    choices: list[_Choice] | None = None
    error: Any = None


class LanguageModel:
    """One language model; `model` names it."""

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        self.model = model
        self._endpoint = endpoint

    async def stream(self, messages: Sequence[dict[str, str]]) -> AsyncGenerator[str, None]:
        """Yield the answer in pieces as they are written; closing the generator ends the writing.

        What a reasoning model thinks is not part of it.

        Raises:
            RemoteError: there is no answer, or it broke off after what was yielded.
        """
        # Nothing more: reasoning models refuse `temperature`, others `max_completion_tokens`.
        body = {"model": self.model, "messages": list(messages), "stream": True}
        said = 0
        async with self._endpoint.stream("/chat/completions", body) as reply, aclosing(_contents(reply)) as contents:
            end = asyncio.get_running_loop().time() + _MOST_S
            async for content in contents:
                if asyncio.get_running_loop().time() > end:
                    raise RemoteError(f"the answer takes longer than {_MOST_S:g} s")
                # Line ends before the first word are what is left of a reasoning model's thoughts.
                piece = content if said else content.lstrip()
                said += len(piece)
                if said > _MOST_CHARS:
                    raise RemoteError(f"the answer has more than {_MOST_CHARS} characters")
                if piece:
                    yield piece
            if not said:
                raise RemoteError("the answer is empty")


def _contents(reply: Reply) -> AsyncGenerator[str, None]:
    if reply.media_type == EVENT_STREAM:
        return _streamed(reply)
    if reply.media_type == "application/json":
        return _whole(reply)
    raise RemoteError(f"neither events nor JSON but {reply.media_type[:_MOST_REASON_CHARS] or 'nothing named'}")


async def _whole(reply: Reply) -> AsyncGenerator[str, None]:
    """Yield the answer of a server that does not stream."""
    choice = _choice(await reply.read())
    yield (choice.message and choice.message.content) or ""


async def _streamed(reply: Reply) -> AsyncGenerator[str, None]:
    finished = False
    try:
        async with aclosing(reply.events()) as events:
            async for event in events:
                if event.data.strip() == _DONE:
                    return
                choice = _read(event)
                content = choice.delta and choice.delta.content
                finished = finished or bool(choice.finish_reason)
                if choice.finish_reason:
                    reply.patience_s = min(reply.patience_s, _CLOSING_S)
                if content:
                    yield content
    except (TimeoutError, httpx.TransportError):
        if not finished:
            raise
    if not finished:
        raise RemoteError("the stream ended without [DONE]")


def _read(event: ServerSentEvent) -> _Choice:
    if event.event == "error":
        raise _failure(event.data)
    return _choice(event.data) if event.data.strip() else _Choice()


def _choice(json: str | bytes) -> _Choice:
    """Return what a chunk says of the one answer that was asked for."""
    chunk = _Chunk.model_validate_json(json, strict=True)
    if chunk.error:
        raise _failure(chunk.error.get("message") if isinstance(chunk.error, dict) else chunk.error)
    choice = chunk.choices[0] if chunk.choices else _Choice()
    if choice.finish_reason in _FAILED:
        raise _failure(choice.finish_reason)
    return choice


def _failure(reason: object) -> RemoteError:
    return RemoteError(f"the model failed: {' '.join(str(reason).split())[:_MOST_REASON_CHARS]}")
