"""While the RAG server is away it is asked once a second, and everybody else hears so at once.

An own class, since every published one that we tried lets 20 of 20 calls through as soon as it starts probing, and
one of them counts a client that leaves as a failure.
"""

import logging
import time
from collections.abc import Callable

from app.core.errors import RagUnavailableError

logger = logging.getLogger(__name__)

FAILURES_TO_OPEN = 10
PROBE_SECONDS = 1.0


class CircuitBreaker:
    """Opens after ten failures in a row; one sign of life closes it.

    It keeps no list of running calls: a probe that hangs does not hold up the next one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._opened = self._next_probe = 0.0

    @property
    def closed(self) -> bool:
        """Whether calls go through as they come."""
        return self._failures < FAILURES_TO_OPEN

    def admit(self) -> None:
        """Let this call through.

        Raises:
            RagUnavailableError: the RAG server is away, and was asked less than a second ago.
        """
        if self.closed:
            return
        now = self._clock()
        if now < self._next_probe:
            raise RagUnavailableError(
                f"the RAG server is away; not asked again before {self._next_probe - now:.1f} s from now"
            )
        self._next_probe = now + PROBE_SECONDS

    def record_failure(self) -> None:
        """The RAG server is away: no connection, or only its proxy answers."""
        self._failures += 1
        if self._failures == FAILURES_TO_OPEN:
            self._opened = self._clock()
            self._next_probe = self._opened + PROBE_SECONDS
            logger.warning("The RAG server is away: %d failures in a row; asked once a second now", self._failures)

    def record_life(self) -> None:
        """It answered, if only with an error of its own."""
        if not self.closed:
            logger.info("The RAG server is back after %.0f s", self._clock() - self._opened)
        self._failures = 0
