"""From a question to an answer: retrieve, rank, filter, answer."""

import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace

from ragserver import answer, greeting, pieces, question, tokens
from ragserver.answer import Findings, Write
from ragserver.config import Settings
from ragserver.contract import ChatResponse, Confidence, Delta, Event, Metadata, Mode, Source, Utterance
from ragserver.evidence import Scale
from ragserver.question import Concept, Question
from ragserver.store import Hit, Store, open_index

_CONTEXT_SCORE = 0.5
_HEADING_BONUS = 0.5
_JUDGED = 3


@dataclass(slots=True)
class _Clock:
    """Milliseconds by stage."""

    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def lap(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.timings[stage] = round((time.perf_counter() - start) * 1000, 2)


@dataclass(frozen=True, slots=True)
class _Draft:
    """An answer of which everything is known but its words."""

    words: AsyncGenerator[str, None]
    sources: list[Source]
    mode: Mode
    confidence: Confidence


class Pipeline:
    """Answers questions from one index; `write` finds the words."""

    def __init__(self, store: Store, settings: Settings, write: Write = answer.write) -> None:
        self._store = store
        self._settings = settings
        self._write = write

    @property
    def chunks(self) -> int:
        """How many chunks the index has."""
        return self._store.chunks

    @property
    def documents(self) -> int:
        """From how many documents they come."""
        return self._store.documents

    def close(self) -> None:
        """Close the index."""
        self._store.close()

    async def ask(self, text: str, history: Sequence[Utterance] = ()) -> ChatResponse:
        """Answer a question; `history` is what was said before it, oldest first."""
        (whole,) = [event async for event in self.stream(text, history) if isinstance(event, ChatResponse)]
        return whole

    async def stream(self, text: str, history: Sequence[Utterance] = ()) -> AsyncGenerator[Event, None]:
        """Answer a question like `ask`: first its pieces as they are written, at last the whole."""
        clock = _Clock()
        said: list[str] = []
        with clock.lap("total"):
            draft = self._draft(text, history, clock)
            async with aclosing(draft.words):
                with clock.lap("answer"):
                    async for piece in draft.words:
                        said.append(piece)
                        yield Delta(text=piece)
        metadata = Metadata(mode=draft.mode, confidence=draft.confidence, timings=clock.timings)
        yield ChatResponse(answer="".join(said), sources=draft.sources, metadata=metadata)

    def _draft(self, text: str, history: Sequence[Utterance], clock: _Clock) -> _Draft:
        if reply := greeting.reply(text):
            return _Draft(_spoken(reply), [], "greeting", "high")
        with clock.lap("analyse"):
            asked = question.parse(text, history)
        with clock.lap("retrieve"):
            hits = self._retrieve(asked)
        with clock.lap("filter"):
            scale = Scale.of(asked.concepts + asked.context, self._store)
            evidence = scale.evidence([hit.tokens for hit in hits[:_JUDGED]])
            confidence = self._confidence(evidence)
            kept = [] if confidence == "none" else hits[: self._settings.rag_top_k]
        found = Findings(text, history, asked.language, confidence, kept, scale)
        return _Draft(self._write(found), [_source(hit, evidence) for hit in kept], "extractive", confidence)

    def _retrieve(self, asked: Question) -> list[Hit]:
        """Return the best chunk of each section, scored from 0 to 1 against the best of all."""
        hits = self._search(asked.concepts, asked, 1.0)
        for chunk_id, hit in self._search(asked.context, asked, _CONTEXT_SCORE).items():
            score = hit.score + hits[chunk_id].score if chunk_id in hits else hit.score
            hits[chunk_id] = replace(hit, score=score)
        ranked = sorted((_with_heading_bonus(hit, asked.tokens) for hit in hits.values()), key=lambda hit: -hit.score)
        sections: dict[tuple[str, str], Hit] = {}
        for hit in ranked:
            sections.setdefault((hit.chunk.document, hit.chunk.heading), hit)
        return [replace(hit, score=hit.score / ranked[0].score) for hit in sections.values()]

    def _search(self, concepts: Sequence[Concept], asked: Question, weight: float) -> dict[str, Hit]:
        hits = self._store.search(_tokens(concepts), asked.language, self._settings.rag_candidates)
        return {hit.chunk.chunk_id: replace(hit, score=weight * hit.score / hits[0].score) for hit in hits}

    def _confidence(self, evidence: float) -> Confidence:
        if evidence >= self._settings.rag_sure_evidence:
            return "high"
        return "low" if evidence >= self._settings.rag_min_evidence else "none"


def open_pipeline(settings: Settings, write: Write = answer.write) -> Pipeline:
    """Return a pipeline over the documents of the settings, after building their index where it is not there yet.

    Raises:
        ForeignFileError: RAG_DB is taken by something that is not an index.
        OSError: the index cannot be written.
    """
    store = open_index(settings.rag_db, settings.rag_docs_dir, settings.rag_chunk_chars)
    return Pipeline(store, settings, write)


async def _spoken(reply: str) -> AsyncGenerator[str, None]:
    for piece in pieces.split(reply):
        yield piece


def _tokens(concepts: Iterable[Concept]) -> set[str]:
    return {token for concept in concepts for token in concept.tokens}


def _with_heading_bonus(hit: Hit, wanted: AbstractSet[str]) -> Hit:
    """Return the hit with a higher score the more its heading says just what the question says (F1)."""
    said = set(tokens.tokens(hit.chunk.heading.rpartition(" > ")[2]))
    fit = 2 * len(said & wanted) / (len(said) + len(wanted)) if said else 0.0
    return replace(hit, score=hit.score * (1 + _HEADING_BONUS * fit))


def _source(hit: Hit, evidence: float) -> Source:
    chunk = hit.chunk
    return Source(
        chunk_id=chunk.chunk_id,
        content=chunk.content,
        score=round(hit.score * evidence, 4),
        document=chunk.document,
        heading=chunk.heading,
    )
