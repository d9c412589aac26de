"""Many texts in requests that servers take: not too many at once, and none too long."""

import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, TypeVar

from ragserver.remote.endpoint import FailedError, RefusedError

# bge-m3 and OpenAI take 8192 tokens, and a character of Korean or English is hardly ever more than one.
MOST_CHARS: Final = 8000
_FEWEST_CHARS: Final = 250
_TOO_LONG: Final = re.compile("token|length|too (large|long|big)|exceed", re.IGNORECASE)

_logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")
Item = TypeVar("Item")


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Yield the items in order, so many at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


async def ask_shortened(
    ask: Callable[[list[str]], Awaitable[Answer]], texts: Sequence[str], most_chars: int = MOST_CHARS
) -> Answer:
    """Return what `ask` answers to the texts, cut where they are too long for the server.

    Neither OpenAI's embeddings nor Jina's rerank route knows "truncate"; vLLM, TEI, llama.cpp and Ollama refuse the
    whole batch when one text has too many tokens, and none says how many characters that is. So a refused batch is
    asked again with its longest texts cut to half, as the beginning of a passage says most of it. A failure that says
    nothing of length may be over the next moment: then the texts are asked for once more as they are.

    Raises:
        RefusedError: not even short texts are taken.
        FailedError: the server failed twice, and not because of a text's length.
    """
    longest = min(most_chars, max(map(len, texts)))
    is_repeated = False
    while True:
        try:
            return await ask([text[:longest] for text in texts])
        except RefusedError as exc:
            if isinstance(exc, FailedError) and not _TOO_LONG.search(str(exc)):
                if is_repeated:
                    raise
                is_repeated = True
                continue
            longest //= 2
            if longest < _FEWEST_CHARS:
                raise
            _logger.warning("Asking again with texts cut to %d characters: %s", longest, exc)
