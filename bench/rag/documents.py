"""Makes the documents and questions of `make eval` out of Debian packages, in var/eval.

    python bench/rag/documents.py

Nobody here wrote them: Python's documentation in English, and in Korean with an English twin the Debian FAQ, Debian's
installation guide and GNOME's help. Folders of Markdown, files of questions, and sections for whoever writes more.
What is made already is not made again until a package or the code that makes it changes.
"""

import hashlib
import inspect
import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import hidden
import mallard
import manuals
import pages
import sections
from hidden import Question
from manuals import Pages
from pages import Page

from ragserver import chunks, markdown

ROOT = Path(__file__).resolve().parents[2] / "var" / "eval"
PACKAGES, QUESTIONS, MADE = ROOT / "packages", ROOT / "questions", ROOT / "made.txt"
MAKERS = (sys.modules[__name__], hidden, mallard, manuals, pages, sections, chunks, markdown)
CHUNK_CHARS = 900
SEVEN_THOUSAND = "python-en-7000"  # what serving costs is told at this many chunks


def main() -> None:
    """Fetch, convert, write, print how much of everything there is."""
    if are_made():
        print(f"{ROOT} is as the packages and the code would make it.")
        return
    write_python(manuals.python_pages(PACKAGES))
    write_debian(*manuals.debian_pages(PACKAGES))
    MADE.write_text(fingerprint())


def are_made() -> bool:
    """Tell whether everything is there as the packages and the code would make it."""
    return MADE.exists() and MADE.read_text() == fingerprint()


def fingerprint() -> str:
    """Return what changes when the documents or questions would come out differently."""
    digest = hashlib.sha256(" ".join(sorted(path.name for path in PACKAGES.glob("*.deb"))).encode())
    for module in MAKERS:
        digest.update(Path(inspect.getfile(module)).read_bytes())
    return digest.hexdigest()


def write_python(everything: Pages) -> None:
    """Write what comes from Python's documentation."""
    questions = hidden.questions_of(everything, "faq/")
    neutral = hidden.hidden(everything, questions, "en")
    taught = {name: page for name, page in neutral.items() if name.startswith(("tutorial/", "howto/"))}
    small = taught | {name: page for name, page in neutral.items() if name.startswith("faq/")}
    write_folder("python-en", small)
    write_folder("python-en-all", neutral)
    write_folder(SEVEN_THOUSAND, of_size(neutral, small, 7000))
    answered = [question for question in questions if hidden.is_answered(question, small, CHUNK_CHARS)]
    write_halves("python-en-faq-en", answered, everything, small)
    write_lines(ROOT / "sections-python.jsonl", sections.sections(taught))


def of_size(everything: Pages, first: Pages, size: int) -> Pages:
    """Return some pages and as many others as fit into so many chunks, the others in an order that says nothing."""
    chosen, room = dict(first), size - sum(map(chunks_of, first.values()))
    for name in sorted(everything.keys() - first.keys(), key=lambda name: hashlib.sha256(name.encode()).digest()):
        if (count := chunks_of(everything[name])) <= room:
            chosen[name] = everything[name]
            room -= count
    return chosen


def chunks_of(page: Page) -> int:
    """Return into how many chunks a page is cut."""
    return len(chunks.cut(f"{page.name}.md", page.markdown(), CHUNK_CHARS))


def write_debian(korean: Pages, english: Pages) -> None:
    """Write what is there in both languages; in debian-mixed every second page is Korean."""
    questions = hidden.questions_of(english, "debian-faq/")
    ko, en = hidden.hidden(korean, questions, "ko"), hidden.hidden(english, questions, "en")
    mixed = {name: (en, ko)[number % 2][name] for number, name in enumerate(sorted(ko))}
    answered = [
        question
        for question in questions
        if hidden.is_korean(question, korean)
        and all(hidden.is_answered(question, found_in, CHUNK_CHARS) for found_in in (ko, en))
    ]
    for folder, found_in in {"debian-ko": ko, "debian-en": en, "debian-mixed": mixed}.items():
        write_folder(folder, found_in)
        write_halves(f"{folder}-faq-ko", answered, korean, found_in)
        write_halves(f"{folder}-faq-en", answered, english, found_in)
    manual = {name: page for name, page in ko.items() if not name.startswith("debian-faq/")}
    write_lines(ROOT / "sections-debian.jsonl", sections.parallel_sections(manual, en))


def write_folder(name: str, written: Pages) -> None:
    """Write pages as the only files of a folder."""
    shutil.rmtree(ROOT / name, ignore_errors=True)
    count = 0
    for page in written.values():
        path = ROOT / name / f"{page.name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page.markdown(), encoding="utf-8")
        count += chunks_of(page)
    print(f"{name}: {len(written)} documents, {count} chunks")


def write_halves(name: str, questions: list[Question], asked: Pages, found_in: Pages) -> None:
    """Write a set of questions as two files, one for choosing settings, one for the figures that are told."""
    lines = [hidden.line(question, asked, found_in) for question in questions]
    for half, part in (("tune", lines[::2]), ("report", lines[1::2])):
        write_lines(QUESTIONS / f"{name}-{half}.jsonl", part)


def write_lines(path: Path, lines: Iterable[dict[str, object]]) -> None:
    """Write a file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [json.dumps(line, ensure_ascii=False) for line in lines]
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {len(texts)}")


if __name__ == "__main__":
    main()
