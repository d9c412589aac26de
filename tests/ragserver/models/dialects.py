"""What well-behaved servers answer, each with the limits that its documentation or its source names.

Sources, read in 2026: vLLM `vllm/entrypoints/pooling/*/protocol.py` and issue 3101 of mem0 (its 400 for `dimensions`);
text-embeddings-inference `router/src/http/{server,types}.rs` (413 for batches and inputs that are too large);
llama.cpp issues 8555 (raw scores) and 11105 (500 for long inputs); OpenAI's reference of the embeddings route.
A character counts as a token, and texts that share pairs of characters are alike.
"""

import json
import math
import zlib
from collections.abc import Iterator
from typing import Any

from tests.ragserver.models.wire import Asked

WIDTH = 64
TEI_BATCH = 32
THOUGHT = "The user wants to know "
Answer = tuple[int, Any]


def vector(text: str) -> list[float]:
    """Not of length 1."""
    numbers = [0.0] * WIDTH
    for pair in _pairs(text):
        numbers[zlib.crc32(pair.encode()) % WIDTH] += 3.0
    return numbers


def relevance(question: str, text: str) -> float:
    """From 0.02 to 0.98: the share of the question's pairs that are in the text."""
    wanted = _pairs(question)
    return 0.02 + 0.96 * len(wanted & _pairs(text)) / len(wanted)


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def answer(asked: Asked, most_tokens: int) -> Answer:
    """A status and the JSON beneath it."""
    if asked.dialect == "openai" and not asked.headers.get("authorization", "").startswith("Bearer "):
        return _error(401, "You didn't provide an API key.")
    kind = _embeddings if asked.stage == "embeddings" else _rerank
    return kind(asked.dialect, asked.body, most_tokens)


def _embeddings(dialect: str, body: dict[str, Any], most_tokens: int) -> Answer:
    texts: list[str] = body["input"]
    longest = max(map(len, texts))
    if dialect == "vllm" and "dimensions" in body:
        return _error(400, f'Model "{body["model"]}" does not support matryoshka representation.')
    if dialect == "tei" and len(texts) > TEI_BATCH:
        return _tei_error(413, f"batch size {len(texts)} > maximum allowed batch size {TEI_BATCH}")
    if longest > most_tokens:
        return _too_long(dialect, longest, most_tokens)
    if not all(texts):
        return _error(400, "'$.input' is invalid: an empty string")
    data = [{"object": "embedding", "index": k, "embedding": vector(text)} for k, text in enumerate(texts)]
    return 200, {"object": "list", "model": body["model"], "data": data, "usage": {"prompt_tokens": 1}}


def _rerank(dialect: str, body: dict[str, Any], most_tokens: int) -> Answer:
    texts: list[str] = body["texts" if dialect == "tei" else "documents"]
    if dialect == "tei" and len(texts) > TEI_BATCH:
        return _tei_error(413, f"batch size {len(texts)} > maximum allowed batch size {TEI_BATCH}")
    longest = max(len(body["query"]) + len(text) for text in texts)
    if longest > most_tokens and not body.get("truncate"):
        return _too_long(dialect, longest, most_tokens)
    scores = sorted(((relevance(body["query"], text), k) for k, text in enumerate(texts)), reverse=True)
    if dialect == "tei":
        return 200, [{"index": k, "score": score} for score, k in scores]
    raw = dialect == "llamacpp"
    results = [{"index": k, "relevance_score": logit(score) if raw else score} for score, k in scores]
    return 200, {"id": "rerank-1", "model": body["model"], "results": results[: body["top_n"]], "usage": {}}


def _too_long(dialect: str, given: int, most: int) -> Answer:
    if dialect == "tei":
        return _tei_error(413, f"Input validation error: `inputs` must have less than {most} tokens. Given: {given}")
    if dialect == "llamacpp":
        return _error(500, f"input ({given} tokens) is too large to process. increase the physical batch size")
    return _error(400, f"This model's maximum context length is {most} tokens. However, you requested {given}.")


def _error(status: int, message: str) -> Answer:
    return status, {"error": {"message": message, "type": "BadRequestError", "param": None, "code": status}}


def _tei_error(status: int, message: str) -> Answer:
    return status, {"message": message, "code": status, "type": "Validation"}


def events(dialect: str, pieces: tuple[str, ...]) -> Iterator[bytes]:
    """The events of an answer, in the fashion of each server."""
    if dialect == "azure":
        yield data({"choices": [], "prompt_filter_results": [{"prompt_index": 0}]})
    yield chunk({"role": "assistant", "content": "", "refusal": None})
    thought = {"vllm": "reasoning", "ollama": "reasoning", "llamacpp": "reasoning_content"}.get(dialect)
    if thought:
        yield chunk({thought: THOUGHT})
        yield chunk({"content": "\n\n"})
    for piece in pieces:
        yield chunk({"role": "assistant", "content": piece} if dialect == "ollama" else {"content": piece})
    yield chunk({"content": ""} if dialect == "vllm" else {}, finish_reason="stop")
    if dialect != "ollama":
        yield data({"choices": None if dialect == "llamacpp" else [], "usage": {"total_tokens": 9}})
    yield b"data: [DONE]\n\n"


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    return data({"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]})


def data(payload: object) -> bytes:
    return f"data: {json.dumps(payload, ensure_ascii=False)}\n\n".encode()


def _pairs(text: str) -> set[str]:
    said = f" {' '.join(text.lower().split())} "
    return {said[k : k + 2] for k in range(len(said) - 1)}
