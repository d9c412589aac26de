# ruff: noqa: INP001 - found by its name through PYTHONPATH
"""Python runs this when a replica starts: on SIGUSR1 the process writes down what it holds."""

import asyncio
import json
import os
import signal
from pathlib import Path

from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool, QueuePool

PLACE = os.environ.get("DRILL_GAUGES")
pools: set[Pool] = set()


def _note(connection: Connection) -> None:
    pools.add(connection.engine.pool)


def _write(_signal: int, _frame: object) -> None:
    assert PLACE
    loop = asyncio.get_running_loop()
    out = sum(pool.checkedout() for pool in pools if isinstance(pool, QueuePool))
    unfinished = Path(f"{PLACE}.new")
    unfinished.write_text(json.dumps({"tasks": len(asyncio.all_tasks(loop)), "checked_out": out}))
    unfinished.replace(PLACE)


if PLACE:
    event.listen(Engine, "engine_connect", _note)
    signal.signal(signal.SIGUSR1, _write)
