"""`python -m tests.drill`: play the faults, print a line for each, and write the report."""

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
from pathlib import Path

from tests.drill.catalogue import FAULTS
from tests.drill.faults import run_fault
from tests.drill.report import report
from tests.drill.results import Result
from tests.drill.rig import open_rig
from tests.postgres import create_database, running_postgres


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="of all random moments; printed")
    parser.add_argument("--rounds", type=int, help="how often each fault is played; without it, as the list says")
    parser.add_argument("--only", default="", help="F01,F02: only these")
    parser.add_argument("--write", type=Path, help="write the report to this file")
    parser.add_argument("--keep", type=Path, help="keep logs and journal in this folder")
    return parser.parse_args()


async def drill(options: argparse.Namespace, folder: Path, results: list[Result]) -> None:
    """Play the chosen faults, one after the other."""
    chosen = [name for name in options.only.split(",") if name] or sorted(FAULTS)
    with running_postgres() as server:
        url = await create_database(server, "drill")
        async with open_rig(url, folder, seed=options.seed) as rig:
            for name in chosen:
                result = await run_fault(rig, FAULTS[name], options.rounds)
                results.append(result)
                print(result, flush=True)  # noqa: T201 - that is what it is for
                for line in result.violations[:20]:
                    print(f"    {line}", flush=True)  # noqa: T201 - likewise


def main() -> int:
    """The command."""
    options = arguments()
    print(f"{len(FAULTS)} faults, seed {options.seed}")  # noqa: T201 - to play it again
    results: list[Result] = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ragchat-drill-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            asyncio.run(drill(options, folder, results))
        finally:  # also of a drill that broke off
            if options.write:
                options.write.write_text(report(results, options.seed, time.monotonic() - started))
    return 0 if all(result.is_good for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
