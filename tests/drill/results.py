"""What a fault did: its plays are told by a `Played`, and judged into a `Result`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from tests.drill.asks import Ask
from tests.drill.database import HistoryRow
from tests.drill.invariants import Evidence, violations


@dataclass
class Played:
    """What a fault's function gives back."""

    asks: list[Ask] = field(default_factory=list)
    landed: int = 0
    """How often the fault really happened."""
    recoveries: list[float] = field(default_factory=list)
    """Seconds from the cause until all was well again, one for each time."""
    limit: float = 20
    """What no recovery may exceed."""
    figures: dict[str, object] = field(default_factory=dict)
    """Further figures, with their names."""
    problems: list[str] = field(default_factory=list)
    """What was expected and did not happen, beyond the invariants."""
    not_run: str = ""
    """Why it could not be played here, if it could not."""
    evidence: Evidence | None = None
    """What is to be judged, where that is not the rig's own database."""
    settles: bool = True
    """Whether each question must have its answer in the end."""

    def expect(self, condition: object, problem: str) -> None:
        """Note a problem unless the condition holds."""
        if not condition:
            self.problems.append(problem)


@dataclass(frozen=True)
class Result:
    """One line of the report."""

    id: str
    title: str
    total: int
    survived: int
    lost: int
    doubled: int
    landed: int
    recovery: float | None
    seconds: float
    figures: dict[str, object]
    violations: list[str]
    not_run: str = ""

    @property
    def is_good(self) -> bool:
        return not self.violations and self.survived == self.total

    def __str__(self) -> str:
        if self.not_run:
            return f"{self.id} {self.title}: not run: {self.not_run}"
        recovery = "" if self.recovery is None else f", recovery p100 {self.recovery:.1f} s"
        counts = f"{self.survived:,} of {self.total:,} survived, {self.lost} lost, {self.doubled} doubled"
        more = "".join(f", {name} {value}" for name, value in self.figures.items())
        verdict = "" if self.is_good else f"  ** {len(self.violations)} violations **"
        return f"{self.id} {self.title}: {counts}{recovery}, landed {self.landed}{more} ({self.seconds:.0f} s){verdict}"


def judge(fault_id: str, title: str, played: Played, evidence: Evidence, seconds: float) -> Result:
    """The result of what was played."""
    lost = [ask for ask in played.asks if is_lost(ask, evidence, must_settle=played.settles)]
    doubled = [ask for ask in played.asks if is_doubled(ask, evidence)]
    hurt = {ask.canary for ask in (*lost, *doubled)}
    recovery = max(played.recoveries, default=None)
    problems = violations(evidence) + played.problems
    problems += [f"lost: {ask.canary} {ask.statuses}" for ask in lost] + [f"doubled: {ask.canary}" for ask in doubled]
    if recovery is not None and recovery > played.limit:
        problems.append(f"recovery took {recovery:.1f} s, allowed are {played.limit:g} s")
    return Result(
        fault_id,
        title,
        total=len(played.asks),
        survived=len(played.asks) - len(hurt),
        lost=len(lost),
        doubled=len(doubled),
        landed=played.landed,
        recovery=recovery,
        seconds=seconds,
        figures=played.figures,
        violations=problems,
    )


def is_lost(ask: Ask, evidence: Evidence, *, must_settle: bool) -> bool:
    """Whether an accepted question is gone, has no end, or has no answer where there must be one."""
    if ask.is_deleted:
        return False
    turns = evidence.turns(ask)
    if must_settle:
        return not any(turn.status == "completed" for turn in turns)
    return ask.is_acknowledged and not (turns and all(turn.status != "running" for turn in turns))


def is_doubled(ask: Ask, evidence: Evidence) -> bool:
    """Whether a question is stored twice, or was answered oftener than it was tried."""
    turns = evidence.turns(ask)
    calls = len(evidence.journal.calls(ask.canary))
    return len(evidence.questions(ask)) > 1 or len(turns) > 1 or (bool(turns) and calls > turns[0].attempt)


def seconds_to_end(history: Sequence[HistoryRow], cause: float) -> list[float]:
    """For each attempt that ran at the moment of the cause: after how long it ended."""
    found = []
    for _, rows in groupby(sorted(history, key=lambda row: (row.turn_id, row.at)), key=lambda row: row.turn_id):
        found += [
            end.at - cause
            for begin, end in pairwise(rows)
            if begin.status == "running" and begin.at <= cause < end.at and end.attempt == begin.attempt
        ]
    return found
