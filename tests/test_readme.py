"""The README's first chat works as printed."""

import asyncio
import re
from pathlib import Path

from tests.test_cli import free_port, process, read_until

README = Path(__file__).parent.parent / "README.md"


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
    answer, sessions = printed.decode().replace("}{", "}\n{").splitlines()
    assert answer.startswith('{"success":true,"session_id":1,"message_id":2,"data":{"response":')
    assert '"title":"Python에서 리스트와 튜플의 차이는?"' in sessions
