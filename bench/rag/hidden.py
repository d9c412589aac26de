"""Questions that somebody put above their own answer: the heading is asked, and the documents no longer hold it."""

import re
from dataclasses import dataclass, replace

from manuals import KOREAN, Pages
from pages import Section, hangul_share

from ragserver import chunks

NEUTRAL = {"en": "Question", "ko": "질문"}
_ASKS = re.compile(r"\?|^(?:How|Why|What|Where|When)\b")
_LITTLE = 60  # characters; a passage with less answers nothing


@dataclass(frozen=True, slots=True)
class Question:
    """A heading that asks: the section of a page that it stands above."""

    page: str
    number: int

    def section(self, pages: Pages) -> Section:
        """Return the section in pages of one language or another."""
        return pages[self.page].sections[self.number]

    def path(self, pages: Pages) -> str:
        """Return the section's heading path."""
        return pages[self.page].paths()[self.number]


def questions_of(pages: Pages, folder: str) -> list[Question]:
    """Return the headings that ask, of the pages whose names begin with `folder`; titles of pages are no questions."""
    return [
        Question(name, number)
        for name, page in pages.items()
        if name.startswith(folder)
        for number, section in enumerate(page.sections)
        if section.level > 1 and _ASKS.search(section.title)
    ]


def hidden(pages: Pages, questions: list[Question], language: str) -> Pages:
    """Return the pages with "Question 12" in place of each question, also where another section quotes it."""
    titles: dict[Question, str] = {}
    for name in dict.fromkeys(question.page for question in questions):
        of_page = [question for question in questions if question.page == name]
        titles |= {question: f"{NEUTRAL[language]} {number}" for number, question in enumerate(of_page, 1)}
    quoted = {question.section(pages).title: title for question, title in titles.items()}
    any_of_them = re.compile("|".join(re.escape(question) for question in sorted(quoted, key=len, reverse=True)))

    def neutral(section: Section, question: Question) -> Section:
        text = any_of_them.sub(lambda match: quoted[match[0]], section.text)
        return replace(section, title=titles.get(question, section.title), text=text)

    return {
        name: replace(page, sections=tuple(neutral(s, Question(name, at)) for at, s in enumerate(page.sections)))
        for name, page in pages.items()
    }


def is_answered(question: Question, pages: Pages, chunk_chars: int) -> bool:
    """Tell whether the index has a passage right below a question; of a section that is all links it has none."""
    name, path = f"{question.page}.md", question.path(pages)
    found = chunks.cut(name, pages[question.page].markdown(), chunk_chars)
    return any(chunk.heading == path and len(chunk.content) >= _LITTLE for chunk in found)


def is_korean(question: Question, pages: Pages) -> bool:
    """Tell whether both the question and its answer are translated."""
    section = question.section(pages)
    return min(hangul_share(section.title), hangul_share(section.text)) >= KOREAN


def line(question: Question, asked: Pages, found_in: Pages) -> dict[str, object]:
    """Return a line of a file of questions: asked as in `asked`, answered in the pages of `found_in`."""
    gold = {"document": f"{question.page}.md", "heading": question.path(found_in)}
    return {"question": question.section(asked).title, "gold": [gold]}
