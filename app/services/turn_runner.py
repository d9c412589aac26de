"""Runs turns in tasks of their own: no request holds one, and none takes another one down."""

import asyncio
import logging
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum

from app.core.database import Database
from app.core.errors import AppError, InternalError, RagError, ShuttingDownError, TurnInterruptedError, TurnStoppedError
from app.core.tasks import Tasks
from app.models import TurnStatus
from app.repositories.turns import Attempt
from app.services.rag_client import HistoryMessage, RagAnswer, RagClient
from app.services.turn_endings import Ending, TurnEndings
from app.services.turn_view import TurnEnd, TurnView

CLOSING_SECONDS = 3

logger = logging.getLogger(__name__)


class StopReason(Enum):
    """Why an attempt is to end before its answer is there."""

    ASKED = "somebody asked"
    SHUTDOWN = "this process ends"
    LOST = "the lease is lost"


@dataclass
class Job:
    """An attempt that this process works on."""

    view: TurnView
    question: str
    history: list[HistoryMessage]
    is_streamed: bool
    started: float = field(default_factory=time.perf_counter)
    asking: asyncio.Timeout | None = None
    """Around the call of the RAG server: expires when the call is to be given up."""
    stop_reason: StopReason | None = None
    saved_length: int = 0
    saved_at: float = field(default_factory=time.monotonic)

    def is_stopping(self) -> bool:
        """Whether the call is to be given up."""
        return self.stop_reason is not None

    def stop(self, reason: StopReason) -> None:
        """Give the call up; an answer that is there already is stored all the same."""
        if self.is_stopping():
            return
        self.stop_reason = reason
        if self.asking is not None:
            self.asking.reschedule(asyncio.get_running_loop().time())


class TurnRunner:
    """The attempts of this process."""

    def __init__(self, database: Database, rag: RagClient, *, drain_seconds: float) -> None:
        self.owner = f"{socket.gethostname()[:32]}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self.is_draining = False
        self._rag = rag
        self._endings = TurnEndings(database)
        self._jobs: dict[Attempt, Job] = {}
        self._tasks = Tasks()
        self._drain_seconds = drain_seconds
        self._drain_until: float | None = None

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._jobs.values()))

    def get(self, attempt: Attempt) -> Job | None:
        """The attempt, if this process works on it."""
        return self._jobs.get(attempt)

    @contextmanager
    def admission(self) -> Iterator[None]:
        """The time in which an attempt is committed that `start` will get: draining waits for it.

        Raises:
            ShuttingDownError: nothing new is taken.
        """
        if self.is_draining:
            raise ShuttingDownError
        with self._tasks.expecting():
            yield

    def start(self, job: Job) -> TurnView:
        """Begin to work on an attempt that was committed."""
        attempt = job.view.attempt
        if attempt.number > 1:
            for former in self:
                if former.view.turn_id == attempt.turn_id:  # ended by others, and we have not noticed yet
                    former.stop(StopReason.LOST)
        self._jobs[attempt] = job
        self._tasks.start(self._run(job), name=f"Turn {attempt.turn_id}")
        return job.view

    async def drain(self) -> None:
        """Take nothing new, let what runs come to its end, and interrupt the rest when the time is up.

        Asked again, it goes on where it was: the time counts from the first call.
        """
        now = asyncio.get_running_loop().time()
        self.is_draining = True
        self._drain_until = self._drain_until or now + self._drain_seconds
        if not await self._tasks.wait(self._drain_until - now):
            for job in self:
                job.stop(StopReason.SHUTDOWN)
            await self._tasks.wait(CLOSING_SECONDS)
            # What still runs waits for a database that is away: the leases run out.
            await self._tasks.close()

    def hurry(self) -> None:
        """Let the time to drain be over, for whoever calls `drain` next."""
        self._drain_until = asyncio.get_running_loop().time()

    async def _run(self, job: Job) -> None:
        end = TurnEnd(TurnStatus.INTERRUPTED, error=TurnInterruptedError())
        try:
            end = await self._finish(job, await self._work(job))
        except AppError as exc:  # the database stayed away: the lease runs out, and whoever sweeps ends the turn
            logger.error("Turn %s is over, and its end could not be stored: %s", job.view.turn_id, exc)  # noqa: TRY400
            end = TurnEnd(TurnStatus.INTERRUPTED, error=exc)
        finally:
            job.view.close(end)
            del self._jobs[job.view.attempt]

    async def _finish(self, job: Job, ending: Ending) -> TurnEnd:
        if job.stop_reason is StopReason.LOST:
            return await self._endings.find(job.view)
        return await self._endings.store(job.view, ending)

    async def _work(self, job: Job) -> Ending:
        if job.is_stopping():
            return _stopped(job)
        job.asking = asyncio.timeout(None)
        try:
            async with job.asking:
                answer = await self._ask(job)
        except RagError as exc:
            logger.error("[Chat] RAG server error: %s", exc)  # noqa: TRY400 - the reason says it all
            return Ending(TurnStatus.FAILED, error=exc)
        except Exception:
            if job.is_stopping():  # a TimeoutError, of `asking`
                return _stopped(job)
            logger.exception("Turn %s failed", job.view.turn_id)
            return Ending(TurnStatus.FAILED, error=InternalError())
        finally:
            job.asking = None
        return Ending(TurnStatus.COMPLETED, answer.sources, {**answer.metadata, "response_time": answer.response_time})

    async def _ask(self, job: Job) -> RagAnswer:
        if self._rag.url:
            logger.info("[Chat] Calling RunPod RAG: %s", self._rag.url)
        answer = await self._rag.ask(
            job.question,
            user_id=job.view.user_id,
            chat_history=job.history,
            session_id=job.view.session_id,
            on_delta=job.view.append if job.is_streamed else None,
        )
        if not job.is_streamed:
            job.view.append(answer.text)
        return answer


def _stopped(job: Job) -> Ending:
    if job.stop_reason is StopReason.SHUTDOWN:
        return Ending(TurnStatus.INTERRUPTED, error=TurnInterruptedError("the process ended before the answer did"))
    details = {"status": "stopped", "response_time": round(time.perf_counter() - job.started, 3)}
    return Ending(TurnStatus.CANCELLED, details=details, error=TurnStoppedError())
