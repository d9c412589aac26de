"""The server as a process of its own, as an operator starts it."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

COMMAND = [sys.executable, "-m", "ragserver"]
PATIENCE_S = 20


@asynccontextmanager
async def running_process(folder: Path, docs: Path, **variables: str) -> AsyncIterator[str]:
    """Give its URL once it is ready; at the end it is told to stop, and must end well."""
    arguments = ["serve", "--port", "0", "--docs", str(docs)]
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, cwd=folder, env=os.environ | variables, stderr=PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            url = await _url(process)
        reading = asyncio.create_task(process.communicate())  # or it waits when the pipe is full
        yield url
        process.terminate()
        async with asyncio.timeout(PATIENCE_S):
            await reading
        assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _url(process: Process) -> str:
    assert process.stderr
    logged = b""
    while b"running on" not in logged or b"Ready" not in logged:
        line = await process.stderr.readline()
        assert line, logged.decode()
        logged += line
    found = re.search(rb"http://127\.0\.0\.1:\d+", logged)
    assert found
    return found[0].decode()
