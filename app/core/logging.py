"""Log set-up: everything goes through the standard library's loggers and comes out in one format."""

import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

from structlog.contextvars import get_contextvars
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import ExceptionRenderer, JSONRenderer
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict

OWN_ACCESS_LOG = ("uvicorn.access",)  # our middleware writes that line, with the request id
THROUGH_ROOT = ("uvicorn", "uvicorn.error", "uvicorn.access")
WEBSOCKET_LINE = '%s - "WebSocket %s"'  # with the URL's query, where somebody may have put a token
TOO_TALKATIVE = ("httpx", "asyncio", "aiosqlite")  # a line a call, beside ours that says the same
# A record's own attributes, two more that are set when it is formatted, and uvicorn's second copy of its own line.
NOT_EXTRA = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "color_message"}
CONTROL_CHARACTERS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


def configure_logging(level: str, log_format: Literal["console", "json"]) -> None:
    """Send every log record to standard error: as a line for people, or as one JSON object a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(log_format))
    # What no line of ours shows is not looked up for every record either.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in THROUGH_ROOT:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name not in OWN_ACCESS_LOG
    logging.getLogger("uvicorn.error").addFilter(_is_not_websocket_line)
    for name in TOO_TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Formatter(logging.Formatter):
    """Writes records with structlog's renderers.

    structlog's own formatter copies every record and runs it through a chain of processors: a third of a line's CPU
    time.
    """

    def __init__(self, log_format: Literal["console", "json"]) -> None:
        super().__init__()
        self._render = _renderer(log_format)

    def format(self, record: logging.LogRecord) -> str:
        """The record as it is written."""
        event: dict[str, Any] = {"event": record.getMessage()}
        if record.exc_info:
            event["exc_info"] = record.exc_info
        if record.stack_info:
            event["stack_info"] = record.stack_info
        event.update(get_contextvars())
        event["level"] = record.levelname.lower()
        event["logger"] = record.name
        event.update((key, value) for key, value in record.__dict__.items() if key not in NOT_EXTRA)
        event["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        _escape_control_characters(event)
        return self._render(event)


def _is_not_websocket_line(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(WEBSOCKET_LINE)


def _renderer(log_format: Literal["console", "json"]) -> Callable[[EventDict], str]:
    if log_format == "json":
        # Local variables would carry passwords and questions into the log; structlog shows them unless told not to.
        add_traceback = ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
        to_json = JSONRenderer(ensure_ascii=False)
        return lambda event: str(to_json(None, "", add_traceback(None, "", event)))
    to_line = ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain_traceback, pad_event_to=0)
    return lambda event: to_line(None, "", event)


def _escape_control_characters(event: EventDict) -> None:
    """What a client sent must not start a line of its own, nor colour the terminal."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = value.translate(CONTROL_CHARACTERS)
