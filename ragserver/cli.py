"""The `ragserver` command."""

import asyncio
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, closing
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
import uvicorn
from pydantic import ValidationError

from ragserver import memory
from ragserver.app import create_app
from ragserver.config import Settings
from ragserver.evaluation import questions, report
from ragserver.evaluation.engine import ladder
from ragserver.evaluation.metrics import RANKED
from ragserver.evaluation.questions import QuestionsError
from ragserver.evaluation.report import evaluate_all
from ragserver.evaluation.variants import passages_of, simpler_engines
from ragserver.glossary import Glossary, GlossaryError
from ragserver.indexing import refuse_foreign_file
from ragserver.opening import Opened, open_pipeline
from ragserver.remote.endpoint import RemoteError
from ragserver.remote.models import open_models

_KEEP_ALIVE_S = 75  # longer than clients keep an idle connection, so none is closed as it is reused
_SHUTDOWN_S = 10

commands = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

HostOption = Annotated[str | None, typer.Option(help="Address to listen on; HOST otherwise.")]
PortOption = Annotated[int | None, typer.Option(help="Port to listen on; PORT otherwise.")]
QuestionsArgument = Annotated[Path, typer.Argument(help="JSON lines: question, gold (document, heading), history.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Every figure, and what became of every question, as JSON.")]
CompareOption = Annotated[bool, typer.Option("--compare", help="Beside it simpler engines, and ours stage by stage.")]
DocsOption = Annotated[Path | None, typer.Option(help="Folder of Markdown documents; RAG_DOCS_DIR otherwise.")]


@commands.command()
def serve(host: HostOption = None, port: PortOption = None, docs: DocsOption = None) -> None:
    """Answer questions over HTTP until a signal ends it."""
    memory.share_one_arena()
    settings = _settings(host=host, port=port, rag_docs_dir=docs)
    _refuse_wrong_files(settings)
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
    """Build the index, unless it is up to date, and print what is in it; embed the documents where RAG_EMBED_URL is."""
    _run(_index(_settings(rag_docs_dir=docs)))


@commands.command()
def ask(question: str, docs: DocsOption = None) -> None:
    """Answer one question and print the sources."""
    _run(_ask(_aside(_settings(rag_docs_dir=docs), docs), question))


@commands.command(name="eval")
def evaluate(
    file: QuestionsArgument, docs: DocsOption = None, *, json: JsonOption = False, compare: CompareOption = False
) -> None:
    """Measure how well questions are answered of which it is known where their answers are."""
    settings = _aside(_settings(rag_docs_dir=docs, rag_top_k=RANKED), docs)
    _run(_evaluate(settings, file, as_json=json, compare=compare))


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


def _aside(settings: Settings, docs: Path | None) -> Settings:
    """Return the settings with an index of its own for a folder that was named, so that the server's stays."""
    aside = settings.rag_db.with_name(f"{settings.rag_db.name}-aside")
    return settings.model_copy(update={"rag_db": aside}) if docs else settings


async def _index(settings: Settings) -> None:
    async with _opened(settings) as opened:
        typer.echo(f"{opened.store.chunks} chunks of {opened.store.documents} documents")
        if opened.embedded:
            await opened.embedded.complete()
            typer.echo(f"embedded by {settings.rag_embed_model}")


async def _ask(settings: Settings, question: str) -> None:
    async with _opened(settings) as opened:
        answered = await opened.pipeline.ask(question)
    typer.echo(answered.answer)
    for number, source in enumerate(answered.sources, start=1):
        typer.echo(f"[{number}] {source.score:.2f} {source.document}: {source.heading}")
    if answered.metadata.degraded:
        typer.echo(f"without the remote model of: {', '.join(answered.metadata.degraded)}", err=True)


async def _evaluate(settings: Settings, file: Path, *, as_json: bool, compare: bool) -> None:
    cases = questions.read(file)
    passages = passages_of(settings.rag_docs_dir, settings.rag_chunk_chars)
    questions.check(file, cases, passages)
    async with _opened(settings) as opened:
        if opened.embedded:
            await opened.embedded.complete()
        with simpler_engines(passages if compare else []) as simpler:
            ours = ladder(opened.search.with_stages) if compare else [("this server", opened.search)]
            reports = await evaluate_all([*simpler, *ours] if compare else ours, cases)
    typer.echo(report.as_json(reports) if as_json else report.render(reports))


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Opened]:
    """Give the pipeline, with the vectors of a remote model if those of all documents are kept."""
    _refuse_wrong_files(settings)
    async with open_models(settings) as models:
        opened = await open_pipeline(settings, models)
        with closing(opened.store):
            yield opened


def _run(command: Coroutine[Any, Any, None]) -> None:
    """Run a command to its end, or say in one line why it has none."""
    try:
        asyncio.run(command)
    except (QuestionsError, RemoteError, OSError, sqlite3.Error) as exc:
        typer.echo(str(exc), err=True)
        sys.exit(1)


def _refuse_wrong_files(settings: Settings) -> None:
    """End with a word on the setting that names a file which is something else."""
    name = "RAG_DB"
    try:
        refuse_foreign_file(settings.rag_db)
        name = "RAG_GLOSSARY"
        if settings.rag_glossary:
            Glossary.read(settings.rag_glossary)
    except (GlossaryError, OSError) as exc:
        typer.echo(f"{name}: {exc}", err=True)
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
        "loggers": {"httpx": {"level": "WARNING"}},  # or each call of a model is a line
        "root": {"level": level, "handlers": ["stderr"]},
    }
