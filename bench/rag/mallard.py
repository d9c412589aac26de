"""GNOME's help pages (Mallard XML) as plain HTML, for the same way to Markdown as every other manual."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from xml.etree import ElementTree as ET

_NOTES = {
    "en": {"tip": "Tip", "warning": "Warning", "important": "Important", "": "Note"},
    "ko": {"tip": "팁", "warning": "경고", "important": "중요", "": "참고"},
}
_DROPPED = {"info", "comment", "links", "figure", "thumb", "tt", "subtitle", "desc", "colgroup", "col"}
_AROUND_BLOCKS = {"page", "section", "item", "example", "listing", "note"}
_ELEMENTS = {
    **{name: name for name in ("p", "em", "code", "thead", "tbody", "tr", "th", "td")},
    **dict.fromkeys(("cmd", "file", "input", "output", "sys"), "code"),
    "steps": "ol",
    "list": "ul",
    "item": "li",
    "screen": "pre",
    "terms": "dl",
}


def titles(folder: Path) -> dict[str, str]:
    """Return the titles of the pages and sections of a manual, under the names that its links use."""
    found = {}
    for path in sorted(folder.glob("*.page")):
        page = _read(path)
        for element in page.iter():
            if element.tag in {"page", "section"}:
                key = path.stem if element is page else f"{path.stem}#{element.get('id')}"
                found[key] = _title(element)
    return found


def html_of(path: Path, language: str, names: Mapping[str, str]) -> str:
    """Return a help page as HTML whose headings are its title and those of its sections."""
    return f"<body>{_Writer(path.stem, _NOTES[language], names).section(_read(path), 1)}</body>"


def _read(path: Path) -> ET.Element:
    """Return a page without namespaces, with blocks of code as `screen`, and pictures only inside sentences."""
    page = ET.parse(path).getroot()
    for element in page.iter():
        element.tag = element.tag.rpartition("}")[2]
    for element in page.iter():
        for child in list(element) if element.tag in _AROUND_BLOCKS else ():
            if child.tag == "code":
                child.tag = "screen"
            elif child.tag == "media":
                child.tag = "figure"
    return page


def _title(element: ET.Element) -> str:
    title = element.find("title")
    return "" if title is None else " ".join("".join(title.itertext()).split())


class _Writer:
    """Writes the elements of one page."""

    def __init__(self, page: str, notes: Mapping[str, str], names: Mapping[str, str]) -> None:
        self._page, self._notes, self._names = page, notes, names
        self._special = {
            "title": lambda element: f"<p><strong>{self._inner(element)}</strong></p>",
            "note": self._note,
            "link": self._link,
            "item": self._item,
            "table": self._table,
            "keyseq": lambda element: "+".join(self._inner(key) for key in element),
            "guiseq": lambda element: " ▸ ".join(self._inner(step) for step in element),
            "choose": self._choose,
        }

    def section(self, element: ET.Element, level: int) -> str:
        """Return a section with its heading and the sections in it."""
        title = f"<h{level}>{escape(_title(element))}</h{level}>"
        inner = (
            self.section(child, level + 1) if child.tag == "section" else self._write(child)
            for child in element
            if child.tag != "title"
        )
        return title + "".join(inner)

    def _write(self, element: ET.Element) -> str:
        if element.tag in _DROPPED:
            return ""
        if special := self._special.get(element.tag):
            return special(element)
        name = _ELEMENTS.get(element.tag)
        return f"<{name}>{self._inner(element)}</{name}>" if name else self._inner(element)

    def _inner(self, element: ET.Element) -> str:
        return escape(element.text or "") + "".join(self._write(child) + escape(child.tail or "") for child in element)

    def _note(self, element: ET.Element) -> str:
        label = self._notes.get(element.get("style", ""), self._notes[""])
        return f'<div class="note"><p class="title">{label}</p>{self._inner(element)}</div>'

    def _link(self, element: ET.Element) -> str:
        words, target = self._inner(element), element.get("xref", "")
        if address := element.get("href"):
            return f'<a href="{escape(address)}">{words or escape(address)}</a>'
        key = f"{self._page}{target}" if target.startswith("#") else target
        return words if words.strip() else f"“{escape(self._names.get(key, target))}”"

    def _item(self, element: ET.Element) -> str:
        """Return an item of a list, or a term and its explanation."""
        title = element.find("title")
        if title is None:
            return f"<li>{self._inner(element)}</li>"
        element.remove(title)
        return f"<dt>{self._inner(title)}</dt><dd>{self._inner(element)}</dd>"

    def _table(self, element: ET.Element) -> str:
        """Return a table below its title, which Markdown would take for a row."""
        title = element.find("title")
        if title is None:
            return f"<table>{self._inner(element)}</table>"
        element.remove(title)
        return self._special["title"](title) + f"<table>{self._inner(element)}</table>"

    def _choose(self, element: ET.Element) -> str:
        """Return what is written for the plain desktop and not for a variant of it."""
        plain = (choice for choice in element if choice.get("test", "").startswith("!"))
        return self._inner(next(plain, element[-1]))
