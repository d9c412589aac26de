"""The breaker by itself, with a clock of its own."""

import logging

import pytest

from app.core.errors import RagUnavailableError
from app.services.circuit_breaker import CircuitBreaker


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(clock)


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        breaker.admit()
        breaker.record_failure()


def admitted(breaker: CircuitBreaker, calls: int) -> int:
    refused = 0
    for _ in range(calls):
        try:
            breaker.admit()
        except RagUnavailableError:
            refused += 1
    return calls - refused


class TestClosed:
    def test_nine_failures_do_not_open_it(self, breaker: CircuitBreaker) -> None:
        fail(breaker, 9)
        assert admitted(breaker, 20) == 20

    def test_only_failures_in_a_row_count(self, breaker: CircuitBreaker) -> None:
        for _ in range(5):
            fail(breaker, 9)
            breaker.record_life()
        assert admitted(breaker, 20) == 20


class TestOpen:
    @pytest.fixture(autouse=True)
    def opened(self, breaker: CircuitBreaker) -> None:
        fail(breaker, 10)

    def test_refuses_and_says_until_when(self, breaker: CircuitBreaker, clock: Clock) -> None:
        clock.now += 0.4
        with pytest.raises(RagUnavailableError, match=r"away; not asked again before 0\.6 s from now"):
            breaker.admit()

    def test_one_of_twenty_at_once_probes(self, breaker: CircuitBreaker, clock: Clock) -> None:
        clock.now += 1
        assert admitted(breaker, 20) == 1

    def test_one_call_a_second_however_long(self, breaker: CircuitBreaker, clock: Clock) -> None:
        probes = 0
        for _ in range(60 * 200):
            clock.now += 1 / 200
            if admitted(breaker, 1):
                probes += 1
                breaker.record_failure()
        assert 58 <= probes <= 60

    def test_probe_that_hangs_does_not_hold_up_the_next(self, breaker: CircuitBreaker, clock: Clock) -> None:
        for _ in range(5):
            clock.now += 1.001
            assert admitted(breaker, 2) == 1

    def test_one_sign_of_life_closes_it(self, breaker: CircuitBreaker, clock: Clock) -> None:
        breaker.record_life()
        assert admitted(breaker, 20) == 20
        fail(breaker, 9)
        assert admitted(breaker, 20) == 20

    def test_refused_calls_do_not_put_the_probe_off(self, breaker: CircuitBreaker, clock: Clock) -> None:
        for _ in range(9):
            clock.now += 0.1
            assert admitted(breaker, 5) == 0
        clock.now += 0.11
        assert admitted(breaker, 5) == 1


class TestLog:
    def test_one_line_when_it_opens_and_one_when_it_closes(
        self, breaker: CircuitBreaker, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        fail(breaker, 10)
        for _ in range(30):
            clock.now += 1.5
            fail(breaker, 1)
        breaker.record_life()
        breaker.record_life()
        assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
            ("WARNING", "The RAG server is away: 10 failures in a row; asked once a second now"),
            ("INFO", "The RAG server is back after 45 s"),
        ]
