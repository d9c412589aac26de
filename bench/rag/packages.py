"""Debian packages of documentation: fetched with apt-get, unpacked with dpkg-deb, nothing installed."""

import shutil
import subprocess
import sys
from pathlib import Path


def unpacked(package: str, folder: Path) -> Path:
    """Return where a package's files lie, after fetching and unpacking what is not there yet."""
    target = folder / package
    if not target.is_dir():
        archive = _archive(package, folder)
        unfinished = folder / f"{package}.unpacking"
        shutil.rmtree(unfinished, ignore_errors=True)
        _run("dpkg-deb", "-x", str(archive), str(unfinished), folder=folder)
        unfinished.rename(target)
    return target


def _archive(package: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if not list(folder.glob(f"{package}_*.deb")):
        _run("apt-get", "download", package, folder=folder)
    return max(folder.glob(f"{package}_*.deb"))


def _run(*command: str, folder: Path) -> None:
    if not shutil.which(command[0]):
        sys.exit(f"{command[0]} is not on this machine: the documents are packages of Debian 12 and need its tools.")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed (Debian 12 has it, after apt-get update): {done.stderr.strip()}")
