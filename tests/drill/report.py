"""docs/reliability.md: what was played, where, and what it gave."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime

import psutil  # type: ignore[import-untyped] # it ships no types

from tests.drill.results import Result

INTRODUCTION = """\
# Reliability

Written by `make drill`, which kills, stops and cuts real processes and asks ten questions after each fault: is
every acknowledged question there once, has every completed turn exactly the upstream's answer, is nothing left
running, was the upstream asked no oftener than there were attempts, do questions and answers alternate, does every
row belong to its session's user, is the text that was seen the text that is stored, is nothing held at rest, is there
no 500 and no traceback, and did the fault land. `tests/test_drill.py` plays it in short, and shows each question
answered wrongly.

Three replicas of the service (`ragchat serve`, 5 database connections each) behind a round-robin balancer, one
PostgreSQL, a RAG server that plays faults and keeps a journal, and a TCP proxy on every hop to break it.
"""
TABLE = """
| | fault | survived | lost | doubled | recovery p100 | landed | more |
|---|---|---|---|---|---|---|---|"""
READING = """
*Survived*: the question is stored once and ended as it must; where its client sent again, it has its one answer.
Every tenth conversation goes on with one more question, which counts.
*Recovery*: seconds from the cause until all was well, the longest of all. *Landed*: how often the fault happened.
"""
ELSEWHERE = """
## How to read some of them

- The RAG server's time limit is set to 40 s, in F05 to 300 s with a drain of 20 s; leases and sweeps are as shipped.
- F18 asks 20 questions a second, F19 leaves and F20 stops 1,000 turns as fast as they can be asked: the same cores
  play the service, its database, its upstream and all clients.
- F21's viewers use small segments: with loopback's own, the kernel takes a whole answer for somebody who reads nothing.
- F31 kills one of PostgreSQL's processes, which ends all connections and begins crash recovery.
- F44 shifts the clock of one replica with libfaketime while turns run; monotonic time goes on as it does on a machine.

## Not in the drill

| faults | where, or why not |
|---|---|
| F07, F10-F15: a RAG server that is unreachable, redirects, or answers nonsense | tests, one request at a time |
| F32: PostgreSQL refuses | tests show 503 for each kind of refusal; not played against turns |
| F36: disk full · F40, F41: few descriptors, little memory | need limits of the machine that a checkout must not set |
| F37, F38: Redis | there is no Redis in the service |
| F39: partitions but of one replica and the database | F18 for the RAG server; no Redis |
| F45: migration under load · F46: pgbouncer · F47: password storm · F48: all at random | not yet |
"""


def report(results: Sequence[Result], seed: int, seconds: float) -> str:
    """The page."""
    played = [result for result in results if not result.not_run]
    parts = [INTRODUCTION, _circumstances(seed, seconds), TABLE]
    parts += [_row(result) for result in played]
    parts += [READING, *_problems(played)]
    skipped = [f"- {result.id} {result.title}: {result.not_run}" for result in results if result.not_run]
    if skipped:
        parts += ["\n## Not run here\n", *skipped]
    return "\n".join([*parts, ELSEWHERE])


def _circumstances(seed: int, seconds: float) -> str:
    memory = psutil.virtual_memory().total / 2**30
    machine = f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GB, Python {platform.python_version()}"
    return f"{datetime.now(UTC):%Y-%m-%d}, seed {seed}, {seconds / 60:.0f} minutes, on {machine}."


def _row(result: Result) -> str:
    recovery = "" if result.recovery is None else f"{result.recovery:.1f} s"
    more = "; ".join(f"{name}: {_plain(value)}" for name, value in result.figures.items())
    survived = (
        f"{result.survived:,} of {result.total:,}" if result.is_good else f"**{result.survived:,} of {result.total:,}**"
    )
    return (
        f"| {result.id} | {result.title} | {survived} | {result.lost} | {result.doubled} | {recovery} "
        f"| {result.landed:,} | {more} |"
    )


def _plain(value: object) -> str:
    if isinstance(value, dict):
        if not value:
            return "none"
        return ", ".join(f"{name} {number}" for name, number in value.items())
    return str(value)


def _problems(results: Sequence[Result]) -> list[str]:
    """What went wrong, if anything did."""
    lines = [f"- {result.id}: {text}" for result in results for text in result.violations[:5]]
    return ["\n## What went wrong\n", *lines] if lines else []
