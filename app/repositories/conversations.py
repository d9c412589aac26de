"""The two steps of a turn that touch sessions, messages and turns at once: taking a question, storing its answer.

On PostgreSQL each is one statement, and so a transaction by itself: one round trip where BEGIN, the steps and COMMIT
take six, and half of a chat's CPU time. SQLite has no statement that writes to several tables; there the steps cost
little, for they do not travel.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import JSON, BigInteger, String, Text, bindparam, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.database import SingleStatement
from app.core.errors import NotAuthenticatedError, NotFoundError
from app.models import MessageRole, Turn, TurnStatus
from app.repositories.messages import MessageRepository
from app.repositories.sessions import ChatSessionRepository
from app.repositories.turns import LEASE_SECONDS, Attempt, NewTurn, TurnConflictError, TurnRepository


class NewQuestion(NamedTuple):
    """A question as it comes in; without a session it starts one with this title."""

    text: str
    user_id: int
    session_id: int | None
    title: str
    owner: str
    idempotency_key: str | None
    request_hash: str


class Accepted(NamedTuple):
    """A question that is stored, and what was said before it, oldest first."""

    attempt: Attempt
    session_id: int
    question_id: int
    recent: Sequence[tuple[MessageRole, str]]


class NewAnswer(NamedTuple):
    """An answer to a turn, whole or stopped."""

    attempt: Attempt
    session_id: int
    user_id: int
    status: TurnStatus
    text: str
    sources: list[dict[str, Any]]
    details: dict[str, Any]


class ConversationRepository:
    """Writes whole steps of a turn: within `Database.statement()` at once, within a transaction step by step."""

    def __init__(self, db: AsyncSession | SingleStatement) -> None:
        self._db = db

    async def accept(self, question: NewQuestion, *, messages: int) -> Accepted:
        """Store the question with a running turn, and read up to so many messages before it.

        Raises:
            NotAuthenticatedError: the user is gone or inactive.
            NotFoundError: the session is unknown or somebody else's.
            TurnConflictError: a turn runs in the session, or the user's key is taken.
        """
        if isinstance(self._db, AsyncSession):
            return await _accept_in_steps(self._db, question, messages)
        try:
            rows = await self._db.execute(_ACCEPT, {**question._asdict(), "messages": messages})
        except IntegrityError as exc:
            raise TurnConflictError from exc
        if not rows or not rows[0].is_active:
            raise NotAuthenticatedError("the user is gone or inactive")
        if rows[0].turn_id is None:
            raise NotFoundError("session")
        recent = [(MessageRole(row.role), row.content) for row in reversed(rows) if row.role]
        return Accepted(Attempt(rows[0].turn_id, 1), rows[0].session_id, rows[0].question_id, recent)

    async def answer(self, answer: NewAnswer) -> int | None:
        """Store the answer and end its turn; the message's id, or None when the attempt is not the running one.

        A first attempt may be one statement. The answer of a retry takes the place of one that was stopped, or stands
        behind its question.
        """
        if isinstance(self._db, AsyncSession):
            return await _answer_in_steps(self._db, answer)
        (turn_id, number), *_ = answer
        rows = await self._db.execute(_ANSWER, {**answer._asdict(), "turn_id": turn_id, "number": number})
        return rows[0].id if rows else None


async def _accept_in_steps(db: AsyncSession, question: NewQuestion, messages: int) -> Accepted:
    content, user_id, session_id, title, owner, key, request_hash = question
    sessions = ChatSessionRepository(db)
    opening = await sessions.get_opening(session_id, user_id=user_id, messages=messages)
    if opening is None or not opening.is_active:
        raise NotAuthenticatedError("the user is gone or inactive")
    if session_id is None:
        session_id = await sessions.add(user_id, title)
    elif not await sessions.touch(session_id, user_id=user_id):
        raise NotFoundError("session")
    question_id = await MessageRepository(db).add_question(session_id, content)
    turn = NewTurn(session_id, user_id, question_id, owner, key, request_hash)
    return Accepted(await TurnRepository(db).open(turn), session_id, question_id, opening.recent)


async def _answer_in_steps(db: AsyncSession, answer: NewAnswer) -> int | None:
    # The session first, as everybody locks it first: a deletion waits, or left nothing to write to.
    if not await ChatSessionRepository(db).touch(answer.session_id, user_id=answer.user_id):
        return None
    messages, turns = MessageRepository(db), TurnRepository(db)
    turn = await turns.get(answer.attempt.turn_id, user_id=answer.user_id)
    if turn is None or turn.last_attempt != answer.attempt or turn.status is not TurnStatus.RUNNING:
        return None
    if (answer_id := turn.answer_id) is not None:  # of an attempt that was stopped
        await messages.replace_answer(answer_id, answer.text, sources=answer.sources, details=answer.details)
    else:
        answer_id = await messages.add_answer(
            answer.session_id, answer.text, sources=answer.sources, details=answer.details
        )
        await messages.move_behind(answer_id, turn.question_id)
    await turns.end(answer.attempt, answer.status, answer_id=answer_id)
    return answer_id


# The snapshot is the statement's: whoever asks before the answer to the question before was told to anybody may find
# that answer missing in what was said. The unique indexes see what is committed all the same, and the clock is read
# behind the lock on the session, so that nothing is dated before what it waited for.
_ACCEPT = text(f"""
    WITH me AS (
        SELECT id, is_active FROM users WHERE id = :user_id
    ), found AS (
        UPDATE chat_sessions SET updated_at = clock_timestamp() FROM me
        WHERE chat_sessions.id = :session_id AND chat_sessions.user_id = me.id AND me.is_active
        RETURNING chat_sessions.id
    ), started AS (
        INSERT INTO chat_sessions (user_id, title, created_at, updated_at)
        SELECT id, :title, clock_timestamp(), clock_timestamp() FROM me WHERE is_active AND :session_id IS NULL
        RETURNING id
    ), question AS (
        INSERT INTO chat_messages (session_id, role, content, created_at)
        SELECT id, 'user', :text, clock_timestamp()
        FROM (SELECT id FROM found UNION ALL SELECT id FROM started) AS session
        RETURNING id, session_id
    ), turn AS (
        INSERT INTO chat_turns (session_id, user_id, question_id, status, attempt, owner, lease_expires_at,
                                stop_requested, idempotency_key, request_hash, partial, created_at)
        SELECT session_id, :user_id, id, 'running', 1, :owner, clock_timestamp() + interval '{LEASE_SECONDS} seconds',
               false, :idempotency_key, :request_hash, '', clock_timestamp()
        FROM question
        RETURNING id
    ), recent AS (
        SELECT id, created_at, role, content FROM chat_messages
        WHERE session_id = :session_id
        ORDER BY created_at DESC, id DESC
        LIMIT :messages
    )
    SELECT me.is_active, question.session_id, question.id AS question_id, turn.id AS turn_id,
           recent.role, recent.content
    FROM me LEFT JOIN question ON true LEFT JOIN turn ON true LEFT JOIN recent ON turn.id IS NOT NULL
    ORDER BY recent.created_at DESC, recent.id DESC
""").bindparams(  # noqa: S608 - the one value that is written in is a constant of ours
    bindparam("user_id", type_=BigInteger()),
    bindparam("session_id", type_=BigInteger()),
    bindparam("title", type_=String()),
    bindparam("text", type_=Text()),
    bindparam("owner", type_=String()),
    bindparam("idempotency_key", type_=String()),
    bindparam("request_hash", type_=String()),
    bindparam("messages", type_=BigInteger()),
)
# For first attempts, whose answer has nothing to replace and nothing behind it. The session first, as above.
_ANSWER = text("""
    WITH session AS (
        UPDATE chat_sessions SET updated_at = clock_timestamp()
        WHERE id = :session_id AND user_id = :user_id
        RETURNING id
    ), held AS (
        SELECT id FROM chat_turns
        WHERE id = :turn_id AND attempt = :number AND status = 'running' AND EXISTS (SELECT FROM session)
        FOR UPDATE
    ), answer AS (
        INSERT INTO chat_messages (session_id, role, content, sources, metadata, created_at)
        SELECT :session_id, 'assistant', :text, :sources, :details, clock_timestamp() FROM held
        RETURNING id
    )
    UPDATE chat_turns SET status = :status, answer_id = answer.id, partial = '', finished_at = clock_timestamp()
    FROM answer WHERE chat_turns.id = :turn_id
    RETURNING answer.id
""").bindparams(
    bindparam("session_id", type_=BigInteger()),
    bindparam("user_id", type_=BigInteger()),
    bindparam("turn_id", type_=BigInteger()),
    bindparam("number", type_=BigInteger()),
    bindparam("status", type_=Turn.status.type),
    bindparam("text", type_=Text()),
    bindparam("sources", type_=JSON()),
    bindparam("details", type_=JSON()),
)
