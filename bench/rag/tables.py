"""The results of all sets as Markdown tables."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from quality import Result
from sets import FOLDERS, FOLLOWED, OFF_TOPIC

from ragserver.evaluation import metrics
from ragserver.evaluation.metrics import Figure, Outcome

Measure = Callable[[Iterable[Outcome]], Figure | None]

TWICE = ("python-en-all", "debian-mixed")  # are asked what other folders are asked as well
PAIRS = ("ko → ko", "en → en", "ko → en", "en → ko")
_SHORT = ("trigrams, words", "any trigram", "words", "bigrams", "own tokens", "+ glossary", "+ vectors", "+ rerank")
_OWN = 4  # the place of our first engine, after the simpler ones


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], names: int = 1) -> str:
    """Return a Markdown table, numbers at the right; the first columns are names."""
    lines = [titles, ["---"] * names + ["---:"] * (len(titles) - names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(figure: Figure | None) -> str:
    """Return a share and its interval, in per cent."""
    return f"{100 * figure.value:.0f} [{100 * figure.low:.0f}, {100 * figure.high:.0f}]" if figure else "–"


def whole_server(results: Iterable[Result]) -> str:
    """Return how the whole server did on each set of questions that have an answer."""
    titles = ["documents", "questions", "n", "recall@5, %", "MRR@10", "answered right, %", "refused, %"]
    return table(titles, (_row_of_whole(one) for one in results if one.asked.sort != OFF_TOPIC), names=2)


def engines(results: Iterable[Result]) -> str:
    """Return the recall of every engine on each set."""
    titles = ["documents", "questions", "n", *_SHORT, "+ sections = whole"]
    real = [result for result in results if result.asked.sort != OFF_TOPIC]
    recalls = ([_bare(metrics.recall(report.outcomes)) for report in result.reports] for result in real)
    rows = ([*_named(result), *found] for result, found in zip(real, recalls, strict=True))
    return table(titles, rows, names=2)


def off_topic(results: Sequence[Result]) -> str:
    """Return what the whole server makes of off-topic questions, beside how many real ones it refuses."""
    titles = ["documents", "n", "answered, %", "far", "near", "said to be no answer, %", "real n", "refused, %"]
    return table(titles, (_row_of_filter(folder, results) for folder in FOLDERS if of(results, folder=folder)))


def changes(results: Sequence[Result]) -> str:
    """Return what every engine loses to the whole, then what every stage adds to the ones before, by languages."""
    groups = [_once_each(results, languages) for languages in PAIRS]
    names = [f"whole against {name}" for name in _SHORT[:_OWN]]
    pairs = [(at, -1) for at in range(_OWN)]
    names += [*_SHORT[_OWN + 1 :], "+ sections"]
    pairs += list(pairwise(range(_OWN, len(_SHORT) + 1)))
    titles = ["points of recall@5", *(f"{p} (n {_questions(g)})" for p, g in zip(PAIRS, groups, strict=True))]
    rows = ([_change(group, *pair) for group in groups] for pair in pairs)
    return table(titles, ([name, *row] for name, row in zip(names, rows, strict=True)))


def of(results: Iterable[Result], *, folder: str = "", sort: str = "", languages: str = "") -> list[Result]:
    """Return the results of one folder, sort, or pair of languages."""
    return [
        result
        for result in results
        if folder in {"", result.asked.folder}
        and sort in {"", result.asked.sort}
        and languages in {"", result.asked.languages}
    ]


def outcomes(results: Iterable[Result]) -> list[Outcome]:
    """Return what became of all questions of several sets with every stage."""
    return [outcome for result in results for outcome in result.whole]


def _once_each(results: Sequence[Result], languages: str) -> list[Result]:
    """Return the sets of a pair of languages, without those that ask the same questions again."""
    found = of(results, languages=languages)
    return [one for one in found if one.asked.folder not in TWICE and one.asked.sort not in {OFF_TOPIC, FOLLOWED}]


def _named(result: Result) -> list[str]:
    return [result.asked.folder, f"{result.asked.sort}, {result.asked.languages}", str(len(result.asked.cases))]


def _row_of_whole(result: Result) -> list[str]:
    rank = metrics.reciprocal_rank(result.whole)
    shares = (metrics.recall, metrics.answered_right, metrics.refused)
    recall, right, refused = (percent(measure(result.whole)) for measure in shares)
    return [*_named(result), recall, f"{rank.value:.2f}" if rank else "–", right, refused]


def _row_of_filter(folder: str, results: Sequence[Result]) -> list[str]:
    strange = outcomes(of(results, folder=folder, sort=OFF_TOPIC))
    real = [one for one in outcomes(of(results, folder=folder)) if one.is_real]
    kinds = ([one for one in strange if one.case.kind == kind] for kind in ("far", "near"))
    far, near = (_bare(metrics.false_answers(kind)) for kind in kinds)
    answered, low = percent(metrics.false_answers(strange)), percent(metrics.off_topic_low(strange))
    return [folder, str(len(strange)), answered, far, near, low, str(len(real)), percent(metrics.refused(real))]


def _questions(group: Iterable[Result]) -> int:
    return sum(len(result.asked.cases) for result in group)


def _change(group: Sequence[Result], before: int, after: int) -> str:
    old, new = ([outcome for result in group for outcome in result.reports[at].outcomes] for at in (before, after))
    figure = metrics.change(old, new)
    if not figure:
        return "–"
    value, low, high = map(_points, (figure.value, figure.low, figure.high))
    return f"{value} [{low}, {high}]"


def _points(share: float) -> str:
    return f"{round(100 * share):+d}".replace("-", "−")


def _bare(figure: Figure | None) -> str:
    return f"{100 * figure.value:.0f}" if figure else "–"
