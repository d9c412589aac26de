"""Engines asked the same questions, and how they did: a Markdown table for people, JSON for programs."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from ragserver.evaluation import metrics
from ragserver.evaluation.engine import Engine, Found
from ragserver.evaluation.metrics import Figure, Outcome
from ragserver.evaluation.questions import Case

_NONE = "–"


@dataclass(frozen=True, slots=True)
class Report:
    """How an engine did, question by question."""

    name: str
    outcomes: Sequence[Outcome]


@dataclass(frozen=True, slots=True)
class _Column:
    """A figure: its title in the table, its name in JSON, and how it is written."""

    title: str
    key: str
    measure: Callable[[Sequence[Outcome]], Figure | None]
    write: Callable[[float], str]


def _percent(value: float) -> str:
    return f"{100 * value:.0f}"


def _decimal(value: float) -> str:
    return f"{value:.2f}"


def _points(value: float) -> str:
    return f"{round(100 * value):+d}".replace("-", "−")


_COLUMNS = (
    _Column("recall@5, %", "recall_at_5", metrics.recall, _percent),
    _Column("MRR@10", "mrr_at_10", metrics.reciprocal_rank, _decimal),
    _Column("answered right, %", "answered_right", metrics.answered_right, _percent),
    _Column("refused, %", "refused", metrics.refused, _percent),
    _Column("false answers, %", "false_answers", metrics.false_answers, _percent),
    _Column("off topic but `low`, %", "off_topic_low", metrics.off_topic_low, _percent),
)


async def evaluate(engine: Engine, cases: Iterable[Case], name: str = "this server") -> Report:
    """Ask an engine every question, one after the other, and note what it finds."""
    outcomes = []
    for case in cases:
        start = time.perf_counter()
        found = await engine.find(case.question, case.history)
        took = time.perf_counter() - start
        outcomes.append(Outcome(case, _rank(case, found), found.confidence, 1000 * took, tuple(found.degraded)))
    return Report(name, outcomes)


async def evaluate_all(engines: Iterable[tuple[str, Engine]], cases: Sequence[Case]) -> list[Report]:
    """Ask every engine the same questions; the last one is what the others are compared with."""
    return [await evaluate(engine, cases, name) for name, engine in engines]


def render(reports: Sequence[Report]) -> str:
    """Return a Markdown table with a row for each engine; brackets hold 95 % intervals, n is the number of questions.

    With more than one engine, a column tells what each loses or gains in recall@5 against the last. What there are no
    questions for has no column. Below it stands which stages went without their remote model, and how often.
    """
    titles, cells = [], []
    for column in _COLUMNS:
        if any(figures := [column.measure(report.outcomes) for report in reports]):
            titles.append(_title(column.title, figures))
            cells.append(_cells(column, figures))
    if len(reports) > 1 and (changes := _changes(reports)):
        titles.insert(1, "points to the last")
        cells.insert(1, changes)
    for share in (0.5, 0.95):
        titles.append(f"p{100 * share:.0f}, ms")
        cells.append([f"{metrics.milliseconds(report.outcomes, share):.1f}" for report in reports])
    names = [report.name for report in reports]
    rows = [["engine", *titles], ["---"] * (len(titles) + 1), *map(list, zip(names, *cells, strict=True))]
    return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), *_shortfalls(reports)])


def as_json(reports: Sequence[Report]) -> str:
    """Return what `render` tells and what became of each question, as JSON."""
    return json.dumps([_plain(report, reports) for report in reports], ensure_ascii=False, indent=2)


def _shortfalls(reports: Iterable[Report]) -> Iterator[str]:
    for report in reports:
        missed = Counter(stage for outcome in report.outcomes for stage in outcome.degraded)
        for stage, count in sorted(missed.items()):
            asked = f"{count:,} of {len(report.outcomes):,} questions"
            yield f"\n{report.name}: the remote model of {stage} was not there for {asked}."


def _rank(case: Case, found: Found) -> int | None:
    return next((place for place, hit in enumerate(found.hits, start=1) if case.is_right(hit.chunk)), None)


def _changes(reports: Sequence[Report]) -> list[str]:
    changes = [_change(report, reports) for report in reports[:-1]]
    return [*(_cell(change, _points) for change in changes), ""] if any(changes) else []


def _change(report: Report, reports: Sequence[Report]) -> Figure | None:
    return metrics.change(reports[-1].outcomes, report.outcomes)


def _title(title: str, figures: Sequence[Figure | None]) -> str:
    counts = _counts(figures)
    return f"{title} (n {counts.pop():,})" if len(counts) == 1 else title


def _cells(column: _Column, figures: Sequence[Figure | None]) -> list[str]:
    """Write the figures of a column, each with its number of questions unless the title has it for all."""
    differ = len(_counts(figures)) > 1
    return [_cell(figure, column.write) + (f" n {figure.count:,}" if figure and differ else "") for figure in figures]


def _counts(figures: Iterable[Figure | None]) -> set[int]:
    return {figure.count for figure in figures if figure}


def _cell(figure: Figure | None, write: Callable[[float], str]) -> str:
    return f"{write(figure.value)} [{write(figure.low)}, {write(figure.high)}]" if figure else _NONE


def _plain(report: Report, reports: Sequence[Report]) -> dict[str, object]:
    figures = {column.key: column.measure(report.outcomes) for column in _COLUMNS}
    if report is not reports[-1]:
        figures["recall_at_5_to_the_last"] = _change(report, reports)
    return {
        "engine": report.name,
        **{key: asdict(figure) if figure else None for key, figure in figures.items()},
        "p50_ms": round(metrics.milliseconds(report.outcomes, 0.5), 2),
        "p95_ms": round(metrics.milliseconds(report.outcomes, 0.95), 2),
        "questions": [_plain_outcome(outcome) for outcome in report.outcomes],
    }


def _plain_outcome(outcome: Outcome) -> dict[str, object]:
    return {
        "line": outcome.case.line,
        "question": outcome.case.question,
        "kind": outcome.case.kind,
        "off_topic": not outcome.is_real,
        "rank": outcome.rank,
        "confidence": outcome.confidence,
        "degraded": outcome.degraded,
        "ms": round(outcome.milliseconds, 2),
    }
