"""The sections that somebody can write a question about: mostly prose, and neither a remark nor a chapter."""

from collections.abc import Iterator

from manuals import KOREAN, Pages
from pages import Page, hangul_share, without_code

from ragserver import markdown

_SHORT, _LONG = 300, 2500  # characters
_SHORT_KOREAN = 150  # says as much
_PROSE = 0.6  # of the characters are not code

Place = dict[str, str]


def sections(pages: Pages) -> Iterator[dict[str, object]]:
    """Yield sections as {"id", "document", "heading", "text"}."""
    for page in pages.values():
        for number, place in enumerate(_places(page)):
            if _is_good(place["text"], _SHORT):
                yield {"id": f"{page.name}#{number}", **place}


def parallel_sections(korean: Pages, english: Pages) -> Iterator[dict[str, object]]:
    """Yield sections that are there in both languages as {"id", "ko": {"document", ...}, "en": {...}}."""
    for name, page in korean.items():
        for number, (ko, en) in enumerate(zip(_places(page), _places(english[name]), strict=True)):
            translated = hangul_share(ko["text"]) >= KOREAN
            if translated and _is_good(ko["text"], _SHORT_KOREAN) and _is_good(en["text"], _SHORT):
                yield {"id": f"{name}#{number}", "ko": ko, "en": en}


def _places(page: Page) -> list[Place]:
    return [
        {"document": f"{page.name}.md", "heading": path, "text": section.text}
        for path, section in zip(page.paths(), page.sections, strict=True)
    ]


def _is_good(text: str, short: int) -> bool:
    is_prose = len(without_code(text)) >= _PROSE * len(text) and not markdown.is_mostly_links(text)
    return is_prose and short <= len(text) <= _LONG
