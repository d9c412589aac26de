"""How manuals become the documents that `make eval` asks about."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "bench" / "rag"
Script = Callable[[str], ModuleType]

PYTHON = """
<div class="body"><h1>Sorting<a class="headerlink" href="#s">¶</a></h1>
<p>Lists have a <code>sort</code> method, see <a href="lists.html">there</a>
and <a href="https://example.org/">elsewhere</a>.</p>
<h2>1.2. Keys</h2>
<div class="highlight-python3"><pre># not a heading
sorted(a)</pre></div>
<div class="admonition note"><p class="admonition-title">Note</p><p>It is stable.</p></div>
<dl><dt class="sig">sorted(a)</dt><dd><p>Return a list.</p></dd></dl></div>
"""
MALLARD = """
<page xmlns="http://projectmallard.org/1.0/" id="battery">
<info><desc>Not read.</desc></info>
<title>배터리</title>
<p>밝기를 <gui>설정</gui>에서 낮춥니다. <link xref="power"/>도 보십시오.</p>
<section id="s"><title>끄기</title><steps><item><p><key>Super</key>를 누릅니다.</p></item></steps></section>
</page>
"""
FAQ = """
<body><h1>FAQ</h1><h2>Why is it fast?</h2><p>Because of its caches.</p>
<h2>Is it safe?</h2><p>Yes, see <em>Why is it fast?</em> above.</p></body>
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Import a script of bench/rag, which is no package, by its name."""
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module


class TestPages:
    def test_a_page_is_its_headings_and_the_markdown_below_them(self, script: Script) -> None:
        page = script("pages").page_of("howto/sorting", PYTHON, "div.body")

        assert page.paths() == ["Sorting", "Sorting > Keys"]
        assert page.markdown() == (
            "# Sorting\n\n"
            "Lists have a `sort` method, see there and [elsewhere](https://example.org/).\n\n"
            "## Keys\n\n"
            "```python\n# not a heading\nsorted(a)\n```\n\n"
            "**Note:** It is stable.\n\n"
            "`sorted(a)`\n\n"
            "Return a list.\n"
        )

    def test_a_help_page_reads_like_any_other(self, script: Script, tmp_path: Path) -> None:
        (tmp_path / "battery.page").write_text(MALLARD, "utf-8")
        html = script("mallard").html_of(tmp_path / "battery.page", "ko", {"power": "전원"})
        page = script("pages").page_of("gnome-help/battery", html, "body")

        assert page.paths() == ["배터리", "배터리 > 끄기"]
        assert page.markdown() == (
            "# 배터리\n\n밝기를 설정에서 낮춥니다. “전원”도 보십시오.\n\n## 끄기\n\n1. Super를 누릅니다.\n"
        )


class TestHiddenHeadings:
    def test_no_document_holds_a_question_that_is_asked(self, script: Script) -> None:
        hidden = script("hidden")
        pages = {"faq/general": script("pages").page_of("faq/general", FAQ, "body")}
        asked = hidden.questions_of(pages, "faq/")
        neutral = hidden.hidden(pages, asked, "en")

        assert neutral["faq/general"].markdown() == (
            "# FAQ\n\n## Question 1\n\nBecause of its caches.\n\n## Question 2\n\nYes, see *Question 1* above.\n"
        )
        assert hidden.line(asked[0], pages, neutral) == {
            "question": "Why is it fast?",
            "gold": [{"document": "faq/general.md", "heading": "FAQ > Question 1"}],
        }
