"""The chat turn, in three steps: the question is committed, the RAG server is asked, the answer is committed."""

import asyncio
import logging
from collections.abc import Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, NamedTuple

from app.core.database import Database
from app.core.errors import DatabaseUnavailableError, NotAuthenticatedError, NotFoundError, OverloadedError, RagError
from app.core.queues import Places, turn
from app.models import MessageRole
from app.repositories.messages import MessageRepository
from app.repositories.sessions import ChatSessionRepository
from app.services.rag_client import HistoryMessage, RagAnswer, RagClient

MAX_OWN_TITLE_CHARS = 50
# About 100 kB each: past this the process would run out of memory before the RAG server catches up.
MAX_WAITING = 5000
OPENING_SECONDS = 5

logger = logging.getLogger(__name__)


class HistoryLimits(NamedTuple):
    """How much of a conversation goes along with a question."""

    messages: int
    chars: int


class Question(NamedTuple):
    """A question that is committed, with what the RAG server gets beside it."""

    text: str
    user_id: int
    session_id: int
    history: list[HistoryMessage]


class Answer(NamedTuple):
    """An answer that is committed."""

    session_id: int
    message_id: int
    text: str
    sources: list[dict[str, Any]]


class ChatService:
    """Takes questions and gives back stored answers."""

    def __init__(self, database: Database, rag: RagClient, limits: HistoryLimits, *, openings: int) -> None:
        self._database = database
        self._rag = rag
        self._limits = limits
        self._places = Places()
        # Fewer than the pool has connections: new questions wait here, and answers never queue behind them.
        self._openings = asyncio.Semaphore(openings)

    async def ask(self, text: str, *, user_id: int, session_id: int | None) -> Answer:
        """The answer, stored. No database connection is held while the RAG server thinks.

        Raises:
            NotAuthenticatedError: the user is gone or inactive.
            NotFoundError: the session is unknown, somebody else's, or was deleted meanwhile.
            OverloadedError: too many questions are waiting; this one was not accepted.
            RagError: no answer came; the question stays stored in `session_id` of the error.
            DatabaseUnavailableError: before the question was stored, or (with a `session_id`) after the answer came.
        """
        with self._places.take(MAX_WAITING, "too many questions are waiting for the RAG server"):
            # Whoever waits too long has a client about to give up; in a flood, the work for those who gave up would
            # leave no time for the others.
            async with turn(self._openings, OPENING_SECONDS, OverloadedError("too many questions wait to be stored")):
                question = await self._open(text, user_id, session_id)
            try:
                return await self._complete(question, await self._call(question))
            except (RagError, DatabaseUnavailableError) as exc:
                # The client goes on in this session; without it, asking again would start another.
                exc.session_id = question.session_id
                raise

    async def _open(self, text: str, user_id: int, session_id: int | None) -> Question:
        async with self._database.transaction() as db:
            sessions = ChatSessionRepository(db)
            # Unanswered questions are dropped from the history below, so twice as many rows are read.
            opening = await sessions.get_opening(session_id, user_id=user_id, messages=2 * self._limits.messages)
            if opening is None or not opening.is_active:
                raise NotAuthenticatedError("the user is gone or inactive")
            if session_id is not None and not await sessions.touch(session_id, user_id=user_id):
                raise NotFoundError("session")
            own_id = session_id or await sessions.add(user_id, title_of(text))
            message_id = await MessageRepository(db).add_question(own_id, text)
        logger.info("[Chat] Using existing session: %s" if session_id else "[Chat] New session created: %s", own_id)
        logger.info("[Chat] User message saved: %s", message_id)
        return Question(text, user_id, own_id, history_of(opening.recent, self._limits))

    async def _call(self, question: Question) -> RagAnswer:
        if self._rag.url:
            logger.info("[Chat] Calling RunPod RAG: %s", self._rag.url)
        try:
            return await self._rag.ask(
                question.text,
                user_id=question.user_id,
                chat_history=question.history,
                session_id=question.session_id,
            )
        except RagError as exc:
            logger.error("[Chat] RAG server error: %s", exc)  # noqa: TRY400 - the reason says it all
            raise

    async def _complete(self, question: Question, answer: RagAnswer) -> Answer:
        details = {**answer.metadata, "response_time": answer.response_time}
        async with self._database.transaction() as db:
            if not await ChatSessionRepository(db).touch(question.session_id, user_id=question.user_id):
                raise NotFoundError("the session was deleted while its question was answered")
            message_id = await MessageRepository(db).add_answer(
                question.session_id, answer.text, sources=answer.sources, details=details
            )
        logger.info("[Chat] Response saved: message_id=%s, sources=%s", message_id, len(answer.sources))
        return Answer(question.session_id, message_id, answer.text, answer.sources)


def title_of(question: str) -> str:
    """A session's title: the first question on one line, cut at a word, at most 50 characters."""
    line = " ".join(question.split())
    if len(line) <= MAX_OWN_TITLE_CHARS:
        return line
    words, _, _rest = line[: MAX_OWN_TITLE_CHARS + 1].rpartition(" ")
    return words or line[:MAX_OWN_TITLE_CHARS]


def history_of(recent: Sequence[tuple[MessageRole, str]], limits: HistoryLimits) -> list[HistoryMessage]:
    """The newest answered questions with their answers, oldest first, within both limits."""
    history: list[HistoryMessage] = []
    room = limits.chars
    for question, answer in reversed(_answered(recent)):
        room -= len(question) + len(answer)
        if room < 0 or len(history) + 2 > limits.messages:
            break
        history[:0] = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return history


def _answered(recent: Sequence[tuple[MessageRole, str]]) -> list[tuple[str, str]]:
    """Each question that exactly one answer follows directly (docs/adr/0005: what this cannot tell)."""
    runs = [(role, [content for _, content in run]) for role, run in groupby(recent, key=itemgetter(0))]
    return [
        (questions[-1], answers[0])
        for (role, questions), (_, answers) in pairwise(runs)
        if role is MessageRole.USER and len(answers) == 1
    ]
