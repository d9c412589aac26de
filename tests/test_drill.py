"""The drill in short: real replicas, real faults, and the proof that each invariant can go red."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.drill.asks import Ask
from tests.drill.catalogue import FAULTS
from tests.drill.faults import run_fault
from tests.drill.invariants import INVARIANTS, Evidence, landed
from tests.drill.oracles import (
    CORRUPTIONS,
    ORACLES,
    Oracle,
    Play,
    abandoned,
    broken_command,
    corrupt,
    overtaken,
    red,
    stopped,
)
from tests.drill.rig import Rig, open_rig
from tests.postgres import create_database

SEED = 20251201
# Each takes seconds here; `make drill` plays them in earnest.
SHORT = {"F01": 1, "F19": 2, "F20": 2, "F22": 1, "F24": 1}


@pytest.fixture(scope="module")
async def rig(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """Three replicas behind a balancer, on a database of their own."""
    url = await create_database(postgres, "drill")
    async with open_rig(url, tmp_path_factory.mktemp("drill"), seed=SEED) as rig:
        yield rig


@pytest.fixture(scope="module")
async def broken(rig: Rig) -> dict[str, dict[int, list[str]]]:
    """What the invariants find in each broken build."""

    async def play(oracle: Oracle) -> tuple[str, dict[int, list[str]]]:
        return oracle.broken, await red(rig, oracle.play, broken_command(oracle.broken))

    alone = [oracle for oracle in ORACLES if oracle.play is abandoned]
    found = await asyncio.gather(*(play(oracle) for oracle in ORACLES if oracle not in alone))
    return dict([*found, *[await play(oracle) for oracle in alone]])


@pytest.fixture
async def answered(rig: Rig) -> Ask:
    """A question that was watched to its end."""
    (ask,) = await rig.asks(1, name="oracle")
    await rig.clients.stream(ask)
    return ask


class TestFaults:
    @pytest.mark.parametrize("name", SHORT)
    async def test_nothing_is_lost_and_nothing_doubled(self, rig: Rig, name: str) -> None:
        result = await run_fault(rig, FAULTS[name], SHORT[name])
        assert result.violations == []
        assert (result.survived, result.lost, result.doubled) == (result.total, 0, 0)
        assert result.landed > 0


class TestInvariants:
    @pytest.mark.parametrize("play", [overtaken, abandoned, stopped])
    async def test_are_green_for_the_service(self, rig: Rig, play: Play) -> None:
        assert await red(rig, play) == {}

    @pytest.mark.parametrize("oracle", ORACLES, ids=lambda oracle: oracle.broken)
    async def test_go_red_for_broken_builds(self, broken: dict[str, dict[int, list[str]]], oracle: Oracle) -> None:
        assert oracle.numbers <= set(broken[oracle.broken])

    @pytest.mark.parametrize("name", CORRUPTIONS)
    async def test_go_red_for_corrupt_rows(self, rig: Rig, answered: Ask, name: str) -> None:
        statement, numbers = CORRUPTIONS[name]
        evidence = await corrupt(rig, answered, statement)
        assert numbers <= {number for number, check in INVARIANTS.items() if check(evidence)}

    async def test_goes_red_for_a_fault_that_did_not_land(self, rig: Rig) -> None:
        assert landed(Evidence(await rig.database.facts([]), [], rig.journal, landed=0))
