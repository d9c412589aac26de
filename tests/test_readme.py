"""The README's first chat works as printed."""

import asyncio
import re
from pathlib import Path

from passlib.hash import django_pbkdf2_sha256
from sqlalchemy import text

from tests.conftest import sign_up
from tests.postgres import free_port
from tests.server import LiveServer
from tests.test_cli import process, read_until

README = Path(__file__).parent.parent / "README.md"


FRONT_END = README.parent / "docs" / "front-end.md"
CLIENTS = README.parent / "tests" / "aisdk"


def sql_statements() -> list[str]:
    """The statements that move Django's users."""
    (block,) = re.findall(r"```sql\n(.*?)```", README.read_text(), re.DOTALL)
    return [statement.strip() for statement in block.split(";") if statement.strip()]


def curl_lines() -> str:
    """The shell block with the first chat."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    return "".join(block for block in blocks if "curl" in block)


async def test_first_chat_works_as_printed(tmp_path: Path) -> None:
    port = free_port()
    with process(tmp_path, "dev", "--port", str(port)) as dev:
        await asyncio.to_thread(read_until, dev, "Stop with Ctrl-C.")
        script = curl_lines().replace(":8000/", f":{port}/")
        shell = await asyncio.create_subprocess_exec(
            "bash", "-euc", script, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        printed, errors = await shell.communicate()
    assert (shell.returncode, errors) == (0, b"")
    json_lines, _, stream = printed.decode().partition("id: ")
    answer, sessions = json_lines.replace("}{", "}\n{").splitlines()
    assert answer.startswith('{"success":true,"session_id":1,"message_id":2,"data":{"response":')
    assert '"title":"Python에서 리스트와 튜플의 차이는?"' in sessions
    assert '"type":"text-delta"' in stream
    assert stream.endswith("data: [DONE]\n\n")


def test_front_end_files_are_printed_as_they_are_tested() -> None:
    page = FRONT_END.read_text()
    for name in ("plain.mjs", "chat.mjs"):
        assert f"```js\n{(CLIENTS / name).read_text()}```" in page


async def test_users_of_django_move_as_printed(server: LiveServer) -> None:
    copy_users, advance_ids = sql_statements()
    django = django_pbkdf2_sha256.using(rounds=1000).hash("password123")
    async with server.database.transaction() as db:
        await db.execute(
            text(
                "CREATE TEMPORARY TABLE auth_user (id integer, password varchar(128), last_login timestamp,"
                " is_superuser boolean, username varchar(150), first_name varchar(150), last_name varchar(150),"
                " email varchar(254), is_staff boolean, is_active boolean, date_joined timestamp)"
            )
        )
        await db.execute(
            text(
                "INSERT INTO auth_user VALUES"
                " (700, :hash, NULL, false, 'moved', '', '', 'm@example.com', false, true, '2024-01-01 00:00:00')"
            ),
            {"hash": django},
        )
        await db.execute(text(copy_users))
        if server.database.engine.dialect.name == "postgresql":
            await db.execute(text(advance_ids))
        await db.execute(text("DROP TABLE auth_user"))
    async with server.client() as http:
        login = await http.post("/api/v1/auth/login/", json={"username": "moved", "password": "password123"})
    assert login.status_code == 200
    assert (await sign_up(server, "next")).id > 700
