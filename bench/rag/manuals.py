"""Which packages hold the manuals, where in them, and which of their pages are worth asking about."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import mallard
from packages import unpacked
from pages import Page, hangul_share, page_of

Pages = dict[str, Page]

KOREAN = 0.3  # of the letters are Hangul; less, and a page or section is not translated
_LITTLE = 100  # characters; a page with less text only leads to others
_NO_PAGES = {"index", "apf"}  # a table of contents; the licence
_PYTHON = ("tutorial", "faq", "howto", "library", "reference")
_GNOME = ("gnome-help", "system-admin-guide")


def python_pages(packages: Path) -> Pages:
    """Return the pages of Python's documentation, which Debian has in English only."""
    root = unpacked("python3.11-doc", packages) / "usr/share/doc/python3.11/html"
    paths = (path for part in _PYTHON for path in sorted((root / part).glob("*.html")))
    return _converted((path.relative_to(root).with_suffix("").as_posix(), path, "div.body") for path in paths)


def debian_pages(packages: Path) -> tuple[Pages, Pages]:
    """Return the pages that are there in Korean and in English, with the same sections in the same order."""
    korean, english = (
        _converted([*_faq(language, packages), *_guide(language, packages)]) | _gnome(language, packages)
        for language in ("ko", "en")
    )
    names = [
        name
        for name, page in korean.items()
        if hangul_share(page.text()) >= KOREAN and name in english and _shape(page) == _shape(english[name])
    ]
    return {name: korean[name] for name in names}, {name: english[name] for name in names}


def _faq(language: str, packages: Path) -> Iterator[tuple[str, Path, str]]:
    name, part = ("debian-faq-ko", "ko") if language == "ko" else ("debian-faq", "")
    folder = unpacked(name, packages) / "usr/share/doc/debian/FAQ" / part
    for path in sorted(folder.glob(f"*.{language}.html")):
        yield f"debian-faq/{path.name.partition('.')[0]}", path, "body"


def _guide(language: str, packages: Path) -> Iterator[tuple[str, Path, str]]:
    root = unpacked("installation-guide-amd64", packages) / "usr/share/doc/installation-guide-amd64"
    for path in sorted((root / language).glob("*.html")):
        yield f"installation-guide/{path.stem}", path, "body"


def _gnome(language: str, packages: Path) -> Pages:
    root = unpacked("gnome-user-docs", packages) / "usr/share/help" / ("C" if language == "en" else language)
    pages = []
    for manual in _GNOME:
        names = mallard.titles(root / manual)
        pages += [
            page_of(f"{manual}/{path.stem}", mallard.html_of(path, language, names), "body")
            for path in sorted((root / manual).glob("*.page"))
        ]
    return _with_text(pages)


def _converted(sources: Iterable[tuple[str, Path, str]]) -> Pages:
    """Return HTML pages by name, from their names, files and the selectors of what to read in them."""
    wanted = [source for source in sources if source[1].name.partition(".")[0] not in _NO_PAGES]
    with ProcessPoolExecutor() as pool:
        return _with_text(pool.map(_page, wanted, chunksize=4))


def _page(source: tuple[str, Path, str]) -> Page:
    name, path, body = source
    return page_of(name, path.read_text(encoding="utf-8"), body)


def _with_text(pages: Iterable[Page]) -> Pages:
    return {page.name: page for page in pages if len(page.text()) >= _LITTLE}


def _shape(page: Page) -> list[int]:
    return [section.level for section in page.sections]
