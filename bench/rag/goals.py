"""What was aimed at, and whether it was met: one row a goal, of the questions and of the server's costs."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from documents import SEVEN_THOUSAND
from quality import Result
from serving import Costs
from sets import HIDDEN, LARGEST, OFF_TOPIC
from tables import TWICE, of, outcomes, percent, table

from ragserver.evaluation import metrics
from ragserver.evaluation.metrics import Figure, Outcome

Row = list[str]

_RECALL, _CROSS, _MOST_WRONG = 0.69, 0.36, 0.10
_HIDDEN_SETS = (
    ("Debian FAQ, Korean in Korean documents", "debian-ko", "ko → ko", _RECALL),
    ("Python FAQ, English in English documents", "python-en", "en → en", _RECALL),
    ("Debian FAQ, English in English documents", "debian-en", "en → en", _RECALL),
    ("Python FAQ, Korean in English documents", "python-en", "ko → en", _CROSS),
    ("Debian FAQ, Korean in English documents", "debian-en", "ko → en", _CROSS),
    ("Debian FAQ, English in Korean documents", "debian-ko", "en → ko", _CROSS),
)
_LANGUAGES = {"ko": "Korean", "en": "English"}


@dataclass(frozen=True, slots=True)
class _Cost:
    """A goal for what the server costs at 7,000 chunks; seconds, milliseconds or megabytes."""

    name: str
    most: float
    value: float
    unit: str

    def row(self) -> Row:
        goal, measured = f"≤ {self.most:g} {self.unit}", f"{self.value:.3g} {self.unit}"
        return [self.name, goal, measured, "", _met(self.value <= self.most)]


def of_quality(results: Sequence[Result]) -> list[Row]:
    """Return the rows about the questions."""
    return [*_recall(results), *_false_answers(results), *_refused(results)]


def of_serving(costs: Mapping[str, Costs]) -> list[Row]:
    """Return the rows about the server at 7,000 chunks."""
    if not (found := costs.get(SEVEN_THOUSAND)):
        return []
    goals = (
        _Cost("7,000 chunks: ready, with indexing", 3, found.first_start, "s"),
        _Cost("7,000 chunks: ready, index there", 0.6, found.later_start, "s"),
        _Cost("7,000 chunks: an answer over HTTP, p50", 10, found.alone.p50, "ms"),
        _Cost("7,000 chunks: resident when just indexed", 120, found.memory_after_build, "MB"),
        _Cost("7,000 chunks: resident when ready, index there", 120, found.memory_after_start, "MB"),
        _Cost("7,000 chunks: resident after some 2,000 answers", 120, found.memory_after_answers, "MB"),
    )
    return [goal.row() for goal in goals]


def summary(folder: Path, part: str, rows: list[Row]) -> str:
    """Return the table of all goals: these rows, and those of the other part as they were measured last."""
    kept = folder / "goals.json"
    parts: dict[str, list[Row]] = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    parts |= {part: rows} if rows else {}
    folder.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(parts, ensure_ascii=False), encoding="utf-8")
    return table(["", "goal", "measured", "n", ""], [*parts.get("quality", ()), *parts.get("serving", ())])


def _recall(results: Sequence[Result]) -> Iterator[Row]:
    for name, folder, languages, least in _HIDDEN_SETS:
        figure = metrics.recall(outcomes(of(results, folder=folder, sort=HIDDEN, languages=languages)))
        if figure:
            yield _row(f"{name}: recall@5", figure, least=least)


def _false_answers(results: Sequence[Result]) -> Iterator[Row]:
    for language, name in _LANGUAGES.items():
        strange = [one for one in of(results, sort=OFF_TOPIC) if one.asked.languages.startswith(language)]
        if figure := _by_question(outcomes(strange)):
            yield _row(f"{name} off-topic questions that are answered, over all folders", figure, most=_MOST_WRONG)
    if figure := metrics.false_answers(outcomes(of(results, folder=LARGEST, sort=OFF_TOPIC))):
        yield _row("Off-topic questions that are answered, over the largest folder", figure, most=_MOST_WRONG)


def _by_question(strange: Sequence[Outcome]) -> Figure | None:
    """Return the mean of the questions' shares: the same question over five folders is no five questions."""
    answered: defaultdict[str, list[bool]] = defaultdict(list)
    for one in strange:
        answered[one.case.question].append(one.confidence == "high")
    return metrics.mean([statistics.fmean(shares) for shares in answered.values()])


def _refused(results: Sequence[Result]) -> Iterator[Row]:
    once = [one for one in results if one.asked.folder not in TWICE]
    for language, name in _LANGUAGES.items():
        asked = outcomes(one for one in once if one.asked.languages.startswith(language))
        if figure := metrics.refused(asked):
            yield _row(f"{name} questions with an answer that are refused", figure, most=_MOST_WRONG)


def _row(name: str, figure: Figure, *, least: float = 0.0, most: float = 1.0) -> Row:
    goal = f"≥ {100 * least:.0f} %" if least else f"≤ {100 * most:.0f} %"
    return [name, goal, f"{percent(figure)} %", str(figure.count), _met(least <= figure.value <= most)]


def _met(is_met: bool) -> str:  # noqa: FBT001 - the one thing it is asked
    return "met" if is_met else "**not met**"
