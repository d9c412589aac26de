"""HTML manuals as Markdown: a page is its sections, each with a heading and what is below it."""

import re
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace

from bs4 import BeautifulSoup
from bs4.element import NavigableString, Tag
from markdownify import MarkdownConverter

# Ends a heading while the page is one text, so that a comment in code is none; no manual has this character.
_MARK = "\N{SYMBOL FOR UNIT SEPARATOR}"
_HEADING = re.compile(rf"^(#{{1,6}}) (.*){_MARK}[ \t]*$", re.MULTILINE)
_NUMBER = re.compile(
    r"^(?:(?:Chapter|Appendix|부록)\s+\w+\.|\d+장\.|[A-Z\d]+(?:\.\d+)+\.|\d+\.)\s+(?=\S)",
)
_REFERENCE = re.compile(
    r"^(?:(?:Section|Chapter|Appendix|부록)\s[A-Z\d][.\dA-Z]*[.,]|[A-Z\d][.\dA-Z]*[절장][.,])\s*(?=\S)"
)
_HANGUL = re.compile(r"[가-힣]")
_LETTER = re.compile(r"[^\W\d_]")
_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
# Footnotes stand below the last section of a page, whichever they belong to.
_NO_TEXT = (
    "script, style, img, hr, nav, colgroup, a.headerlink, a.indexterm, div.toc, div.navheader, div.navfooter,"
    "div.toctree-wrapper, div.topic.contents, aside.topic.contents, div.mediaobject, h1 + dl.field-list,"
    "div.footnotes, p.rubric:has(+ aside.footnote-list), aside.footnote-list, a.footnote-reference,"
    "a:has(> sup.footnote)"
)
_LANGUAGES = {"python3": "python", "default": "python", "shell-session": "console", "none": "", "text": ""}
_NOTES = "div.note, div.tip, div.warning, div.important, div.caution"


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the Markdown below it, up to the next heading."""

    level: int
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """A document to be: its path without the ending, and its sections in order."""

    name: str
    sections: tuple[Section, ...]

    def markdown(self) -> str:
        """Return the whole page."""
        return (
            "\n\n".join(part for s in self.sections for part in (f"{'#' * s.level} {s.title}", s.text) if part) + "\n"
        )

    def paths(self) -> list[str]:
        """Return the heading path of every section, as the index writes it."""
        paths: list[str] = []
        above: list[Section] = []
        for section in self.sections:
            above = [*(upper for upper in above if upper.level < section.level), section]
            paths.append(" > ".join(upper.title for upper in above))
        return paths

    def text(self) -> str:
        """Return what is written below the headings."""
        return "\n\n".join(section.text for section in self.sections)


def page_of(name: str, html: str, body: str) -> Page:
    """Return an HTML page as Markdown; `body` selects the element that holds the text."""
    soup = BeautifulSoup(html, "html.parser")
    root = soup.select_one(body)
    if root is None:
        raise ValueError(f"{name} has no {body}")
    _clean(soup, root)
    markdown = _Converter(
        heading_style="ATX",
        bullets="-",
        code_language_callback=_language,
        escape_asterisks=False,
        escape_underscores=False,
    ).convert_soup(root)
    return Page(name, _raised(list(_sections(markdown))))


def hangul_share(text: str) -> float:
    """Return which part of the letters outside code is Hangul."""
    prose = without_code(text)
    return len(_HANGUL.findall(prose)) / max(1, len(_LETTER.findall(prose)))


def without_code(text: str) -> str:
    """Return a text without its fences."""
    return _FENCE.sub("", text)


class _Converter(MarkdownConverter):
    """Markdown in which a link keeps its address only when that leads out of the manual."""

    def convert_a(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """Return a link that leads out, or the words of one that does not."""
        if str(el.get("href", "")).startswith(("http://", "https://")):
            return str(super().convert_a(el, text, parent_tags))  # type: ignore[misc]  # its stub does not name it
        return text


def _language(pre: Tag) -> str:
    for outer in pre.parents:
        for name in outer.get("class") or ():
            if name.startswith("highlight-"):
                language = name.removeprefix("highlight-")
                return _LANGUAGES.get(language, language)
    return ""


def _clean(soup: BeautifulSoup, root: Tag) -> None:
    for tag in root.select(_NO_TEXT):
        tag.decompose()
    for emphasis in root.select("strong:has(> code), em:has(> code)"):
        emphasis.unwrap()
    for link in root.select("a.xref, a.link"):
        link.string = _REFERENCE.sub("", link.get_text())
    _join_lines(root)
    for heading in root.find_all(re.compile(r"^h[1-6]$")):
        title = " ".join(heading.get_text().split())
        heading.string = f"{_NUMBER.sub('', title)}{_MARK}"
    for note in root.select(_NOTES):
        _label(soup, note)
    _open_definitions(soup, root)
    for cell in root.find_all(["td", "th"], rowspan=True):
        _repeat(cell)


def _join_lines(root: Tag) -> None:
    """A line break in the source is none in the text; left in, a line could begin like a list."""
    for text in root.find_all(string=True):
        if type(text) is NavigableString and not text.find_parent("pre"):  # and no comment
            text.replace_with(NavigableString(re.sub(r"\s+", " ", text)))


def _label(soup: BeautifulSoup, note: Tag) -> None:
    """Write "Note:" in bold before a note, in place of a box, a picture or a heading."""
    title = note.select_one(".title, th, .admonition-title")
    first = note.select_one("p:not(.admonition-title):not(.title)")
    if not title or not first:
        return
    label = soup.new_tag("strong")
    label.string = f"{title.get_text(strip=True).rstrip(_MARK)}:"
    title.decompose()
    if first.contents and type(first.contents[0]) is NavigableString:
        first.contents[0].replace_with(NavigableString(first.contents[0].lstrip()))
    first.insert(0, label, " ")
    for table in note.select("table"):
        table.replace_with(*table.select("td > *"))


def _open_definitions(soup: BeautifulSoup, root: Tag) -> None:
    """Make a definition list into paragraphs: the term in bold or, of an API, as code, then its explanation."""
    for term in root.find_all("dt"):
        mark = soup.new_tag("code" if "sig" in (term.get("class") or ()) else "strong")
        mark.string = " ".join(term.get_text().split())
        term.clear()
        term.append(mark)
        term.name = "p"
    for rest in root.find_all(["dd", "dl"]):
        rest.name = "div"


def _repeat(cell: Tag) -> None:
    """Write a cell that spans rows into each of them; Markdown's tables have no such cells."""
    column = len(cell.find_previous_siblings(["td", "th"]))
    rows = int(str(cell["rowspan"]))
    del cell["rowspan"]
    for below in cell.find_parent("tr").find_next_siblings("tr", limit=rows - 1):  # type: ignore[union-attr]
        below.insert(column, copy(cell))


def _sections(markdown: str) -> Iterator[Section]:
    found = list(_HEADING.finditer(markdown))
    for heading, following in zip(found, [*found[1:], None], strict=True):
        text = markdown[heading.end() : following.start() if following else None]
        yield Section(len(heading[1]), " ".join(heading[2].split()), _tidy(text))


def _tidy(text: str) -> str:
    lines = "\n".join(line.rstrip() for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", lines).strip("\n")


def _raised(sections: list[Section]) -> tuple[Section, ...]:
    """A page out of the middle of a book begins at its second level; as a document it begins at the first."""
    by = min((section.level for section in sections), default=1) - 1
    return tuple(replace(section, level=section.level - by) for section in sections)
