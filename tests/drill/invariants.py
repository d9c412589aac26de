"""What must hold after every fault: ten questions to the database, the upstream's journal, the clients and the logs.

Each gives the violations that it found; none found is an empty list. `tests/test_drill.py` shows each of them red.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise

from tests.drill.asks import Ask
from tests.drill.database import Facts, HistoryRow, MessageRow, TurnRow
from tests.drill.journal import Journal
from tests.drill.replicas import Gauges

MAX_ORPHAN_SECONDS = 20
# What a replica may hold more at rest than at its beginning: a full pool, connections kept alive, a task each.
MORE_DESCRIPTORS, MORE_TASKS, MORE_CONNECTIONS = 20, 6, 0
ENDS = {"completed", "failed", "cancelled", "interrupted"}


@dataclass(frozen=True)
class Evidence:
    """All that is asked: what is stored, what the clients know, what the upstream and the replicas wrote."""

    facts: Facts
    asks: Sequence[Ask]
    journal: Journal
    crashes: Sequence[str] = ()
    gauges: Sequence[tuple[str, Gauges, Gauges]] = ()
    """Each replica's name, what it held at its beginning, and what it holds now."""
    connections: Sequence[str] = ()
    landed: int = 1

    @cached_property
    def messages(self) -> dict[int, MessageRow]:
        return {row.id: row for row in self.facts.messages}

    @cached_property
    def _questions(self) -> dict[str, list[MessageRow]]:
        found: defaultdict[str, list[MessageRow]] = defaultdict(list)
        for row in self.facts.messages:
            if row.role == "user":
                found[row.content].append(row)
        return found

    @cached_property
    def _turns(self) -> dict[int, list[TurnRow]]:
        found: defaultdict[int, list[TurnRow]] = defaultdict(list)
        for turn in self.facts.turns:
            found[turn.question_id].append(turn)
        return found

    def questions(self, ask: Ask) -> list[MessageRow]:
        """The stored questions with the ask's text."""
        return self._questions.get(ask.message, [])

    def turns(self, ask: Ask) -> list[TurnRow]:
        """The turns of those questions."""
        return [turn for row in self.questions(ask) for turn in self._turns.get(row.id, [])]

    def answer(self, turn: TurnRow) -> MessageRow | None:
        """The turn's stored answer."""
        return self.messages.get(turn.answer_id or 0)


def acknowledged_once(evidence: Evidence) -> list[str]:
    """1: each acknowledged question exists once, as one turn; one that is not acknowledged at most once."""
    found = []
    for ask in evidence.asks:
        questions, turns = len(evidence.questions(ask)), len(evidence.turns(ask))
        if ask.is_deleted:
            if questions:
                found.append(f"{ask.canary}: was deleted, and is stored {questions} times")
        elif questions > 1 or (ask.is_acknowledged and questions != 1):
            found.append(f"{ask.canary}: stored {questions} times, acknowledged: {ask.is_acknowledged}")
        elif questions != turns:
            found.append(f"{ask.canary}: {questions} questions, {turns} turns")
        if len(ask.turn_ids) > 1:
            found.append(f"{ask.canary}: its client was told of turns {sorted(ask.turn_ids)}")
    return found


def completed_iff_answered(evidence: Evidence) -> list[str]:
    """2: completed means exactly one answer, the upstream's own; and no answer belongs to nobody."""
    found = []
    for turn in evidence.facts.turns:
        answer = evidence.answer(turn)
        if turn.status == "completed" and (answer is None or answer.role != "assistant"):
            found.append(f"turn {turn.id}: completed without an answer")
        if turn.answer_id and turn.status in ("running", "failed", "interrupted") and turn.attempt == 1:
            found.append(f"turn {turn.id}: {turn.status} with an answer")
    answered = {turn.answer_id for turn in evidence.facts.turns}
    orphans = [row.id for row in evidence.facts.messages if row.role == "assistant" and row.id not in answered]
    found += [f"message {orphan}: an answer of no turn" for orphan in orphans]
    return found + answers_agree(evidence) + ends_stay(evidence.facts.history)


def answers_agree(evidence: Evidence) -> list[str]:
    """2, in words: what the upstream said, what is stored and what the client got are the same."""
    found = []
    stored = {row.content for row in evidence.facts.messages if row.role == "assistant"}
    for ask in evidence.asks:
        said = {call.whole for call in evidence.journal.calls(ask.canary)}
        for turn in evidence.turns(ask):
            answer = evidence.answer(turn)
            if turn.status == "completed" and answer and answer.content not in said:
                found.append(f"turn {turn.id}: its answer is not one of the upstream's: {answer.content[:80]!r}")
        unknown = [text for text in ask.answers if text not in stored and not ask.is_deleted]
        found += [f"{ask.canary}: got an answer that is not stored: {text[:80]!r}" for text in unknown]
    return found


def ends_stay(history: Sequence[HistoryRow]) -> list[str]:
    """2, over time: an end changes only into the next attempt's beginning, and a completed turn into nothing."""
    found = []
    for turn_id, rows in groupby(sorted(history, key=lambda row: row.turn_id), key=lambda row: row.turn_id):
        for before, after in pairwise(rows):
            is_retry = after.status == "running" and after.attempt == before.attempt + 1
            is_end = before.status == "running" and after.attempt == before.attempt and after.status in ENDS
            if not (is_end or (is_retry and before.status not in ("running", "completed"))):
                found.append(f"turn {turn_id}: {before.status} {before.attempt} → {after.status} {after.attempt}")
    return found


def none_orphaned(evidence: Evidence) -> list[str]:
    """3: no turn runs for longer than 20 s without a live lease."""
    return [
        f"turn {turn.id}: runs since {turn.age:.0f} s, its lease ran out {-turn.lease_left:.0f} s ago"
        for turn in evidence.facts.turns
        if turn.status == "running" and turn.age > MAX_ORPHAN_SECONDS and turn.lease_left < 0
    ]


def calls_within_attempts(evidence: Evidence) -> list[str]:
    """4: the upstream was asked no oftener than there were attempts, and nothing that is not stored."""
    found = []
    for ask in evidence.asks:
        calls = len(evidence.journal.calls(ask.canary))
        attempts = sum(turn.attempt for turn in evidence.turns(ask))
        if calls > attempts and not ask.is_deleted:
            found.append(f"{ask.canary}: {calls} calls in {attempts} attempts")
    return found


def alternate(evidence: Evidence) -> list[str]:
    """5: an answer follows its own question; only questions without an answer stand beside one another."""
    found = []
    question_of = {turn.answer_id: turn.question_id for turn in evidence.facts.turns if turn.answer_id}
    for session_id, rows in groupby(evidence.facts.messages, key=lambda row: row.session_id):
        before: MessageRow | None = None
        for row in rows:
            expected = question_of.get(row.id)
            if row.role == "assistant" and (before is None or before.id != expected):
                found.append(f"session {session_id}: answer {row.id} does not follow question {expected}")
            before = row
    return found


def owners_agree(evidence: Evidence) -> list[str]:
    """6: turns, questions and answers are in one session, and it is their user's."""
    found = []
    session_of = {row.id: row.session_id for row in evidence.facts.messages}
    for turn in evidence.facts.turns:
        places = {
            session_of.get(turn.question_id, turn.session_id),
            session_of.get(turn.answer_id or 0, turn.session_id),
        }
        if places != {turn.session_id}:
            found.append(f"turn {turn.id}: its session is {turn.session_id}, its messages are in {sorted(places)}")
        if evidence.facts.owners.get(turn.session_id) != turn.user_id:
            found.append(f"turn {turn.id}: is user {turn.user_id}'s, in a session of somebody else")
    for ask in evidence.asks:
        strangers = [turn.id for turn in evidence.turns(ask) if turn.user_id != ask.caller.id]
        found += [f"{ask.canary}: turn {stranger} is somebody else's" for stranger in strangers]
    return found


def seen_is_stored(evidence: Evidence) -> list[str]:
    """7: what was seen on a stream is what is stored, or its beginning where the view or the turn broke off."""
    found = []
    for ask in evidence.asks:
        turns = {turn.id: turn for turn in evidence.turns(ask)}
        for view in ask.views:
            found += view.problems
            turn = turns.get(view.turn_id or 0)
            if turn is None or turn.attempt != view.attempt:
                continue  # unaccepted, deleted, or another attempt began: its text is another one
            answer = evidence.answer(turn)
            stored = answer.content if answer and turn.status in ("completed", "cancelled") else turn.partial
            # Who is sent away hears an error while the turn goes on.
            is_whole = view.is_over and (view.end != "error" or turn.status in ("failed", "interrupted"))
            # A killed replica may have shown more than it had stored; nothing else may.
            agrees = view.text == stored if is_whole else stored.startswith(view.text) or view.text.startswith(stored)
            if not agrees:
                found.append(f"turn {turn.id}, {turn.status}: seen {view.text[-60:]!r}, stored {stored[-60:]!r}")
    return found


def at_rest(evidence: Evidence) -> list[str]:
    """8: nothing is held: no connection in use or in a transaction, tasks and descriptors as at the beginning."""
    states = Counter(evidence.connections)
    found = [f"{states[state]} connections are {state!r}" for state in states if state not in ("idle", "None")]
    for name, then, now in evidence.gauges:
        if now.checked_out:
            found.append(f"{name}: {now.checked_out} connections checked out")
        if now.tasks > then.tasks + MORE_TASKS:
            found.append(f"{name}: {now.tasks} tasks, {then.tasks} at the beginning")
        if now.descriptors > then.descriptors + MORE_DESCRIPTORS:
            found.append(f"{name}: {now.descriptors} descriptors, {then.descriptors} at the beginning")
    return found


def no_crash(evidence: Evidence) -> list[str]:
    """9: no 500 came to a client, and no log tells of a bug."""
    bugs: defaultdict[str, int] = defaultdict(int)
    for ask in evidence.asks:
        for reply in ask.replies:
            if reply.status == 500 or reply.code == "internal_error":
                bugs[f"a client got {reply.status} {reply.code}"] += 1
        for view in ask.views:
            if view.code == "internal_error":
                bugs["a viewer got internal_error"] += 1
    return [*evidence.crashes, *(f"{text}, {count} times" for text, count in bugs.items())]


def landed(evidence: Evidence) -> list[str]:
    """10: the fault happened."""
    return [] if evidence.landed else ["the fault did not land"]


INVARIANTS: dict[int, Callable[[Evidence], list[str]]] = {
    1: acknowledged_once,
    2: completed_iff_answered,
    3: none_orphaned,
    4: calls_within_attempts,
    5: alternate,
    6: owners_agree,
    7: seen_is_stored,
    8: at_rest,
    9: no_crash,
    10: landed,
}


def violations(evidence: Evidence) -> list[str]:
    """All of them, each with its invariant's number."""
    return [f"({number}) {text}" for number, check in INVARIANTS.items() for text in check(evidence)]
