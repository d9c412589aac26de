"""From a question to an answer: what search found, put into words by a language model or quoted."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from ragserver import answer, generation, greeting, pieces
from ragserver.clock import Clock
from ragserver.config import Settings
from ragserver.contract import (
    Begun,
    ChatResponse,
    Confidence,
    Delta,
    Event,
    Fallback,
    Metadata,
    Mode,
    Source,
    Utterance,
)
from ragserver.findings import Findings
from ragserver.remote.endpoint import RemoteError
from ragserver.remote.language_model import LanguageModel
from ragserver.search import Search

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Draft:
    """An answer as far as it is written."""

    clock: Clock
    confidence: Confidence
    mode: Mode
    sources: list[Source] = field(default_factory=list)
    degraded: list[Fallback] = field(default_factory=list)
    model: str | None = None
    said: list[str] = field(default_factory=list)

    def add(self, piece: str) -> Delta:
        self.said.append(piece)
        return Delta(text=piece)

    def fall_back(self, reason: RemoteError) -> None:
        _logger.warning("Stage llm falls back to its local form: %s", reason)
        self.mode, self.model = "extractive", None
        self.degraded.append("llm")
        self.said.clear()

    def finished(self) -> ChatResponse:
        metadata = Metadata(
            mode=self.mode,
            confidence=self.confidence,
            model=self.model,
            degraded=self.degraded,
            timings=self.clock.timings,
        )
        return ChatResponse(answer="".join(self.said), sources=self.sources, metadata=metadata)


class Pipeline:
    """Answers questions.

    Args:
        search: What finds the passages.
        settings: The pace at which a quoted answer is streamed.
        language_model: What writes the answer; without one it is quoted from the passages.
    """

    def __init__(self, search: Search, settings: Settings, language_model: LanguageModel | None = None) -> None:
        self._search = search
        self._pace_s = settings.rag_pace_ms / 1000
        self._language_model = language_model

    async def ask(self, text: str, history: Sequence[Utterance] = ()) -> ChatResponse:
        """Answer a question; `history` is what was said before it, oldest first."""
        events = self._events(text, history, is_shown=False)
        (whole,) = [event async for event in events if isinstance(event, ChatResponse)]
        return whole

    def stream(self, text: str, history: Sequence[Utterance] = ()) -> AsyncGenerator[Event, None]:
        """Answer a question like `ask`, but yield its pieces as they are written, and the whole at last.

        Raises:
            RemoteError: the language model broke off what was shown already.
        """
        return self._events(text, history, is_shown=True)

    async def _events(self, text: str, history: Sequence[Utterance], *, is_shown: bool) -> AsyncGenerator[Event, None]:
        clock = Clock()
        with clock.lap("total"):
            if reply := greeting.reply(text):
                draft, words = _Draft(clock, "high", "greeting"), self._paced(reply, is_shown=is_shown)
            else:
                found = await self._search.find(text, history, clock)
                draft = _Draft(clock, found.confidence, "extractive", _sources(found), list(found.degraded))
                words = self._words(draft, found, is_shown=is_shown)
            yield Begun()
            async with aclosing(words):
                with clock.lap("answer"):
                    async for piece in words:
                        yield draft.add(piece)
        yield draft.finished()

    async def _words(self, draft: _Draft, found: Findings, *, is_shown: bool) -> AsyncGenerator[str, None]:
        """Yield the model's words or, where it has none, those of the passages."""
        model = self._language_model if found.confidence != "none" else None
        try:
            if model:
                draft.mode, draft.model = "generated", model.model
                async with aclosing(model.stream(generation.messages(found))) as words:
                    async for piece in words:
                        yield piece
        except RemoteError as exc:
            if draft.said and is_shown:
                raise
            draft.fall_back(exc)
        if draft.mode == "extractive":
            async with aclosing(self._paced(answer.compose(found), is_shown=is_shown)) as words:
                async for piece in words:
                    yield piece

    async def _paced(self, text: str, *, is_shown: bool) -> AsyncGenerator[str, None]:
        """Yield a text that is there as a whole in the pieces, and at the pace, in which a person sees it written."""
        for piece in pieces.split(text):
            yield piece
            if self._pace_s and is_shown:
                await asyncio.sleep(self._pace_s)


def _sources(found: Findings) -> list[Source]:
    if found.confidence == "none":
        return []
    return [
        Source(
            chunk_id=hit.chunk.chunk_id,
            content=hit.chunk.content,
            score=round(hit.score * found.certainty, 4),
            document=hit.chunk.document,
            heading=hit.chunk.heading,
        )
        for hit in found.hits
    ]
