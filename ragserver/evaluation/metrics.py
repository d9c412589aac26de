"""What questions and the passages found for them say of an engine, with 95 % intervals.

The interval of a rate is Wilson's, that of a mean or a difference is the percentile bootstrap over questions. Both are
about the questions: other questions of the same kind would give a figure in there; other kinds of questions may not.
"""

import math
import random
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ragserver.contract import Confidence
from ragserver.evaluation.questions import Case

_FIRST = 5
RANKED = 10  # an engine that gives fewer passages is measured as if a right one were not in the rest
_Z = statistics.NormalDist().inv_cdf(0.975)
_RESAMPLES = 2000
_SEED = 20
_TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a question: where the first right passage stands (1 is the best), how sure, and how long.

    `degraded` names the stages that had to do without their remote model.
    """

    case: Case
    rank: int | None
    confidence: Confidence
    milliseconds: float
    degraded: Sequence[str] = ()

    @property
    def is_real(self) -> bool:
        """Whether the documents answer the question."""
        return bool(self.case.gold)


@dataclass(frozen=True, slots=True)
class Figure:
    """A value, its interval, and of how many questions it is."""

    value: float
    low: float
    high: float
    count: int


def recall(outcomes: Iterable[Outcome]) -> Figure | None:
    """Share of the real questions with a right section among the first five passages, before the filter."""
    return rate(_is_found(one) for one in outcomes if one.is_real)


def reciprocal_rank(outcomes: Iterable[Outcome]) -> Figure | None:
    """MRR@10: the mean of 1/rank of the first right passage of the real questions; 0 beyond the tenth."""
    return mean([_reciprocal(one.rank) for one in outcomes if one.is_real])


def answered_right(outcomes: Iterable[Outcome]) -> Figure | None:
    """Share of the real questions answered with confidence `high` whose first source is right."""
    return rate(one.rank == 1 for one in outcomes if one.is_real and one.confidence == "high")


def refused(outcomes: Iterable[Outcome]) -> Figure | None:
    """Share of the real questions that get no answer: confidence `none`."""
    return rate(one.confidence == "none" for one in outcomes if one.is_real)


def false_answers(outcomes: Iterable[Outcome]) -> Figure | None:
    """Share of the off-topic questions that are answered all the same: confidence `high`."""
    return rate(one.confidence == "high" for one in outcomes if not one.is_real)


def off_topic_low(outcomes: Iterable[Outcome]) -> Figure | None:
    """Share of the off-topic questions that get the closest passages, said to be no answer: confidence `low`."""
    return rate(one.confidence == "low" for one in outcomes if not one.is_real)


def change(before: Iterable[Outcome], after: Iterable[Outcome]) -> Figure | None:
    """Change in recall@5 between two engines on the same questions; paired, so it tells more than two intervals do."""
    pairs = zip(before, after, strict=True)
    return mean([_is_found(new) - _is_found(old) for old, new in pairs if old.is_real])


def milliseconds(outcomes: Iterable[Outcome], share: float) -> float:
    """Time that this share of the questions did not exceed: 0.5 for the median."""
    return percentile([one.milliseconds for one in outcomes], share)


def rate(answers: Iterable[bool]) -> Figure | None:
    """Share of what is true, with Wilson's interval; None of nothing."""
    counted = list(answers)
    if not (n := len(counted)):
        return None
    share = sum(counted) / n
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return Figure(share, max(centre - half, 0.0), min(centre + half, 1.0), n)


def mean(values: Sequence[float]) -> Figure | None:
    """Mean with the interval of 2,000 resamples, always the same ones; None of nothing."""
    if not values:
        return None
    chance = random.Random(_SEED)  # noqa: S311 - nothing secret, and the same every time
    means = [statistics.fmean(chance.choices(values, k=len(values))) for _ in range(_RESAMPLES)]
    return Figure(statistics.fmean(values), percentile(means, _TAIL), percentile(means, 1 - _TAIL), len(values))


def percentile(values: Sequence[float], share: float) -> float:
    """Smallest of the values that this share of them does not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


def _is_found(one: Outcome) -> bool:
    return one.rank is not None and one.rank <= _FIRST


def _reciprocal(rank: int | None) -> float:
    return 1 / rank if rank is not None and rank <= RANKED else 0.0
