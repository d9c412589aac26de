"""A proxy that reads PostgreSQL's protocol, so that a fault can happen exactly at a commit.

A trap waits for a statement. Where the statement runs in a transaction of several, the moment that counts is that
transaction's COMMIT; where it runs alone, its own execution commits. `request` is the moment before the server has
it, `reply` the moment after the server has done it and before the client knows.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Literal

from tests.drill.proxy import CutError, Link, Proxy, Streams

SSL_REQUEST, CANCEL_REQUEST = 80877103, 80877102
Moment = Literal["request", "reply"]
Action = Callable[[], Awaitable[bool]]


class Trap:
    """Runs its action when the statement's commit passes; True from the action lets it pass after all."""

    def __init__(self, statement: str, moment: Moment, action: Action, *, skip: int = 0) -> None:
        self.statement = re.compile(statement, re.IGNORECASE | re.DOTALL)
        self.moment: Moment = moment
        self.skip = skip
        self.fired = asyncio.Event()
        self._action = action

    async def spring(self) -> bool:
        """Run the action."""
        self.fired.set()
        return await self._action()


class Messages:
    """Cuts a stream of bytes into protocol messages."""

    def __init__(self, *, starts_untyped: bool) -> None:
        self._bytes = bytearray()
        self.untyped = starts_untyped

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """The messages that are whole now: type and all bytes."""
        self._bytes += data
        found = []
        while (message := self._next()) is not None:
            found.append(message)
        return found

    def _next(self) -> tuple[str, bytes] | None:
        start = 0 if self.untyped else 1
        if len(self._bytes) < start + 4:
            return None
        end = start + int.from_bytes(self._bytes[start : start + 4], "big")
        if len(self._bytes) < end:
            return None
        raw = bytes(self._bytes[:end])
        del self._bytes[:end]
        if not self.untyped:
            return chr(raw[0]), raw
        code = int.from_bytes(raw[4:8], "big")
        self.untyped = code in (SSL_REQUEST, CANCEL_REQUEST)
        return "ssl" if code == SSL_REQUEST else "startup", raw


class PostgresLink(Link):
    """One connection to PostgreSQL."""

    proxy: "PostgresProxy"

    def __init__(self, proxy: "PostgresProxy", client: Streams, server: Streams) -> None:
        super().__init__(proxy, client, server)
        self._from_client = Messages(starts_untyped=True)
        self._from_server = Messages(starts_untyped=False)
        self._statements: dict[bytes, str] = {}
        self._in_transaction = False
        self._awaits_ssl_byte = False
        self._armed: Trap | None = None
        self._awaited: Trap | None = None
        self._held = b""

    async def up(self, data: bytes) -> bytes:
        """The client's messages, up to one that a trap takes."""
        passed = b""
        for kind, raw in self._from_client.feed(data):
            if kind == "ssl":
                self._awaits_ssl_byte = True
            sql = self._executed(kind, raw)
            trap = self._trap_for(sql) if sql else None
            if trap and trap.moment == "request":
                self._server[1].write(passed)
                passed = b""
                await self._spring(trap)
            elif trap:
                self._awaited = trap
            passed += raw
        return passed

    async def down(self, data: bytes) -> bytes:
        """The server's messages; those that answer a trapped statement wait for its action."""
        if self._awaits_ssl_byte:
            self._awaits_ssl_byte = False
            return data[:1] + await self.down(data[1:])
        passed = b""
        for kind, raw in self._from_server.feed(data):
            passed += raw
            if kind == "Z":
                self._in_transaction = raw[5:6] != b"I"
                if self._awaited:
                    trap, self._awaited = self._awaited, None
                    await self._spring(trap)
        if not self._awaited:
            passed, self._held = self._held + passed, b""
            return passed
        self._held += passed
        return b""

    async def _spring(self, trap: Trap) -> None:
        self.proxy.landed += 1
        if not await trap.spring():
            raise CutError

    def _executed(self, kind: str, raw: bytes) -> str | None:
        """The SQL that this message runs, if it runs any."""
        if kind == "Q":
            return raw[5:-1].decode()
        if kind == "P":
            name, sql, _ = raw[5:].split(b"\0", 2)
            self._statements[name] = sql.decode()
        if kind == "B":
            _portal, name, _ = raw[5:].split(b"\0", 2)
            return self._statements.get(name)
        return None

    def _trap_for(self, sql: str) -> Trap | None:
        """The trap whose moment this statement is."""
        self.proxy.statements += 1
        if (armed := self._armed) is not None:
            if re.match(r"\s*(COMMIT|ROLLBACK)", sql, re.IGNORECASE):
                self._armed = None
            if re.match(r"\s*COMMIT", sql, re.IGNORECASE):
                return armed
            if self._armed is None:  # rolled back: that was not the commit
                self.proxy.traps.append(armed)
            return None
        trap = self.proxy.claim(sql)
        if trap and self._in_transaction:
            self._armed = trap
            return None
        return trap


class PostgresProxy(Proxy):
    """A proxy in front of PostgreSQL, with traps."""

    def __init__(self, target: int) -> None:
        super().__init__(target, link=PostgresLink)
        self.traps: list[Trap] = []
        self.statements = 0

    async def restore(self) -> None:
        """Carry everything again; no trap waits."""
        self.traps.clear()
        await super().restore()

    def claim(self, sql: str) -> Trap | None:
        """The first trap that waits for this statement; it waits no more."""
        for trap in self.traps:
            if trap.statement.search(sql):
                if trap.skip:
                    trap.skip -= 1
                    return None
                self.traps.remove(trap)
                return trap
        return None
