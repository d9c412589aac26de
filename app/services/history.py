"""What of a conversation goes along with the next question."""

from collections.abc import Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from typing import NamedTuple

from app.models import MessageRole
from app.services.rag_client import HistoryMessage


class HistoryLimits(NamedTuple):
    """How much of a conversation goes along with a question."""

    messages: int
    chars: int

    @property
    def rows(self) -> int:
        """How many messages to read: unanswered questions are dropped from them."""
        return 2 * self.messages


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
    """Each question that exactly one answer follows directly (docs/adr/0005: why that is enough)."""
    runs = [(role, [content for _, content in run]) for role, run in groupby(recent, key=itemgetter(0))]
    return [
        (questions[-1], answers[0])
        for (role, questions), (_, answers) in pairwise(runs)
        if role is MessageRole.USER and len(answers) == 1
    ]
