"""Questions that nobody would ask on purpose: each gets an answer soon, or a clear refusal."""

from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from ragserver.cli import commands
from ragserver.config import PACKAGED_DOCUMENTS
from tests.ragserver.questions import CHAT, ask, said_in, stream

AT_MOST_MS = 1000  # they take up to 150 here; some took 1,800
SYLLABLES = "".join(chr(0xAC00 + number * 37 % 11_172) for number in range(8000))
WORDS = " ".join(f"word{number}" for number in range(2000))
ODD = {
    "empty of words": "?! ... — ( )",
    "operators": 'NEAR(list tuple, 3) AND OR NOT * ^ : - + { } ( ) "list"',
    "a column": "{heading body} : list AND language : language_ko",
    "sql": "'; DROP TABLE chunks; -- list",
    "nul": "list\0tuple",
    "one letter": "a",
    "one jamo": "ㄱ",
    "a leading jamo": "\u1100",
    "digits": "123456 789",
    "stop words": "what is the of and to",
    "emoji": "😀👩‍👩‍👧🇰🇷",
    "right to left": "\u202eelput tsil\u202c ما هي القائمة",
    "zero width": "li\u200bst tu\u200dple\ufeff \u2060",
    "noncharacters": "list \uffff \ufdd0 \U0010ffff",
    "underscores": "_" * 8000,
    "backticks": "`" * 8000,
    "one word": "x" * 8000,
    "one Korean word": SYLLABLES,
    "Korean words": " ".join(SYLLABLES[at : at + 2] for at in range(0, 5000, 2)),
    "single letters": "a b " * 2000,
    "Chinese letters": " ".join(chr(0x4E00 + number) for number in range(4000)),
    "4,000 characters": WORDS[:4000],
    "8,000 characters": WORDS[:8000],
    "marks on one letter": "a" + "\u0301\u0316" * 3999,
    "marks in two heaps": "a" + "\u0301" * 4000 + "\u0316" * 3999,
    "letters that are phrases": "ﷺ" * 8000,
    "decomposed": "\u1105\u1175\u1109\u1173\u1110\u1173 " * 1100,
}


class TestQuestions:
    @pytest.mark.parametrize("question", ODD.values(), ids=ODD.keys())
    async def test_each_is_answered_soon_and_streamed_alike(self, rag: httpx.AsyncClient, question: str) -> None:
        body = await ask(rag, question)
        events = await stream(rag, question)

        assert body["answer"]
        assert body["metadata"]["timings"]["total"] < AT_MOST_MS
        assert "".join(said_in(events)) == body["answer"]
        assert events[-1][1]["sources"] == body["sources"]

    @pytest.mark.parametrize("question", ["?!", "ㄱ", "a", "😀", "what is the of and to", "_" * 100])
    async def test_one_that_asks_nothing_has_no_sources(self, rag: httpx.AsyncClient, question: str) -> None:
        assert (await ask(rag, question))["sources"] == []

    @pytest.mark.parametrize(
        "question",
        [
            '"리스트" ("튜플")',
            "리스트\0튜플",
            "'리스트'; -- 튜플",
            "^리스트* + -튜플",
            "{리스트} : 튜플",
            "리스트\u200b\n튜플",
        ],
    )
    async def test_signs_are_no_operators(self, rag: httpx.AsyncClient, question: str) -> None:
        plain, odd = await ask(rag, "리스트 튜플"), await ask(rag, question)

        assert odd["sources"][0]["document"] == plain["sources"][0]["document"] == "ko/lists-and-tuples.md"

    @pytest.mark.parametrize("name", ["ko/lists-and-tuples.md", "en/lists-and-tuples.md"])
    async def test_a_whole_document_finds_itself(self, rag: httpx.AsyncClient, name: str) -> None:
        text = (PACKAGED_DOCUMENTS / name).read_text("utf-8")
        body = await ask(rag, text[:8000])

        assert body["sources"][0]["document"] == name

    @pytest.mark.parametrize(
        "question",
        [" " * 10_000, "\u3000\u2003\t\r\n", "list" + " " * 10_000 + "tuple", "x" * 8001, "\ud800", "li\udfffst"],
    )
    async def test_one_that_is_none_is_refused(self, rag: httpx.AsyncClient, question: str) -> None:
        escaped = "".join(f"\\u{ord(char):04x}" for char in question)
        answered = await rag.post(
            CHAT, content=f'{{"question": "{escaped}"}}', headers={"Content-Type": "application/json"}
        )

        assert answered.status_code == 422
        assert answered.json()["success"] is False


class TestHistories:
    async def test_a_thousand_utterances_cost_no_more_than_one(self, rag: httpx.AsyncClient) -> None:
        said = [{"role": ("user", "assistant")[n % 2], "content": (WORDS * 2)[n : n + 200]} for n in range(998)]
        asked = [{"role": "user", "content": "리스트를 반복하려면?"}, {"role": "assistant", "content": "for"}]
        body = await ask(rag, "그럼 딕셔너리는?", chat_history=said + asked)

        assert body["sources"][0]["heading"] == "딕셔너리 > 딕셔너리 반복하기"
        assert body["metadata"]["timings"]["total"] < AT_MOST_MS

    @pytest.mark.parametrize("said", [WORDS * 12, "a" + "\u0301\u0316" * 99_999, "\0" * 200_000, "ﷺ " * 100_000])
    async def test_a_long_utterance_is_read_in_part(self, rag: httpx.AsyncClient, said: str) -> None:
        body = await ask(rag, "and it?", chat_history=[{"role": "user", "content": said[:200_000]}])

        assert body["metadata"]["timings"]["total"] < AT_MOST_MS

    async def test_more_than_the_contract_allows_is_refused(self, rag: httpx.AsyncClient) -> None:
        utterance = {"role": "user", "content": "list"}
        many = await rag.post(CHAT, json={"question": "list", "chat_history": [utterance] * 1001})
        long = await rag.post(
            CHAT, json={"question": "list", "chat_history": [{**utterance, "content": "x" * 200_001}]}
        )

        assert [many.status_code, long.status_code] == [422, 422]
        assert "xxx" not in long.text


class TestCommand:
    @pytest.mark.parametrize("question", ["", " ", "list \udcff tuple", 'NEAR( "', "x" * 100_000, "😀"])
    def test_ask_answers_whatever_the_shell_gives_it(self, tmp_path: Path, docs: Path, question: str) -> None:
        places = {"RAG_DB": str(tmp_path / "index.db"), "RAG_DOCS_DIR": str(docs)}
        ended = CliRunner().invoke(commands, ["ask", question], env=places)

        assert ended.exception is None
        assert ended.stdout
