"""Installs the AI SDK, and runs the scripts of this folder with it."""

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parent
ROOT = SCRIPTS.parent.parent
VERSIONS = ("5", "6", "7")
OLDEST_NODE = 20
NPM_OPTIONS = (
    *("--ignore-scripts", "--no-audit", "--no-fund", "--no-engine-strict", "--loglevel=error"),
    *("--fetch-retries=1", "--fetch-timeout=30000"),
)
# What npm says when package.json and its lock are at fault; whatever else stops it lies outside of this tree.
OUR_FAULTS = ("EUSAGE", "ERESOLVE", "EJSONPARSE", "EINTEGRITY")


def find_npm() -> str:
    """Where npm is, beside a node that is new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm):
        pytest.skip("node is not installed: the AI SDK clients were not run")
    version = subprocess.check_output([node, "--version"], text=True)
    if int(version.lstrip("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"node {version.strip()} is older than {OLDEST_NODE}: the AI SDK clients were not run")
    return npm


def npm_ci(npm: str, folder: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(SCRIPTS / name, folder)
    try:
        done = subprocess.run(
            [npm, "ci", *NPM_OPTIONS], cwd=folder, capture_output=True, text=True, timeout=180, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm could not install the AI SDK within three minutes")
    if done.returncode:
        assert not any(fault in done.stderr for fault in OUR_FAULTS), done.stderr
        pytest.skip(f"npm could not install the AI SDK: {' '.join(done.stderr.split()[:20])}")


def install(npm: str) -> Path:
    """The clients' node_modules, kept in var/ under the lock's hash; they appear there whole or not at all."""
    lock = hashlib.sha256((SCRIPTS / "package-lock.json").read_bytes()).hexdigest()[:12]
    installed = ROOT / "var" / f"aisdk-{lock}"
    if not installed.exists():
        installed.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=installed.parent, prefix="aisdk-") as folder:
            making = Path(folder, "made")
            making.mkdir()
            npm_ci(npm, making)
            with suppress(OSError):  # another run was faster
                making.rename(installed)
    return installed / "node_modules"


def lay_out(npm: str, folder: Path) -> None:
    """A folder for each version, where the scripts find it under its real name."""
    modules = install(npm)
    for version in VERSIONS:
        shutil.copytree(SCRIPTS, folder / version, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        names = folder / version / "node_modules"
        (names / "@ai-sdk").mkdir(parents=True)
        (names / "ai").symlink_to(modules / f"ai{version}")
        (names / "@ai-sdk" / "react").symlink_to(modules / f"react{version}")


class Client:
    """A running script. It prints one JSON object a line, saying what just happened."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def until(self, at: str) -> dict[str, Any]:
        """What the script says when it gets there."""
        assert self._process.stdout
        assert self._process.stderr
        async with asyncio.timeout(20):
            async for line in self._process.stdout:
                said: dict[str, Any] = json.loads(line)
                if said["at"] == at:
                    return said
            pytest.fail(f"never at {at!r}: {(await self._process.stderr.read()).decode()}")

    async def end(self) -> dict[str, Any]:
        """What the script holds in its hands at the end."""
        return await self.until("end")

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()


class Clients:
    """Starts the scripts as Alice."""

    def __init__(self, scripts: Path, url: str, token: str) -> None:
        self._scripts, self._url, self._token = scripts, url, token
        self.running: list[Client] = []

    async def ai_sdk(self, version: str, scenario: str, question: str) -> Client:
        return await self._run(version, "client.mjs", version, scenario, self._url, self._token, question)

    async def plain(self, question: str) -> Client:
        return await self._run(VERSIONS[-1], "reader.mjs", self._url, self._token, question)

    async def _run(self, folder: str, *command: str) -> Client:
        process = await asyncio.create_subprocess_exec(
            "node",
            *command,
            cwd=self._scripts / folder,
            env={"PATH": os.environ["PATH"]},
            stdout=PIPE,
            stderr=PIPE,
            limit=2**22,
        )
        self.running.append(Client(process))
        return self.running[-1]
