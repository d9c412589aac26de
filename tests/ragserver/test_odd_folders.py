"""Folders, names and places of files that are odd."""

import asyncio
import contextlib
import itertools
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ragserver.cli import commands
from ragserver.indexing import open_index
from tests.ragserver.conftest import Serve, ready
from tests.ragserver.questions import ask

SIZE = 900
BAGEL = "# Bagel\n\nBoil the bagel before baking.\n"
# Begins to write an index and says so, then waits for its end.
BUILDS = """
import sys
from pathlib import Path
from ragserver.replacement import replacing
with replacing(Path(sys.argv[1])) as fresh:
    fresh.write_bytes(b"half")
    print("writing", flush=True)
    sys.stdin.read()
"""


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def run(*arguments: str, **variables: str) -> tuple[int, str]:
    """Run the command and return its exit code and what it says of why."""
    ended = CliRunner().invoke(commands, arguments, env=variables)
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exc_info
    return ended.exit_code, ended.stderr


@contextlib.contextmanager
def churning(folder: Path) -> Iterator[None]:
    """Have files and folders come, change and go in a folder."""
    ends = threading.Event()

    def churn() -> None:
        for number in itertools.count():
            inner = folder / f"d{number % 7}"
            inner.mkdir(exist_ok=True)
            (inner / f"{number % 50}.md").write_text(BAGEL * (number % 5))
            if number % 7 == 0:
                shutil.rmtree(folder / "d3", ignore_errors=True)
            if ends.is_set():
                return

    thread = threading.Thread(target=churn)
    thread.start()
    yield
    ends.set()
    thread.join()


class TestNames:
    async def test_any_name_is_found_and_travels(self, serve: Serve, docs: Path) -> None:
        names = [b"new\nline.md", "😀.md".encode(), b"\xff.md", b"\xfe.md", b"esc\x1b[0m.md", b" .md", b"a\\b%s.md"]
        for number, name in enumerate(names):
            (docs / os.fsdecode(name)).write_text(f"# B\n\nBoil bagel{number} first.\n")
        async with serve(rag_docs_dir=docs) as client:
            found = [(await ask(client, f"bagel{n}"))["sources"][0]["document"] for n in range(len(names))]

        assert found == ["new\nline.md", "😀.md", "\\xff.md", "\\xfe.md", "esc\x1b[0m.md", " .md", "a\\b%s.md"]

    async def test_a_line_end_in_one_begins_no_line_of_the_log(
        self, serve: Serve, docs: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (docs / "a\nERROR: on fire.md").write_bytes(b"\0")
        async with serve(rag_docs_dir=docs):
            pass

        assert "on fire" in caplog.text
        assert all("\n" not in record.getMessage() for record in caplog.records)


class TestTrees:
    def test_twenty_thousand_files_are_indexed(self, tmp_path: Path) -> None:
        for number in range(100):
            (tmp_path / f"docs/{number}").mkdir(parents=True)
        for number in range(20_000):
            (tmp_path / f"docs/{number % 100}/{number}.md").write_bytes(b"# Loaf\n\nLoaf %d is rye.\n" % number)

        with closing(open_index(tmp_path / "index.db", tmp_path / "docs", SIZE)) as store:
            assert store.documents == 20_000
        shutil.rmtree(tmp_path / "docs")

    async def test_no_folder_is_too_deep(self, serve: Serve, docs: Path) -> None:
        folders = [docs.joinpath(*"d" * depth) for depth in range(1, 1200)]
        for folder in folders:
            folder.mkdir()
        (folders[-1] / "bagel.md").write_text(BAGEL)
        async with serve(rag_docs_dir=docs) as client:
            body = await ask(client, "When do I boil a bagel?")
        (folders[-1] / "bagel.md").unlink()
        for folder in reversed(folders):  # what pytest removes them with is recursive
            folder.rmdir()

        assert body["sources"][0]["document"].endswith("/d/bagel.md")

    async def test_links_go_round_in_no_circle_and_lead_nowhere_else(
        self, serve: Serve, docs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "secret.md").write_text("# Secret\n\nThe password is hunter2.\n")
        (docs / "out.md").symlink_to(tmp_path / "secret.md")
        (docs / "up").symlink_to("..")
        (docs / "loop").symlink_to(docs)
        (docs / "self.md").symlink_to("self.md")
        (docs / "gone.md").symlink_to("nowhere.md")
        async with serve(rag_docs_dir=docs) as client:
            health = await ready(client)
            body = await ask(client, "What is the secret password?")

        assert health["documents"] == 1
        assert body["sources"] == []
        assert caplog.text.count("Document left out") == 5

    async def test_links_within_the_folder_are_followed(self, serve: Serve, docs: Path, tmp_path: Path) -> None:
        (docs / "..2026").mkdir()  # as Kubernetes mounts files
        (docs / "..2026" / "bagel.md").write_text(BAGEL)
        (docs / "..data").symlink_to("..2026")
        (docs / "bagel.md").symlink_to("..data/bagel.md")
        (tmp_path / "link").symlink_to(docs)
        async with serve(rag_docs_dir=tmp_path / "link") as client:
            body = await ask(client, "When do I boil a bagel?")

        assert body["sources"][0]["document"] == "bagel.md"

    def test_files_may_come_change_and_go_meanwhile(self, docs: Path, tmp_path: Path) -> None:
        with churning(docs):
            for _ in range(8):
                with closing(open_index(tmp_path / "index.db", docs, SIZE)) as store:
                    assert store.documents >= 1

    def test_a_folder_that_went_is_an_error_and_the_index_stays(self, docs: Path, tmp_path: Path) -> None:
        open_index(tmp_path / "index.db", docs, SIZE).close()
        built = (tmp_path / "index.db").stat()
        shutil.rmtree(docs)

        with pytest.raises(FileNotFoundError, match="docs"):
            open_index(tmp_path / "index.db", docs, SIZE)
        assert (tmp_path / "index.db").stat().st_ino == built.st_ino


class TestPlaceOfTheIndex:
    async def test_many_may_build_there_at_once_and_each_has_its_own(self, docs: Path, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "bagel.md").write_text(BAGEL * 2)
        folders = [docs, tmp_path / "other"] * 4
        stores = await asyncio.gather(
            *(asyncio.to_thread(open_index, tmp_path / "index.db", folder, SIZE) for folder in folders)
        )

        assert [store.chunks for store in stores] == [1, 2] * 4
        for store in stores:
            store.close()
        assert names_in(tmp_path) == {"docs", "other", "index.db"}

    @pytest.mark.parametrize("is_killed", [True, False])
    def test_what_a_killed_process_left_is_removed(self, docs: Path, tmp_path: Path, *, is_killed: bool) -> None:
        index = tmp_path / "index.db"
        with subprocess.Popen(
            [sys.executable, "-c", BUILDS, index], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as builder:
            assert builder.stdout
            assert builder.stdout.readline() == b"writing\n"
            (left,) = names_in(tmp_path) - {"docs"}
            if is_killed:
                builder.kill()
                builder.wait()
            os.utime(tmp_path / left, (1, 1))
            open_index(index, docs, SIZE).close()
            names = names_in(tmp_path)

            assert names == {"docs", "index.db"} if is_killed else {"docs", "index.db", left}

    def test_a_full_disk_is_said_and_nothing_is_left(self, docs: Path, tmp_path: Path) -> None:
        (docs / "many.md").write_text("".join(f"# Loaf {n}\n\nText {n}.\n\n" for n in range(2000)))
        (tmp_path / "var").mkdir()
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            ended = run("index", RAG_DB=str(tmp_path / "var/index.db"), RAG_DOCS_DIR=str(docs))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

        assert ended[0] == 1
        assert ended[1].startswith(f"No index can be written to {tmp_path}/var/index.db: ")
        assert names_in(tmp_path / "var") == set()

    def test_a_place_that_is_none_is_said(self, docs: Path, tmp_path: Path) -> None:
        inside_a_file = run("index", RAG_DB=str(docs / "bread.md" / "index.db"), RAG_DOCS_DIR=str(docs))
        a_folder = run("index", RAG_DB=str(tmp_path), RAG_DOCS_DIR=str(docs))
        a_long_name = run("serve", RAG_DB="x" * 300, RAG_DOCS_DIR=str(docs))

        assert inside_a_file[0] == 1
        assert inside_a_file[1].startswith(f"No index can be written to {docs}/bread.md/index.db: ")
        assert a_folder == (2, f"RAG_DB: {tmp_path} is not a file\n")
        assert a_long_name[0] == 2
        assert a_long_name[1].startswith("RAG_DB: ")


class TestPlaceOfTheGlossary:
    @pytest.mark.parametrize("command", [["serve"], ["index"], ["ask", "리스트"]])
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"\x94\x00\xff" * 50, "glossary.tsv, line 1: not UTF-8"),
            ("목록\tlist\n".encode() + b"\xff\tx\n", "glossary.tsv, line 2: not UTF-8"),
            ("목록\tlist\n사전 dict\n".encode(), "glossary.tsv, line 2: not words, a tab, and their translations"),
        ],
    )
    def test_what_is_none_is_said_at_the_start(
        self, tmp_path: Path, command: list[str], content: bytes, reason: str
    ) -> None:
        (tmp_path / "glossary.tsv").write_bytes(content)
        places = {"RAG_GLOSSARY": str(tmp_path / "glossary.tsv"), "RAG_DB": str(tmp_path / "index.db")}

        assert run(*command, **places) == (2, f"RAG_GLOSSARY: {reason}\n")

    def test_a_missing_one_is_said_at_the_start(self, tmp_path: Path) -> None:
        code, said = run("serve", RAG_GLOSSARY=str(tmp_path / "nowhere.tsv"))

        assert code == 2
        assert said.startswith("RAG_GLOSSARY: ")

    async def test_an_empty_one_translates_nothing_and_is_mentioned(
        self, serve: Serve, docs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "glossary.tsv").write_text("# mine, some day\n")
        async with serve(rag_docs_dir=docs, rag_glossary=tmp_path / "glossary.tsv") as client:
            body = await ask(client, "sourdough")

        assert body["sources"]
        assert "nothing is translated" in caplog.text
