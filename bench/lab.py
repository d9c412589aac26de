"""Runs the benchmark lab (BENCH_LAB, by default ../shared/bench) with this service among its subjects.

    python bench/lab.py --subject floor --subject ragchat --scenarios S1,S2 --rounds 3

The lab checks a subject before it measures it, and expects a session's detail bare. Our contract has it in an
envelope, `{"success": true, "data": {...}}`, and the contract wins: here the lab is shown both forms in one.
"""

import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LAB = Path(os.environ.get("BENCH_LAB", HERE.parent.parent / "shared" / "bench"))


def main() -> None:
    """Hand over to the lab, with our subjects beside its own."""
    if not (LAB / "run.py").exists():
        print(f"The lab is not at {LAB}; set BENCH_LAB to its folder for the ratios.")
        return
    sys.dont_write_bytecode = True
    # This file is called as the lab's own module is.
    sys.path[:] = [str(LAB), *(path for path in sys.path if Path(path or ".").resolve() != HERE)]
    run, lab = __import__("run"), __import__("lab")
    lab.enter()
    ask = lab.ask

    def ask_and_unwrap(*arguments: object, **options: object) -> tuple[int, bytes]:
        status, data = ask(*arguments, **options)
        body = json.loads(data) if data.startswith(b'{"success":true') else {}
        inner = body.get("data")
        return status, json.dumps({**body, **inner}).encode() if isinstance(inner, dict) else data

    lab.ask = ask_and_unwrap
    sys.argv += ["--config", str(HERE / "subjects.toml")]
    run.main()


if __name__ == "__main__":
    main()
