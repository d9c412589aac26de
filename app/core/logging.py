"""Log set-up: everything goes through the standard library's loggers and comes out in one format."""

import logging
import sys
from typing import Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

OWN_ACCESS_LOG = ("uvicorn.access",)  # our middleware writes that line, with the request id
THROUGH_ROOT = ("uvicorn", "uvicorn.error", "uvicorn.access")
WEBSOCKET_LINE = '%s - "WebSocket %s"'  # with the URL's query, where somebody may have put a token
TOO_TALKATIVE = ("httpx", "asyncio", "aiosqlite")  # a line a call, beside ours that says the same
CONTROL_CHARACTERS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


def configure_logging(level: str, log_format: Literal["console", "json"]) -> None:
    """Send every log record to standard error: as a line for people, or as one JSON object a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_enrich(), processors=[_drop_meta, *_render(log_format)])
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in THROUGH_ROOT:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name not in OWN_ACCESS_LOG
    logging.getLogger("uvicorn.error").addFilter(_is_not_websocket_line)
    for name in TOO_TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def _is_not_websocket_line(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(WEBSOCKET_LINE)


def _enrich() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _escape_control_characters,
    ]


def _render(log_format: Literal["console", "json"]) -> list[Processor]:
    if log_format == "json":
        # Local variables would carry passwords and questions into the log; structlog shows them unless told not to.
        traceback = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return [
            structlog.processors.ExceptionRenderer(traceback),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain, pad_event_to=0)]


def _escape_control_characters(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """What a client sent must not start a line of its own, nor colour the terminal."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = value.translate(CONTROL_CHARACTERS)
    return event


def _drop_meta(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    # color_message is uvicorn's second copy of its own line.
    return {key: value for key, value in event.items() if key not in ("_record", "_from_structlog", "color_message")}
