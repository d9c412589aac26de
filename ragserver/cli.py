"""The `ragserver` command."""

import asyncio
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
import uvicorn
from pydantic import ValidationError

from ragserver.app import create_app
from ragserver.config import Settings
from ragserver.pipeline import Pipeline, open_pipeline
from ragserver.store import ForeignFileError, refuse_foreign_file

_KEEP_ALIVE_S = 75  # longer than clients keep an idle connection, so none is closed as it is reused
_SHUTDOWN_S = 10

commands = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

HostOption = Annotated[str | None, typer.Option(help="Address to listen on; HOST otherwise.")]
PortOption = Annotated[int | None, typer.Option(help="Port to listen on; PORT otherwise.")]
DocsOption = Annotated[Path | None, typer.Option(help="Folder of Markdown documents; RAG_DOCS_DIR otherwise.")]


@commands.command()
def serve(host: HostOption = None, port: PortOption = None, docs: DocsOption = None) -> None:
    """Answer questions over HTTP until a signal ends it."""
    settings = _settings(host=host, port=port, rag_docs_dir=docs)
    _refuse_foreign_file(settings)
    # uvicorn raises the signal again once it is down; a wanted end is a success.
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=_log_config(settings.log_level.upper()),
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )


@commands.command()
def index(docs: DocsOption = None) -> None:
    """Build the index, unless it is up to date, and print what is in it."""
    pipeline = _pipeline(_settings(rag_docs_dir=docs))
    typer.echo(f"{pipeline.chunks} chunks of {pipeline.documents} documents")
    pipeline.close()


@commands.command()
def ask(question: str, docs: DocsOption = None) -> None:
    """Answer one question and print the sources."""
    pipeline = _pipeline(_settings(rag_docs_dir=docs))
    answered = asyncio.run(pipeline.ask(question))
    typer.echo(answered.answer)
    for number, source in enumerate(answered.sources, start=1):
        typer.echo(f"[{number}] {source.score:.2f} {source.document}: {source.heading}")
    pipeline.close()


def main() -> None:
    """Run the command."""
    commands()


def _settings(**given: object) -> Settings:
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(**chosen)
    except ValidationError as exc:
        for error in exc.errors(include_url=False):
            name = ".".join(map(str, error["loc"])).upper()
            # Only a path is repeated: other values may be secret.
            value = f": {error['input']}" if error["type"].startswith("path_") else ""
            typer.echo(f"{name}: {error['msg']}{value}" if name else error["msg"], err=True)
        sys.exit(2)


def _pipeline(settings: Settings) -> Pipeline:
    _refuse_foreign_file(settings)
    return open_pipeline(settings)


def _refuse_foreign_file(settings: Settings) -> None:
    try:
        refuse_foreign_file(settings.rag_db)
    except ForeignFileError as exc:
        typer.echo(f"RAG_DB: {exc}", err=True)
        sys.exit(2)


def _end(_: int, __: FrameType | None) -> NoReturn:
    sys.exit(0)


def _log_config(level: str) -> dict[str, Any]:
    """Return the logging set-up: every logger, uvicorn's too, in one format on standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": level, "handlers": ["stderr"]},
    }
