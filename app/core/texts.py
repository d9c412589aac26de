"""Every sentence that a person may read, in Korean as the contract has it, and in English."""

from typing import NamedTuple


class Text(NamedTuple):
    """One sentence in the two languages of the service."""

    ko: str
    en: str

    def for_language(self, accept_language: str) -> str:
        """English when the `Accept-Language` header prefers it, else Korean."""
        return self.en if _prefers_english(accept_language) else self.ko


session_deleted = Text("세션이 삭제되었습니다.", "The session was deleted.")
bookmark_deleted = Text("북마크가 삭제되었습니다.", "The bookmark was deleted.")

not_authenticated = Text("로그인이 필요합니다.", "Please sign in.")
wrong_credentials = Text("아이디 또는 비밀번호가 올바르지 않습니다.", "The username or password is not right.")
not_found = Text("요청한 항목을 찾을 수 없습니다.", "There is no such item.")
method_not_allowed = Text("허용되지 않는 요청 방식입니다.", "This address does not take this method.")
body_too_large = Text("요청 본문이 너무 큽니다.", "The request body is too large.")
unsupported_media_type = Text(
    "요청 본문은 application/json 형식이어야 합니다.", "The request body must be of type application/json."
)
invalid_request = Text("요청 내용이 올바르지 않습니다.", "The request is not valid.")
internal_error = Text("서버 내부 오류가 발생했습니다.", "Something went wrong on our side.")
database_unavailable = Text(
    "데이터베이스에 연결할 수 없습니다. 잠시 후 다시 시도해 주세요.",
    "The database cannot be reached. Please try again shortly.",
)
overloaded = Text("요청이 너무 많습니다. 잠시 후 다시 시도해 주세요.", "The service is busy. Please try again shortly.")

turn_in_progress = Text(
    "이전 질문에 답변하는 중입니다. 답변이 끝난 후 다시 시도해 주세요.",
    "The previous question is still being answered. Please wait for its answer.",
)
turn_stopped = Text("답변이 중지되었습니다.", "The answer was stopped.")
turn_interrupted = Text("답변이 중단되었습니다. 다시 시도해 주세요.", "The answer was interrupted. Please try again.")
idempotency_mismatch = Text(
    "같은 Idempotency-Key가 다른 요청에 사용되었습니다.", "This Idempotency-Key was used for another request."
)
shutting_down = Text(
    "서버가 종료되는 중입니다. 잠시 후 다시 시도해 주세요.", "The server is shutting down. Please try again shortly."
)

rag_unavailable = Text("RAG 서버에 연결할 수 없습니다.", "The RAG server cannot be reached.")
rag_not_configured = Text("RAG 서버가 설정되지 않았습니다.", "No RAG server is configured.")
rag_timeout = Text("RAG 서버의 응답 시간이 초과되었습니다.", "The RAG server took too long to answer.")
rag_error = Text("RAG 서버에서 오류가 발생했습니다.", "The RAG server failed.")
rag_bad_answer = Text("RAG 서버의 응답을 이해할 수 없습니다.", "The RAG server's answer cannot be read.")
rag_refused = Text("RAG 서버가 답변하지 못했습니다.", "The RAG server could not answer.")

message_blank = Text("메시지를 입력해 주세요.", "Please enter a message.")
text_blank = Text("내용을 입력해 주세요.", "Please enter some text.")
text_too_long = Text("내용이 너무 깁니다.", "The text is too long.")
text_has_bad_characters = Text(
    "저장할 수 없는 문자가 포함되어 있습니다.", "The text holds characters that cannot be stored."
)


def _prefers_english(accept_language: str) -> bool:
    weights = {"ko": 0.0, "en": 0.0}
    for part in accept_language.split(","):
        tag, _, parameter = part.strip().partition(";")
        language = tag.strip().lower().partition("-")[0]
        if language in weights:
            weights[language] = max(weights[language], _weight(parameter))
    return weights["en"] > weights["ko"]


def _weight(parameter: str) -> float:
    """The q of one language range; a q that is not a number counts as no wish (RFC 9110, 12.4.2)."""
    name, _, value = parameter.strip().partition("=")
    if name != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
