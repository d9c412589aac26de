"""The chat turn, in three steps: the question is committed, the RAG server is asked, the answer is committed."""

import logging
from collections.abc import Iterable
from typing import Any, NamedTuple

from app.core.database import Database
from app.core.errors import NotAuthenticatedError, NotFoundError, RagError
from app.models import MessageRole
from app.repositories.messages import MessageRepository
from app.repositories.sessions import ChatSessionRepository
from app.services.rag_client import HistoryMessage, RagAnswer, RagClient

MAX_TITLE_CHARS = 50

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

    def __init__(self, database: Database, rag: RagClient, limits: HistoryLimits) -> None:
        self._database = database
        self._rag = rag
        self._limits = limits

    async def ask(self, text: str, *, user_id: int, session_id: int | None) -> Answer:
        """The answer, stored. No database connection is held while the RAG server thinks.

        Raises:
            NotAuthenticatedError: the user is gone or inactive.
            NotFoundError: the session is unknown, somebody else's, or was deleted meanwhile.
            RagError: no answer came; the question stays stored in `session_id` of the error.
        """
        question = await self._open(text, user_id, session_id)
        try:
            answer = await self._call(question)
        except RagError as exc:
            logger.error(  # noqa: TRY400 - the reason says it all; a traceback would hide it
                "[Chat] RAG server error: %s", exc, extra={"session_id": question.session_id}
            )
            exc.session_id = question.session_id
            raise
        return await self._complete(question, answer)

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
        logger.info("[Chat] Calling RunPod RAG: %s", self._rag.url)
        return await self._rag.ask(
            question.text,
            user_id=question.user_id,
            chat_history=question.history,
            session_id=question.session_id,
        )

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
    if len(line) <= MAX_TITLE_CHARS:
        return line
    words, _, _rest = line[: MAX_TITLE_CHARS + 1].rpartition(" ")
    return words or line[:MAX_TITLE_CHARS]


def history_of(recent: Iterable[tuple[MessageRole, str]], limits: HistoryLimits) -> list[HistoryMessage]:
    """The newest answered questions with their answers, oldest first, within both limits."""
    history: list[HistoryMessage] = []
    room = limits.chars
    for question, answer in reversed(_answered(recent)):
        room -= len(question) + len(answer)
        if room < 0 or len(history) + 2 > limits.messages:
            break
        history[:0] = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return history


def _answered(recent: Iterable[tuple[MessageRole, str]]) -> list[tuple[str, str]]:
    """Each question that an answer follows directly; the others were never answered."""
    pairs: list[tuple[str, str]] = []
    question: str | None = None
    for role, content in recent:
        if role is MessageRole.ASSISTANT and question is not None:
            pairs.append((question, content))
        question = content if role is MessageRole.USER else None
    return pairs
