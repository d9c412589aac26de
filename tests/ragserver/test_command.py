"""The `ragserver` command, as an operator starts it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx

from ragserver.config import PACKAGED_DOCUMENTS
from tests.ragserver.process import COMMAND, running_process

# Every example of the notes, run one after the other in one process.
RUN_EXAMPLES = r"""
import pathlib, re, sys
for path in sorted(pathlib.Path(sys.argv[1]).rglob("*.md")):
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.S)):
        exec(compile(code, f"{path}:{number}", "exec"), {"__name__": "example"})
"""


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=os.environ | variables, capture_output=True, text=True, check=False
    )


class TestServe:
    async def test_it_answers_and_ends_well_on_sigterm(self, tmp_path: Path, docs: Path) -> None:
        async with running_process(tmp_path, docs) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
            health = await client.get("/health")

        assert health.json() == {"status": "ok", "chunks": 1, "documents": 1, "models": {}, "embedded": None}
        assert (tmp_path / "var" / "ragserver.db").is_file()

    def test_a_missing_folder_is_said_clearly(self, tmp_path: Path) -> None:
        by_option = run(tmp_path, "serve", "--docs", "nowhere")
        by_variable = run(tmp_path, "serve", RAG_DOCS_DIR="nowhere")

        for ended in (by_option, by_variable):
            assert ended.returncode == 2
            assert ended.stderr.startswith("RAG_DOCS_DIR: ")
            assert "nowhere" in ended.stderr
            assert "Traceback" not in ended.stderr

    def test_a_file_that_is_no_index_is_said_clearly(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine" * 100)
        ended = run(tmp_path, "serve", RAG_DB="notes.txt")

        assert ended.returncode == 2
        assert ended.stderr.startswith("RAG_DB: ")


class TestOtherCommands:
    def test_index_counts_and_ask_answers(self, tmp_path: Path) -> None:
        indexed = run(tmp_path, "index")
        answered = run(tmp_path, "ask", "리스트와 튜플의 차이는?")

        assert re.fullmatch(r"\d+ chunks of \d+ documents\n", indexed.stdout)
        assert "변경 불가능(immutable)" in answered.stdout
        assert "ko/lists-and-tuples.md" in answered.stdout


class TestNotes:
    def test_every_example_runs(self, tmp_path: Path) -> None:
        ran = subprocess.run(
            [sys.executable, "-c", RUN_EXAMPLES, str(PACKAGED_DOCUMENTS)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

        assert ran.returncode == 0, ran.stderr
