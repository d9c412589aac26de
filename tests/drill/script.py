"""The words in a question that tell the upstream what to play, and the answer that it gives.

`canary=F01-7 ttft=0.5 gap=0.1 length=20 size=8 fault=error@3 times=1`: wait half a second, then send twenty deltas of
about eight characters, a tenth of a second apart; fail after the third. Delays and faults are played for the first
`times` calls of a canary; the ones after that are answered at once, so that a retry comes to its end.
"""

import re
from dataclasses import dataclass
from typing import Self

# How a streamed answer begins; a fault may fall into it.
SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
)
WORD = re.compile(r"(\w+)=(\S+)")


@dataclass(frozen=True)
class Script:
    """What to play."""

    canary: str
    ttft: float = 0
    gap: float = 0
    length: int = 8
    size: int = 0
    fault: str = ""
    after: int = 0
    times: int = 1

    @classmethod
    def parse(cls, question: str) -> Self:
        """The script in a question."""
        words = dict(WORD.findall(question))
        fault, _, after = words.get("fault", "").partition("@")
        return cls(
            canary=words.get("canary", ""),
            ttft=float(words.get("ttft", 0)),
            gap=float(words.get("gap", 0)),
            length=int(words.get("length", 8)),
            size=int(words.get("size", 0)),
            fault=fault,
            after=int(after or 0),
            times=int(words.get("times", 1)),
        )

    @property
    def without_trouble(self) -> Self:
        """The same answer, at once and whole."""
        return type(self)(self.canary, length=self.length, size=self.size)

    def deltas(self, call: int) -> list[str]:
        """The answer's pieces: no two calls give the same text, and no piece is plain ASCII only."""
        pieces = [f"[{self.canary} call {call}] 답변🙂 "]
        pieces += [f"{number}·단어 {'x' * self.size} " for number in range(1, self.length)]
        return pieces
