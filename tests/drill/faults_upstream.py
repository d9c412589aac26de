"""Faults of the upstream: silent, broken, slow beyond use, out of protocol, away."""

import asyncio
import statistics
import time
from collections.abc import Sequence

from tests.drill.asks import Ask
from tests.drill.clients import background
from tests.drill.faults import fault, look
from tests.drill.results import Played
from tests.drill.rig import RAG_SECONDS, Rig
from tests.drill.script import SSE_HEAD

IDLE_SECONDS = 20
BROKEN = {"rag_error", "rag_bad_answer", "rag_refused"}
OUTAGE_SECONDS_A_ROUND = 3
QUESTIONS_A_SECOND = 20


async def ask_both_ways(rig: Rig, asks: Sequence[Ask]) -> list[tuple[Ask, str | None, float]]:
    """Every other one waits, the others watch; gives each ask's end, a code or "finish", and its seconds."""

    async def ask_one(number: int, ask: Ask) -> tuple[Ask, str | None, float]:
        started = time.monotonic()
        if number % 2:
            view = await rig.clients.stream(ask)
            return ask, view.code or view.end, time.monotonic() - started
        reply = await rig.clients.post(ask)
        return ask, reply.code or ("finish" if reply.status == 200 else None), time.monotonic() - started

    return await asyncio.gather(*(ask_one(number, ask) for number, ask in enumerate(asks)))


@fault("F08", "the upstream accepts and never answers, or falls silent midway", rounds=20)
async def silent(rig: Rig, rounds: int) -> Played:
    at_start = await rig.asks(rounds, "ttft=600", name="F08")
    midway = await rig.asks(rounds, "fault=hang@3", name="F08")
    played = Played([*at_start, *midway], limit=RAG_SECONDS + 2)
    ends = await ask_both_ways(rig, played.asks)
    for number, (ask, end, seconds) in enumerate(ends):
        is_idle = number >= len(at_start) and number % 2  # only a stream can fall silent midway
        limit = IDLE_SECONDS if is_idle else RAG_SECONDS
        if number < len(at_start) or is_idle:
            played.landed += 1
            played.expect(end == "rag_timeout", f"{ask.canary}: ended with {end}")
            played.expect(abs(seconds - limit) <= 1, f"{ask.canary}: {seconds:.1f} s, the limit is {limit} s")
            played.recoveries.append(seconds)
    await look(rig, played)
    return played


@fault("F09", "the upstream resets before, within and after its headers, at a random byte", rounds=20)
async def resets(rig: Rig, rounds: int) -> Played:
    played = Played()
    for _ in range(rounds):
        places = (0, rig.random.randrange(1, 60), len(SSE_HEAD) + rig.random.randrange(2, 8))
        for place in places:
            played.asks += await rig.asks(2, f"gap=0.02 fault=reset@{place}", name="F09")
    ends = await ask_both_ways(rig, played.asks)
    for ask, end, _ in ends:
        played.expect(end == "rag_error", f"{ask.canary} {ask.script}: ended with {end}")
    played.landed = sum(rig.journal.calls(ask.canary)[0].end == "reset" for ask in played.asks)
    await look(rig, played)
    return played


@fault("F16", "the upstream drips one byte in five seconds, for ever", rounds=20)
async def drips(rig: Rig, rounds: int) -> Played:
    before = await _latency(rig)
    dripping = await rig.asks(rounds, "fault=drip", name="F16")
    played = Played(dripping, limit=RAG_SECONDS + 2)
    asking = asyncio.create_task(ask_both_ways(rig, dripping))
    await asyncio.sleep(2)
    beside = await _latency(rig)
    for ask, end, seconds in await asking:
        played.expect(end == "rag_timeout", f"{ask.canary}: ended with {end}")
        played.expect(abs(seconds - RAG_SECONDS) <= 1, f"{ask.canary}: {seconds:.1f} s, not {RAG_SECONDS} s")
        played.recoveries.append(seconds)
        played.landed += 1
    played.figures["others' p99 before and beside, ms"] = f"{before:.0f}, {beside:.0f}"
    return played


async def _latency(rig: Rig, number: int = 100) -> float:
    """The 99th percentile of a chat's time, in milliseconds, one after the other."""
    took = [(await rig.clients.post(ask)).seconds for ask in await rig.asks(number, name="other")]
    return 1000 * statistics.quantiles(took, n=100)[98]


STREAMS: dict[str, set[str]] = {
    "nodone": BROKEN,
    "doubledone": {"finish"},
    "afterdone": {"finish"},
    "error@4": BROKEN,
    "keepalives@4": {"rag_timeout"},
    "crlf": {"finish"},
    "cr": {"finish"},
    "split": {"finish"},
}


@fault("F17", "the upstream's stream is out of protocol, in eight ways", rounds=20)
async def odd_streams(rig: Rig, rounds: int) -> Played:
    played = Played(limit=RAG_SECONDS + 2)
    for name in STREAMS:
        played.asks += await rig.asks(rounds, f"fault={name}", name="F17")

    async def watch(ask: Ask) -> None:
        started = time.monotonic()
        view = await rig.clients.stream(ask)
        expected = STREAMS[ask.script.removeprefix("fault=")]
        end = view.code or view.end
        played.expect(end in expected, f"{ask.canary} {ask.script}: ended with {end}")
        played.recoveries.append(time.monotonic() - started)
        played.landed += 1

    await asyncio.gather(*map(watch, played.asks))
    await look(rig, played)
    return played


@fault("F18", "the upstream is away, first its port and then behind a 503, under load", rounds=20)
async def outage(rig: Rig, rounds: int) -> Played:
    played = Played(limit=5)
    seconds = rounds * OUTAGE_SECONDS_A_ROUND / 2
    for hop in rig.upstream_hops:
        hop.refuse()
    await _load(rig, played, seconds)
    for hop in rig.upstream_hops:
        await hop.open()
    played.recoveries.append(await _until_answered(rig))

    rig.toggle_upstream()
    started, calls = time.time(), rig.journal.total
    await _load(rig, played, seconds)
    asked = rig.journal.total - calls
    opened = [call.at for call in rig.journal.since(started)][30:]  # ten failures open each replica's breaker
    rig.toggle_upstream()
    played.recoveries.append(await _until_answered(rig))
    rate = len(opened) / len(rig.replicas) / max(time.time() - started, 1)
    played.landed = asked
    played.figures["calls during the outage, a second and replica"] = round(rate, 2)
    played.expect(rate <= 1, f"{rate:.1f} calls a second and replica while the upstream was away")
    return played


async def _load(rig: Rig, played: Played, seconds: float) -> None:
    """Questions at a steady rate; each must fail soon, and say why."""
    asks = await rig.asks(int(seconds * QUESTIONS_A_SECOND), name="F18")
    played.asks += asks

    async def send(number: int) -> None:
        await asyncio.sleep(number / QUESTIONS_A_SECOND)
        reply = await rig.clients.post(asks[number])
        expected = {"rag_unavailable", "rag_error"}
        played.expect(reply.code in expected, f"{asks[number].canary}: {reply.status} {reply.code}")
        played.expect(reply.seconds < 10, f"{asks[number].canary}: failed only after {reply.seconds:.1f} s")

    async with background(*(send(number) for number in range(len(asks)))):
        pass


async def _until_answered(rig: Rig) -> float:
    """Seconds until twelve questions in a row are answered, four a replica."""
    started, good, last = time.monotonic(), 0, 0.0
    while good < 12 and time.monotonic() - started < 30:
        (ask,) = await rig.asks(1, name="F18-after")
        if (await rig.clients.post(ask)).status == 200:
            good += 1
        else:
            good, last = 0, time.monotonic() - started
        await asyncio.sleep(0.05)
    return last
