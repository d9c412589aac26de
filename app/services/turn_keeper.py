"""What is done for turns all the time, beside working on them: leases, partial answers, stops, and sweeping."""

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from app.core.database import Database
from app.core.errors import DatabaseUnavailableError, NotAuthenticatedError
from app.core.tasks import Tasks, every
from app.repositories.turns import Attempt, TurnRepository
from app.repositories.users import UserRepository
from app.services.turn_follower import TurnFollower
from app.services.turn_runner import Job, StopReason, TurnRunner

LEASE_EVERY_SECONDS = 4
# Twice, and a lease of 12 s is still good: one connection that has gone silent must not lose every lease.
RENEWING_SECONDS = 3
SWEEP_EVERY_SECONDS = 2
# A database that was away lets every lease run out: its owners get so long to renew them before anybody sweeps. Who
# has just started cannot know whether it was, and takes only what ran out longer ago.
HEALTHY_SECONDS = 10
# A database that takes longer for the time of day was stopped, or is about to be.
HEALTHY_ANSWER_SECONDS = 1
LOOK_EVERY_SECONDS = 1
SAVE_EVERY_SECONDS = 0.25
SAVE_AFTER_SECONDS = 2
SAVE_AFTER_CHARS = 8192
GUARD_EVERY_SECONDS = 2

logger = logging.getLogger(__name__)


class TurnKeeper:
    """Keeps this process's turns alive, and ends those that nobody keeps."""

    def __init__(self, database: Database, runner: TurnRunner, follower: TurnFollower) -> None:
        self._database = database
        self._runner = runner
        self._follower = follower
        self._tasks = Tasks()
        self._healthy_since: float | None = None
        self._has_swept = False

    def start(self) -> None:
        """Begin, in the background: the database need not be there yet."""
        for seconds, work, name in (
            (LEASE_EVERY_SECONDS, self._keep_leases, "Keeping leases"),
            (SWEEP_EVERY_SECONDS, self._sweep, "Sweeping"),
            (LOOK_EVERY_SECONDS, self._look_for_stops, "Looking for stops"),
            (LOOK_EVERY_SECONDS, self._follower.poll, "Following turns"),
            (SAVE_EVERY_SECONDS, self._save_partials, "Saving partial answers"),
            (GUARD_EVERY_SECONDS, self._guard, "Guarding streams"),
        ):
            self._tasks.start(every(seconds, work, name), name)

    async def close(self) -> None:
        """Stop."""
        await self._tasks.close()

    async def _keep_leases(self) -> None:
        try:
            await self._renew()
        except DatabaseUnavailableError:
            await self._renew()

    async def _renew(self) -> None:
        held = {job.view.attempt for job in self._runner}
        if not held:
            return
        try:
            async with asyncio.timeout(RENEWING_SECONDS), self._database.transaction() as db:
                renewed = await TurnRepository(db).renew(self._runner.owner, [attempt.turn_id for attempt in held])
        except TimeoutError as exc:
            raise DatabaseUnavailableError(f"no lease renewed within {RENEWING_SECONDS} s") from exc
        for attempt in held.difference(renewed):
            self._stop(attempt, StopReason.LOST)

    async def _sweep(self) -> None:
        """End what nobody keeps, as of a moment at which the database was well: it may be stopped at any later one."""
        try:
            started = time.monotonic()
            async with self._database.transaction(read_only=True) as db:
                now = await TurnRepository(db).now()
            if time.monotonic() - started > HEALTHY_ANSWER_SECONDS:
                self._healthy_since = None
                return
            self._healthy_since = self._healthy_since or started
            if self._has_swept and started - self._healthy_since < HEALTHY_SECONDS:
                return
            async with self._database.transaction() as db:
                _log_interrupted(await self._interrupt(TurnRepository(db), now))
            self._has_swept = True
        except DatabaseUnavailableError:
            self._healthy_since = None
            raise

    async def _interrupt(self, turns: TurnRepository, now: datetime) -> Sequence[int]:
        if self._has_swept:
            return await turns.interrupt_expired(now)
        if self._database.is_embedded:  # nobody else serves it, so whatever runs is of a process that is gone
            return await turns.interrupt_all(but_of=self._runner.owner)
        return await turns.interrupt_expired(now - timedelta(seconds=HEALTHY_SECONDS))

    async def _look_for_stops(self) -> None:
        if not len(self._runner):
            return
        async with self._database.transaction(read_only=True) as db:
            asked = await TurnRepository(db).list_stop_requested(self._runner.owner)
        for attempt in asked:
            self._stop(attempt, StopReason.ASKED)

    async def _save_partials(self) -> None:
        now = time.monotonic()
        due = [job for job in self._runner if _is_due(job, now)]
        if not due:
            return
        partials = {job.view.attempt: job.view.text() for job in due}
        for job in due:
            job.saved_at = now
        async with self._database.transaction() as db:
            await TurnRepository(db).save_partials(partials)
        for job in due:
            job.saved_length = len(partials[job.view.attempt])

    async def _guard(self) -> None:
        """Send the viewers away whose users may not look any more."""
        views = (*(job.view for job in self._runner), *self._follower)
        views = tuple(view for view in views if view.viewers or view.departure)
        if not views:
            return
        async with self._database.transaction(read_only=True) as db:
            active = await UserRepository(db).list_active({view.user_id for view in views})
        for view in views:
            if view.user_id not in active:
                view.dismiss(NotAuthenticatedError("the user is gone or inactive"))
            elif isinstance(view.departure, NotAuthenticatedError):
                view.departure = None

    def _stop(self, attempt: Attempt, reason: StopReason) -> None:
        if job := self._runner.get(attempt):
            job.stop(reason)


def _is_due(job: Job, now: float) -> bool:
    new = job.view.length - job.saved_length
    return job.is_streamed and (new >= SAVE_AFTER_CHARS or (new > 0 and now - job.saved_at >= SAVE_AFTER_SECONDS))


def _log_interrupted(turn_ids: Sequence[int]) -> None:
    if turn_ids:
        logger.warning("[Chat] Interrupted, their process is gone: turns %s", ", ".join(map(str, turn_ids)))
