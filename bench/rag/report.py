"""Asks every set of questions, measures the server, writes the figures into docs/reference-rag.md. Run by `make eval`.

    python bench/rag/report.py --only-quality
    python bench/rag/report.py --only-serving

bench/rag/documents.py makes the documents and the questions. Figures go between markers, the prose around them stays;
what became of each question goes to var/eval/results as JSON. Costs are only true on a machine that does nothing else.
"""

import argparse
import asyncio
import os
import platform
import random
import sqlite3
import sys
from datetime import UTC, datetime
from pathlib import Path

import documents
import goals
import psutil
import quality
import serving
import tables
from documents import ROOT as WORK
from documents import SEVEN_THOUSAND
from sets import FOLDERS, sets

from ragserver.evaluation.questions import QuestionsError
from ragserver.evaluation.variants import passages_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference-rag.md"
RESULTS = WORK / "results"
SERVED = ("python-en", "debian-ko", SEVEN_THOUSAND, "python-en-all")
HALVES = ("report", "tune")
SEED = 7


def main() -> None:
    """Measure what was asked for and write it."""
    options = arguments()
    if not documents.are_made():
        sys.exit(f"{WORK} does not hold what this code is asked about: python bench/rag/documents.py makes it.")
    blocks = {"circumstances": circumstances()}
    try:
        if not options.only_serving:
            blocks |= asyncio.run(quality_blocks())
        if not options.only_quality:
            blocks |= serving_blocks()
    except QuestionsError as exc:
        sys.exit(f"The questions do not fit the documents; is this another release of Debian than 12?\n{exc}")
    write(options.page, blocks)
    print(blocks["goals"])


def arguments() -> argparse.Namespace:
    """What the command is given."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write the figures into")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--only-quality", action="store_true", help="the questions, not the server's costs")
    only.add_argument("--only-serving", action="store_true", help="the server's costs, not the questions")
    return parser.parse_args()


async def quality_blocks() -> dict[str, str]:
    """What the questions say: the goals on one half, all tables on both."""
    blocks = {"documents": documents_table()}
    for half in HALVES:
        results = [result for folder in FOLDERS for result in await asked(folder, half)]
        if half == "report":
            blocks["goals"] = goals.summary(RESULTS, "quality", goals.of_quality(results))
        blocks |= {
            f"whole server, {half}": tables.whole_server(results),
            f"off topic, {half}": tables.off_topic(results),
            f"engines, {half}": tables.engines(results),
            f"stages, {half}": tables.changes(results),
        }
    return blocks


async def asked(folder: str, half: str) -> list[quality.Result]:
    """How every engine did over a folder."""
    print(f"{folder}, {half}", flush=True)
    return await quality.results(folder, half)


def documents_table() -> str:
    """How much there is in each folder."""
    rows = []
    for folder in FOLDERS:
        passages = passages_of(WORK / folder, documents.CHUNK_CHARS)
        size = sum(path.stat().st_size for path in (WORK / folder).rglob("*.md")) / 1e6
        rows.append([folder, f"{len({one.document for one in passages})}", f"{len(passages):,}", f"{size:.1f}"])
    return tables.table(["folder", "documents", "chunks", "MB"], rows)


def serving_blocks() -> dict[str, str]:
    """What it costs to serve folders of several sizes."""
    costs = {}
    for folder in SERVED:
        print(f"{folder}, served", flush=True)
        costs[folder] = serving.costs(WORK / folder, questions_for(folder))
    return {
        "goals": goals.summary(RESULTS, "serving", goals.of_serving(costs)),
        "serving": tables.table(serving.COLUMNS, [serving.row(name, found) for name, found in costs.items()]),
    }


def questions_for(folder: str) -> list[str]:
    """Every question of both halves about what is in a folder, always shuffled the same way."""
    about = "python-en" if folder.startswith("python-en") else folder
    settings = quality.settings_of(about)
    passages = passages_of(settings.rag_docs_dir, settings.rag_chunk_chars)
    found = [case.question for half in HALVES for one in sets(about, half, passages) for case in one.cases]
    random.Random(SEED).shuffle(found)
    return found


def circumstances() -> str:
    """When and on what it was measured."""
    memory = psutil.virtual_memory().total / 2**30
    machine = f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GB"
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    return f"Measured on {datetime.now(UTC):%Y-%m-%d} by `make eval`, on {machine}, {versions}."


def write(page: Path, blocks: dict[str, str]) -> None:
    """Put every block between its markers; a page without them gets them at its end."""
    text = page.read_text("utf-8") if page.exists() else "# The reference RAG server\n"
    for name, block in blocks.items():
        begin, end = f"<!-- figures: {name} -->", f"<!-- end of figures: {name} -->"
        if begin not in text:
            text += f"\n{begin}\n{end}\n"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n\n{block}\n\n{end}{rest.partition(end)[2]}"
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
