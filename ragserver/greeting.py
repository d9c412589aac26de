"""Greetings and thanks, which have an answer although no document holds it."""

import re

from ragserver import grammar, tokens
from ragserver.tokens import Language

_NOT_LETTERS = re.compile(r"[\W_]+")
_WELCOME: dict[Language, str] = {
    "ko": "안녕하세요! 문서에서 답을 찾아 드립니다. 궁금한 것을 질문해 주세요.",
    "en": "Hello! I look for answers in the documents. What would you like to know?",
}
_MY_PLEASURE: dict[Language, str] = {
    "ko": "도움이 되었다니 다행입니다. 더 궁금한 것이 있으면 언제든지 질문해 주세요.",
    "en": "You are welcome. Feel free to ask if there is anything else.",
}


def reply(text: str) -> str | None:
    """Return the reply to a greeting or to thanks; None for everything else."""
    said = _NOT_LETTERS.sub("", tokens.normalise(text))
    language = tokens.language_of(text)
    if said in grammar.HELLO:
        return _WELCOME[language]
    return _MY_PLEASURE[language] if said in grammar.THANKS else None
