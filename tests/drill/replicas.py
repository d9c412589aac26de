"""Replicas of the service: real processes, started as an operator starts them, and killed as nobody should."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped] # it ships no types

from tests.drill.waiting import until
from tests.drill.wire import Exchange, LostError
from tests.postgres import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
RAGCHAT = (str(Path(sys.executable).with_name("ragchat")), "serve")
PROBE = Path(__file__).parent / "probe"
# Words that no fault may bring into the log.
CRASHES = re.compile(
    r"Traceback|internal_error|never retrieved|never awaited|violates foreign key|FOREIGN KEY constraint failed"
    r"|MissingGreenlet|non-checked-in connection|cannot perform operation: another operation"
)

LOG_TIME = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z", re.MULTILINE)


class Gauges(NamedTuple):
    """What a replica holds at one moment."""

    tasks: int
    checked_out: int
    descriptors: int
    memory: int


class Replica:
    """One process of the service, on a port that it keeps over restarts."""

    def __init__(
        self, name: str, environment: Mapping[str, str], folder: Path, *, command: Sequence[str] = RAGCHAT
    ) -> None:
        self.name = name
        self.port = free_port()
        self.log = folder / f"{name}.log"
        self.starts = 0
        self._command = list(command)
        self._gauges = folder / f"{name}.gauges"
        self.environment = {**environment, "PORT": str(self.port), "DRILL_GAUGES": str(self._gauges)}
        self._process: asyncio.subprocess.Process | None = None
        self.stands_still = False
        self.was_ready = False
        """Since its last start; before, a signal would end it."""
        self._asking = asyncio.Lock()

    async def start(self, **extra: str) -> None:
        """Start the process; it is not ready yet."""
        self.starts += 1
        self.was_ready = False
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env=self.environment | extra, cwd=ROOT, stdout=log, stderr=log
            )

    async def until_ready(self, seconds: float = 30) -> None:
        """Return when the replica takes requests."""

        async def is_ready() -> bool:
            if not self.is_running:
                raise RuntimeError(f"{self.name} ended: {self.log.read_text(errors='replace')[-500:]}")
            return await self.is_ready()

        await until(is_ready, seconds=seconds, what=f"{self.name} is ready")
        self.was_ready = True

    async def is_ready(self) -> bool:
        """Whether the replica takes requests now."""
        with suppress(LostError):
            check = await (await Exchange.send(self.port, "GET", "/health/ready")).head()
            check.close()
            return check.status == 200
        return False

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if there is a process."""
        if self.is_running:
            self.stands_still = number == signal.SIGSTOP or (self.stands_still and number != signal.SIGCONT)
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def kill(self) -> None:
        """kill -9, and nothing is left of it when this returns."""
        self.signal(signal.SIGKILL)
        await self.process.wait()

    async def terminate(self, seconds: float = 100) -> int:
        """SIGTERM; returns the exit code."""
        self.signal(signal.SIGTERM)
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    async def restart(self) -> None:
        """Start again after an end, and wait until it takes requests."""
        await self.start()
        await self.until_ready()

    async def gauges(self) -> Gauges:
        """What the process says that it holds, and what the kernel knows of it.

        Raises:
            ProcessLookupError: it is gone, perhaps only meanwhile.
        """
        async with self._asking:
            self._gauges.unlink(missing_ok=True)
            self.signal(signal.SIGUSR1)
            await until(self._has_gauges, seconds=10, what=f"{self.name} tells its gauges")
            if not self.is_running:
                raise ProcessLookupError(self.name)
            inside: dict[str, Any] = json.loads(self._gauges.read_text())
            outside = psutil.Process(self.process.pid)
            return Gauges(inside["tasks"], inside["checked_out"], outside.num_fds(), outside.memory_info().rss)

    async def _has_gauges(self) -> bool:
        return self._gauges.exists() or not self.is_running

    @property
    def log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def count_connections(self) -> int:
        """How many clients are connected."""
        sockets = psutil.Process(self.process.pid).net_connections("tcp")
        return sum(socket.laddr.port == self.port and socket.status == "ESTABLISHED" for socket in sockets)

    def last_log_time(self) -> float | None:
        """The time in the newest log line that has one."""
        times = LOG_TIME.findall(self.log.read_text(errors="replace")[-4000:])
        return datetime.fromisoformat(times[-1]).timestamp() if times else None

    def crashes(self, start: int = 0) -> list[str]:
        """Lines of the log that tell of a bug, from a place on."""
        with self.log.open("rb") as file:
            file.seek(start)
            lines = file.read().decode(errors="replace").splitlines()
        return [f"{self.name}: {line[:300]}" for line in lines if CRASHES.search(line)]

    async def close(self) -> None:
        """End the process, whatever state it is in."""
        if self.is_running:
            self.signal(signal.SIGCONT)
            await self.kill()


def service_environment(**values: str) -> dict[str, str]:
    """The environment of a replica: nothing of the service's own leaks in from ours."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return (
        kept | {"PYTHONPATH": f"{PROBE}{os.pathsep}{ROOT}", "ENVIRONMENT": "production", "LOG_LEVEL": "INFO"} | values
    )
