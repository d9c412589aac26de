"""What an evaluation counts, on engines that find what a case says."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from ragserver.chunks import Chunk
from ragserver.contract import Confidence, Utterance
from ragserver.evaluation import metrics
from ragserver.evaluation.engine import Engine, ladder
from ragserver.evaluation.metrics import Outcome
from ragserver.evaluation.questions import Case, Gold
from ragserver.evaluation.report import as_json, evaluate, evaluate_all, render
from ragserver.evaluation.variants import Place

GOLD = Gold(document="bread.md", heading="Bread > Yeast")
RIGHT = Chunk("1", "bread.md", "Bread > Yeast > Dry", "Dry yeast keeps for months.", "en")
WRONG = Chunk("2", "bread.md", "Bread > Yeast and salt", "Not too much of it.", "en")


@dataclass(frozen=True)
class Said:
    hits: Sequence[Place]
    confidence: Confidence
    degraded: Sequence[str] = ()


@dataclass(frozen=True)
class Scripted:
    """An engine that finds for each question what it was told to."""

    answers: Mapping[str, Said]

    async def find(self, text: str, history: Sequence[Utterance] = ()) -> Said:
        return self.answers[text + "".join(one.content for one in history)]


def found(confidence: Confidence, *chunks: Chunk) -> Said:
    return Said([Place(chunk) for chunk in chunks], confidence)


def case(question: str, *gold: Gold) -> Case:
    return Case(1, question, gold)


def outcome(*gold: Gold, rank: int | None = None, confidence: Confidence = "high", ms: float = 1.0) -> Outcome:
    return Outcome(case("?", *gold), rank, confidence, ms)


FIRST = {
    "right": found("high", RIGHT, WRONG),
    "sixth": found("high", *[WRONG] * 5, RIGHT),
    "nowhere": found("none", WRONG),
    "weather": found("high", WRONG),
    "football": found("low", WRONG),
    "stocks": found("none"),
}
CASES = [case(word, GOLD) for word in ("right", "sixth", "nowhere")]
CASES += [case(word) for word in ("weather", "football", "stocks")]


class TestMetrics:
    async def test_every_figure_of_six_questions_is_what_a_person_would_count(self) -> None:
        outcomes = (await evaluate(Scripted(FIRST), CASES)).outcomes

        assert [one.rank for one in outcomes] == [1, 6, None, None, None, None]
        figures = {
            measure: measure(outcomes)
            for measure in (
                metrics.recall,
                metrics.reciprocal_rank,
                metrics.answered_right,
                metrics.refused,
                metrics.false_answers,
                metrics.off_topic_low,
            )
        }
        assert [(round(figure.value, 3), figure.count) for figure in figures.values() if figure] == [
            (0.333, 3),
            (0.389, 3),
            (0.5, 2),
            (0.333, 3),
            (0.333, 3),
            (0.333, 3),
        ]

    def test_the_eleventh_place_counts_for_nothing(self) -> None:
        assert metrics.reciprocal_rank([outcome(GOLD, rank=11), outcome(GOLD, rank=10)]) == pytest.approx(
            metrics.mean([0.0, 0.1])
        )

    def test_wilson_s_interval_is_the_one_of_the_books(self) -> None:
        some = metrics.rate([True] * 8 + [False] * 2)
        none = metrics.rate([False] * 20)

        assert some
        assert none
        assert (round(some.low, 3), round(some.high, 3)) == (0.490, 0.943)
        assert (none.low, round(none.high, 3)) == (0.0, 0.161)

    def test_the_bootstrap_is_about_as_wide_as_theory_has_it_and_the_same_every_time(self) -> None:
        values = [0.0, 1.0] * 50
        figure = metrics.mean(values)

        assert figure
        assert (figure.low, figure.high) == pytest.approx((0.40, 0.60), abs=0.02)
        assert metrics.mean(values) == figure

    def test_a_change_is_told_question_by_question(self) -> None:
        before = [outcome(GOLD, rank=rank) for rank in (1, 9, 9, None)]
        after = [outcome(GOLD, rank=rank) for rank in (1, 1, 1, 1)]
        figure = metrics.change([*before, outcome()], [*after, outcome()])

        assert figure
        assert (figure.value, figure.count) == (0.75, 4)
        assert figure.low > 0

    def test_percentiles_are_times_that_were_measured(self) -> None:
        outcomes = [outcome(ms=float(ms)) for ms in range(20, 0, -1)]

        assert metrics.milliseconds(outcomes, 0.5) == 10
        assert metrics.milliseconds(outcomes, 0.95) == 19

    def test_nothing_to_count_is_no_figure(self) -> None:
        assert metrics.false_answers([outcome(GOLD)]) is None
        assert metrics.reciprocal_rank([outcome()]) is None


class TestGold:
    def test_a_section_under_the_right_one_is_right(self) -> None:
        assert GOLD.holds(RIGHT)
        assert not GOLD.holds(WRONG)
        assert Gold(document="bread.md").holds(WRONG)
        assert not Gold(document="rolls.md").holds(RIGHT)

    async def test_any_of_several_sections_will_do(self) -> None:
        either = [case("right", Gold(document="rolls.md"), GOLD)]

        assert (await evaluate(Scripted(FIRST), either)).outcomes[0].rank == 1

    async def test_the_engine_is_told_what_was_said_before(self) -> None:
        before = (Utterance(role="user", content=" of flour?"),)
        followed = [Case(1, "And rye", (GOLD,), before)]
        engine = Scripted({"And rye of flour?": found("high", RIGHT)})

        assert (await evaluate(engine, followed)).outcomes[0].rank == 1


class TestReport:
    async def test_the_table_has_a_row_an_engine_and_says_of_how_many_questions(self) -> None:
        worse = Scripted(dict.fromkeys(FIRST, found("high", WRONG)))
        table = render(await evaluate_all([("plain", worse), ("whole", Scripted(FIRST))], CASES)).splitlines()

        assert len({line.count("|") for line in table}) == 1
        assert [line.split(" | ")[0] for line in table] == ["| engine", "| ---", "| plain", "| whole"]
        assert "recall@5, % (n 3)" in table[0]
        assert "false answers, % (n 3)" in table[0]
        assert "| answered right, % |" in table[0]
        assert "| 0 [0, 56] |" in table[2]
        assert "| −33 [−100, +0] |" in table[2]
        assert "| 100 [44, 100] |" in table[2]
        assert "| 33 [6, 79] |" in table[3]
        assert "| 50 [9, 91] n 2 |" in table[3]

    async def test_one_engine_is_compared_with_nothing(self) -> None:
        table = render([await evaluate(Scripted(FIRST), CASES)])

        assert "points to the last" not in table

    async def test_what_nothing_was_asked_for_has_no_column(self) -> None:
        answerable = render([await evaluate(Scripted(FIRST), CASES[:3])] * 2)
        off_topic = render([await evaluate(Scripted(FIRST), CASES[3:])] * 2)

        assert "recall" in answerable
        assert "false answers" not in answerable
        assert "false answers" in off_topic
        assert "recall" not in off_topic
        assert "points" not in off_topic

    async def test_a_model_that_was_away_is_told_below_the_table(self) -> None:
        away = Scripted({"right": Said([Place(RIGHT)], "high", ["rerank"]), "sixth": found("high", WRONG)})
        table = render([await evaluate(away, CASES[:2])])

        assert table.endswith("\n\nthis server: the remote model of rerank was not there for 1 of 2 questions.")

    async def test_json_has_the_figures_and_every_question(self) -> None:
        reports = await evaluate_all([("plain", Scripted(FIRST)), ("whole", Scripted(FIRST))], CASES)
        plain, whole = json.loads(as_json(reports))

        assert whole["engine"] == "whole"
        assert whole["answered_right"]["value"] == 0.5
        assert whole["answered_right"]["count"] == 2
        assert plain["recall_at_5_to_the_last"] == {"value": 0, "low": 0, "high": 0, "count": 3}
        assert [one["rank"] for one in whole["questions"]] == [1, 6, None, None, None, None]
        assert [one["off_topic"] for one in whole["questions"]] == [False] * 3 + [True] * 3


class TestLadder:
    def test_each_rung_has_one_stage_more(self) -> None:
        asked: list[frozenset[str]] = []

        def build(stages: frozenset[str]) -> Engine:
            asked.append(stages)
            return Scripted({})

        names = [name for name, _ in ladder(build)]

        assert asked[0] == frozenset()
        assert asked[-1] == {"glossary", "vectors", "rerank", "sections"}
        assert [len(stages) for stages in asked] == [0, 1, 2, 3, 4]
        assert names == ["own tokens", "+ glossary", "+ vectors (RRF)", "+ rerank A", "+ rerank B = whole"]
