"""What a learner gets for a question."""

import re
from typing import Any

import httpx
import pytest

from tests.ragserver.questions import ask


def cited(body: dict[str, Any]) -> list[dict[str, Any]]:
    numbers = {int(number) for number in re.findall(r" \[(\d+)\]$", body["answer"], re.MULTILINE)}
    return [body["sources"][number - 1] for number in sorted(numbers)]


class TestFirstQuestion:
    async def test_korean_answer_tells_the_difference_and_cites_the_right_document(
        self, rag: httpx.AsyncClient
    ) -> None:
        body = await ask(rag, "Python에서 리스트와 튜플의 차이는?")

        for word in ("변경 가능(mutable)", "변경 불가능(immutable)", "해시", "메모리", "```python"):
            assert word in body["answer"]
        assert {source["document"] for source in cited(body)} == {"ko/lists-and-tuples.md"}
        assert body["metadata"]["confidence"] == "high"
        assert body["metadata"]["mode"] == "extractive"

    async def test_english_answer_tells_the_difference_and_cites_the_right_document(
        self, rag: httpx.AsyncClient
    ) -> None:
        body = await ask(rag, "What is the difference between a list and a tuple in Python?")

        for word in ("mutable", "immutable", "hashable", "memory", "```python"):
            assert word in body["answer"]
        assert {source["document"] for source in cited(body)} == {"en/lists-and-tuples.md"}
        assert body["metadata"]["confidence"] == "high"

    async def test_sources_are_the_contracts(self, rag: httpx.AsyncClient) -> None:
        body = await ask(rag, "Python에서 리스트와 튜플의 차이는?", user_id=1, session_id="s-1", chat_history=[])

        scores = [source["score"] for source in body["sources"]]
        assert 1 <= len(scores) <= 5
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)
        assert all(source["chunk_id"] and source["content"] for source in body["sources"])
        assert body["metadata"]["timings"]["total"] > 0

    async def test_same_question_names_the_same_chunks_again(self, rag: httpx.AsyncClient) -> None:
        first = await ask(rag, "딕셔너리 두 개를 합치는 방법은?")
        again = await ask(rag, "딕셔너리 두 개를 합치는 방법은?")

        assert first["sources"] == again["sources"]
        assert len({source["chunk_id"] for source in first["sources"]}) == len(first["sources"])


class TestTopics:
    @pytest.mark.parametrize(
        ("question", "document"),
        [
            ("*args와 **kwargs가 뭐예요?", "ko/functions-and-arguments.md"),
            ("Why is a mutable default argument dangerous?", "en/functions-and-arguments.md"),
            ("with문은 왜 쓰나요?", "ko/files-and-context-managers.md"),
            ("How do I read a file line by line?", "en/files-and-context-managers.md"),
            ("제너레이터와 이터레이터의 차이", "ko/iterators-and-generators.md"),
            ("How do I merge two dictionaries?", "en/dictionaries.md"),
            ("가상환경 만드는 법", "ko/modules-and-virtual-environments.md"),
            ("what is a decorator", "en/decorators.md"),
            ("리스트 중복 제거", "ko/sets.md"),
            ("list와 tuple 차이점 알려줘", "ko/lists-and-tuples.md"),
        ],
    )
    async def test_best_source_is_the_document_on_the_topic(
        self, rag: httpx.AsyncClient, question: str, document: str
    ) -> None:
        body = await ask(rag, question)

        assert body["sources"][0]["document"] == document
        assert body["metadata"]["confidence"] == "high"
        assert cited(body)


class TestOtherLanguage:
    """What is in one language only is found by a question in the other, and quoted as it stands."""

    @pytest.mark.parametrize(
        ("question", "document", "said"),
        [
            ("로그 레벨이 뭐야?", "en/logging.md", "영어로 된 문서라서"),
            ("로그 파일이 너무 커져요. 어떻게 하나요?", "en/logging.md", "`maxBytes`"),
            ("How do I add three days to a date?", "ko/dates-and-times.md", "They are in Korean"),
            ("how to get the current time", "ko/dates-and-times.md", "`datetime.now()`"),
        ],
    )
    async def test_it_is_found(self, rag: httpx.AsyncClient, question: str, document: str, said: str) -> None:
        body = await ask(rag, question)

        assert body["sources"][0]["document"] == document
        assert said in body["answer"]
        assert cited(body)[0]["document"] == document

    async def test_own_language_comes_first_where_both_have_it(self, rag: httpx.AsyncClient) -> None:
        korean = await ask(rag, "데코레이터가 뭐예요?")
        english = await ask(rag, "what is a decorator")

        assert korean["sources"][0]["document"] == "ko/decorators.md"
        assert english["sources"][0]["document"] == "en/decorators.md"
        assert "영어로 된" not in korean["answer"]


class TestQuotation:
    @pytest.mark.parametrize(
        ("question", "heading"),
        [
            ("what is a decorator", "Decorators > What a decorator is"),
            ("print 대신 logging을 쓰는 이유가 뭐야?", "Logging > Why logging instead of print"),
        ],
    )
    async def test_begins_with_the_section_that_says_it(
        self, rag: httpx.AsyncClient, question: str, heading: str
    ) -> None:
        body = await ask(rag, question)

        assert re.findall(r"^\*\*(.+)\*\*$", body["answer"], re.MULTILINE)[0] == heading
        assert heading in {source["heading"] for source in cited(body)}


class TestOffTopic:
    @pytest.mark.parametrize(
        ("question", "honest"),
        [
            ("김치찌개 끓이는 법", "찾을 수 없습니다"),
            ("쿠버네티스 인그레스 설정 방법", "찾을 수 없습니다"),
            ("how do I configure a Kubernetes ingress", "could not find"),
            ("What is the capital of France?", "could not find"),
        ],
    )
    async def test_it_says_that_the_documents_do_not_hold_it(
        self, rag: httpx.AsyncClient, question: str, honest: str
    ) -> None:
        body = await ask(rag, question)

        assert honest in body["answer"]
        assert body["sources"] == []
        assert body["metadata"]["confidence"] == "none"

    @pytest.mark.parametrize("question", ["3", "What is 2 + 2?", "Why is 0.1 + 0.2 not 0.3?"])
    async def test_small_numbers_ask_for_nothing(self, rag: httpx.AsyncClient, question: str) -> None:
        assert (await ask(rag, question))["metadata"]["confidence"] == "none"

    async def test_half_a_match_is_offered_as_the_closest_passages(self, rag: httpx.AsyncClient) -> None:
        body = await ask(rag, "비동기 HTTP 요청을 보내는 방법")

        assert "꼭 맞는 설명은 찾지 못했습니다" in body["answer"]
        assert body["sources"]
        assert body["metadata"]["confidence"] == "low"


class TestGreetings:
    @pytest.mark.parametrize(
        ("said", "reply"),
        [
            ("what can you do?", "I look for answers"),
            ("넌 누구야?", "문서에서 답을 찾아"),
            ("안녕하세요!", "안녕하세요"),
            ("고마워요 😊", "다행"),
            ("Hello", "Hello"),
            ("Thank you!", "welcome"),
        ],
    )
    async def test_they_are_returned_without_sources(self, rag: httpx.AsyncClient, said: str, reply: str) -> None:
        body = await ask(rag, said)

        assert reply in body["answer"]
        assert body["sources"] == []
        assert body["metadata"]["mode"] == "greeting"


class TestFollowUps:
    history = (
        {"role": "user", "content": "리스트를 반복하려면 어떻게 하나요?"},
        {"role": "assistant", "content": "`for`문을 씁니다. [1]"},
    )

    async def test_a_short_one_is_understood_from_the_question_before(self, rag: httpx.AsyncClient) -> None:
        alone = await ask(rag, "그럼 딕셔너리는?")
        after = await ask(rag, "그럼 딕셔너리는?", chat_history=self.history)

        assert alone["sources"][0]["heading"] == "딕셔너리"
        assert after["sources"][0]["heading"] == "딕셔너리 > 딕셔너리 반복하기"

    async def test_one_without_a_subject_stays_with_the_question_before(self, rag: httpx.AsyncClient) -> None:
        before = await ask(rag, "리스트를 반복하려면 어떻게 하나요?")
        after = await ask(rag, "좀 더 자세히 알려 주세요", chat_history=self.history)

        assert after["sources"][0]["chunk_id"] == before["sources"][0]["chunk_id"]

    async def test_a_new_subject_is_not_drowned_by_the_old_one(self, rag: httpx.AsyncClient) -> None:
        body = await ask(rag, "제너레이터란?", chat_history=self.history)

        assert body["sources"][0]["document"] == "ko/iterators-and-generators.md"

    @pytest.mark.parametrize("before", ["김치찌개 끓이는 법", "how do I configure a Kubernetes ingress"])
    async def test_a_question_that_had_no_answer_does_not_spoil_the_next(
        self, rag: httpx.AsyncClient, before: str
    ) -> None:
        body = await ask(rag, "제너레이터란?", chat_history=[{"role": "user", "content": before}])

        assert body["sources"][0]["document"] == "ko/iterators-and-generators.md"
        assert body["metadata"]["confidence"] == "high"

    async def test_one_without_a_history_is_not_guessed_at(self, rag: httpx.AsyncClient) -> None:
        body = await ask(rag, "그럼 왜 그런가요?")

        assert body["metadata"]["confidence"] == "none"
