"""How a stored turn is shown."""

from app.models import TurnStatus
from app.repositories.turns import StoredTurn
from app.schemas.turns import TurnErrorRead, TurnRead
from app.services.turn_view import end_of


def turn_read(turn: StoredTurn, language: str = "") -> TurnRead:
    """The turn, with a failure's sentence in the client's language."""
    return TurnRead(
        id=turn.id,
        session_id=turn.session_id,
        question_id=turn.question_id,
        message_id=turn.answer_id,
        status=turn.status.value,
        attempt=turn.attempt,
        response=turn.text,
        sources=(turn.sources or []) if turn.has_answer else [],
        error=_error(turn, language),
        created_at=turn.created_at,
        finished_at=turn.finished_at,
    )


def _error(turn: StoredTurn, language: str) -> TurnErrorRead | None:
    error = None if turn.status is TurnStatus.RUNNING else end_of(turn).error
    if error is None:
        return None
    return TurnErrorRead(code=error.code, text=error.text.for_language(language), retryable=error.retryable)
