"""The `ragchat` command."""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer
from alembic.command import upgrade
from alembic.config import Config
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from app.core.database import Database, is_unavailable, without_password
from app.core.errors import AppError, InvalidRequestError, RagError
from app.core.logging import configure_logging
from app.core.settings import AnySettings, DatabaseSettings, Settings, SettingsError, load_settings
from app.development import DEFAULT_PORT, DevelopmentError, run_development
from app.main import build_rag_client, create_app
from app.schemas.auth import UserCreate
from app.server import run_server
from app.services.accounts import open_accounts

ALEMBIC_INI = Path(__file__).resolve().parent.parent / "alembic.ini"

cli = typer.Typer(
    help="The RAG chat service.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)

Username = Annotated[str, typer.Option(prompt=True, help="The name to sign in with.")]
Email = Annotated[str, typer.Option(help="The e-mail address.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


@cli.command()
def serve() -> None:
    """Serve on HOST and PORT until told to stop; requests in flight finish first."""
    settings = _load(Settings)
    configure_logging(settings.log_level, settings.log_format)
    run_server(create_app(settings), settings)


@cli.command()
def dev(
    port: Annotated[int, typer.Option(envvar="PORT", help="The service's port.", min=1, max=65535)] = DEFAULT_PORT,
) -> None:
    """Start the service and the reference RAG server for development, with a demo user; stop both with Ctrl-C."""
    try:
        run_development(port)
    except DevelopmentError as exc:
        raise _failure(str(exc)) from None


@cli.command()
def migrate() -> None:
    """Bring the database's tables up to date; safe to run from several replicas at once."""
    settings = _load(DatabaseSettings)
    config = Config(ALEMBIC_INI, attributes={"database_url": settings.database_url.get_secret_value()})
    try:
        upgrade(config, "head")
    except (OSError, DBAPIError) as exc:
        if not is_unavailable(exc):
            raise
        raise _failure(f"The database cannot be reached: {exc}") from None
    typer.echo("The database is up to date.")


@cli.command()
def createuser(username: Username, email: Email = "", *, password_stdin: PasswordStdin = False) -> None:
    """Create a user; asks for what is not given."""
    _create_user(username, email, _read_password(from_stdin=password_stdin), is_superuser=False)


@cli.command()
def createsuperuser(username: Username, email: Email = "", *, password_stdin: PasswordStdin = False) -> None:
    """Create a user who may enter the admin site; asks for what is not given."""
    _create_user(username, email, _read_password(from_stdin=password_stdin), is_superuser=True)


@cli.command()
def openapi() -> None:
    """Print the API's OpenAPI document."""
    # The document depends on no setting: with the defaults alone it is the same everywhere.
    document = create_app(Settings.model_construct()).openapi()
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2))


@cli.command()
def check() -> None:
    """Show the settings without secrets, and whether the database and the RAG server can be reached."""
    settings = _load(Settings)
    for name, value in settings.model_dump(exclude={"database_url"}).items():
        typer.echo(f"{name.upper()}={value}")
    typer.echo(f"DATABASE_URL={without_password(settings.database_url.get_secret_value())}")
    problems = asyncio.run(_find_problems(settings))
    for name in ("database", "RAG server"):
        typer.echo(f"{name}: {problems.get(name, 'ok')}")
    if problems:
        raise typer.Exit(1)


async def _find_problems(settings: Settings) -> dict[str, str]:
    problems = {}
    async with AsyncExitStack() as stack:
        rag = build_rag_client(settings)
        stack.push_async_callback(rag.close)
        try:
            database = Database(settings.database_url.get_secret_value(), pool_size=1)
            stack.push_async_callback(database.close)
            await database.check()
        except Exception as exc:  # noqa: BLE001 - whatever a wrong URL leads to, it is the answer to "or why not"
            problems["database"] = f"{type(exc).__name__}: {exc}"
        try:
            await rag.check()
        except RagError as exc:
            problems["RAG server"] = str(exc)
    return problems


def _read_password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


def _create_user(username: str, email: str, password: str, *, is_superuser: bool) -> None:
    settings = _load(DatabaseSettings)
    try:
        account = UserCreate(username=username, email=email, password=password)
        asyncio.run(_add_account(settings, account, is_superuser=is_superuser))
    except ValidationError as exc:
        problems = (f"{e['loc'][0]}: {e['msg']}" for e in exc.errors(include_input=False, include_url=False))
        raise _failure("\n".join(problems)) from None
    except InvalidRequestError as exc:
        raise _failure(str(exc)) from None
    except AppError as exc:
        raise _failure(f"{exc.text.en} ({exc})") from None
    typer.echo(f"Created {'superuser' if is_superuser else 'user'} {username}.")


async def _add_account(settings: DatabaseSettings, account: UserCreate, *, is_superuser: bool) -> None:
    async with open_accounts(settings.database_url.get_secret_value()) as accounts:
        await accounts.create(**account.model_dump(), is_superuser=is_superuser)


def _load(kind: type[AnySettings]) -> AnySettings:
    try:
        return load_settings(kind)
    except SettingsError as exc:
        raise _failure(f"The settings cannot be used:\n{exc}") from None


def _failure(message: str) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(1)


def main() -> None:
    """The entry point."""
    cli()


if __name__ == "__main__":
    main()
