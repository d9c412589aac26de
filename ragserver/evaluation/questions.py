"""A file of questions of which it is known where in the documents they are answered.

JSON lines: {"question": "...", "gold": [{"document": "lists.md", "heading": "Lists > Sorting"}]}, on request with the
`history` before the question, as the contract has it. A question without gold is one the documents do not answer.
`kind` is whatever tells some questions from others; the JSON of a report repeats it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ragserver.chunks import Chunk
from ragserver.contract import QUESTION_LENGTH, Utterance

_MOST_FAULTS = 10  # are told at once; more are of the same kind as a rule


class QuestionsError(Exception):
    """A file of questions that cannot be used; the text tells a person the lines and what is wrong in them."""


class Gold(BaseModel):
    """A section that answers a question; without a heading, any passage of the document does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    document: str = Field(min_length=1)
    heading: str = ""

    def holds(self, chunk: Chunk) -> bool:
        """Tell whether a passage is of this section or of one under it."""
        if chunk.document != self.document:
            return False
        return self.heading in {"", chunk.heading} or chunk.heading.startswith(f"{self.heading} > ")


class _Line(BaseModel):
    # A misspelt `gold` that is let pass would make an off-topic question of a real one.
    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=QUESTION_LENGTH)]
    gold: tuple[Gold, ...] = ()
    history: tuple[Utterance, ...] = ()
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A question with the sections that answer it; `line` is where it stands in its file."""

    line: int
    question: str
    gold: tuple[Gold, ...]
    history: tuple[Utterance, ...] = ()
    kind: str = ""

    def is_right(self, chunk: Chunk) -> bool:
        """Tell whether a passage is from a section that answers the question."""
        return any(gold.holds(chunk) for gold in self.gold)


def read(path: Path) -> list[Case]:
    """Return the questions of a file.

    Raises:
        QuestionsError: the file cannot be read, has no question, or some of its lines are wrong.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as exc:
        raise QuestionsError(f"{path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        raise QuestionsError(f"{path}, line {line}: not UTF-8") from exc
    return _cases(path, text)


def check(path: Path, cases: Iterable[Case], passages: Sequence[Chunk]) -> None:
    """Refuse questions with a section that no passage is from: it could never be found, and nobody would see why.

    Raises:
        QuestionsError: there are some.
    """
    documents: dict[str, list[Chunk]] = {}
    for passage in passages:
        documents.setdefault(passage.document, []).append(passage)
    looked_up = [(case.line, _fault_of(gold, documents)) for case in cases for gold in case.gold]
    _refuse(path, [(line, fault) for line, fault in looked_up if fault])


def _cases(path: Path, text: str) -> list[Case]:
    cases, faults = [], []
    # Not splitlines: JSON may have U+2028 and its like inside a string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            read_line = _Line.model_validate_json(line)
        except ValidationError as exc:
            faults += [(number, fault) for fault in _faults(exc)]
        else:
            cases.append(Case(number, read_line.question, read_line.gold, read_line.history, read_line.kind))
    _refuse(path, faults)
    if not cases:
        raise QuestionsError(f"{path} has no question")
    return cases


def _faults(exc: ValidationError) -> Iterator[str]:
    for error in exc.errors(include_url=False):
        where = ".".join(map(str, error["loc"]))
        message = error["msg"].replace("at line 1 column", "at column")
        yield f"{where}: {message}" if where else message


def _fault_of(gold: Gold, documents: dict[str, list[Chunk]]) -> str:
    if gold.document not in documents:
        return f"no document {gold.document!r}"
    if any(map(gold.holds, documents[gold.document])):
        return ""
    return f"no passage under {gold.heading!r} in {gold.document!r}"


def _refuse(path: Path, faults: Sequence[tuple[int, str]]) -> None:
    if not faults:
        return
    told = [f"{path}, line {line}: {fault}" for line, fault in faults[:_MOST_FAULTS]]
    if more := len(faults) - len(told):
        told.append(f"... and {more} more")
    raise QuestionsError("\n".join(told))
