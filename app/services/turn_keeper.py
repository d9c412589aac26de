"""What is done for turns all the time, beside working on them: leases, partial answers, stops, and sweeping."""

import logging
import time
from collections.abc import Sequence

from app.core.database import Database
from app.core.errors import DatabaseUnavailableError, NotAuthenticatedError
from app.core.tasks import Tasks, every
from app.repositories.turns import Attempt, TurnRepository
from app.repositories.users import UserRepository
from app.services.turn_follower import TurnFollower
from app.services.turn_runner import Job, StopReason, TurnRunner

LEASE_EVERY_SECONDS = 4
# A database that was away lets every lease run out: its owners get so long to renew them before anybody sweeps. Who
# has just started cannot know whether it was, and takes only what ran out longer ago.
HEALTHY_SECONDS = 10
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
            await self._sweep()
        except DatabaseUnavailableError:
            self._healthy_since = None
            raise

    async def _renew(self) -> None:
        held = {job.view.attempt for job in self._runner}
        if not held:
            return
        async with self._database.transaction() as db:
            renewed = await TurnRepository(db).renew(self._runner.owner, [attempt.turn_id for attempt in held])
        for attempt in held.difference(renewed):
            self._stop(attempt, StopReason.LOST)

    async def _sweep(self) -> None:
        if self._healthy_since is None:
            await self._database.check()
            self._healthy_since = time.monotonic()
        if not self._has_swept:
            await self._sweep_at_start()
            self._has_swept = True
        elif time.monotonic() - self._healthy_since >= HEALTHY_SECONDS:
            async with self._database.transaction() as db:
                _log_interrupted(await TurnRepository(db).interrupt_expired())

    async def _sweep_at_start(self) -> None:
        async with self._database.transaction() as db:
            turns = TurnRepository(db)
            if self._database.is_embedded:  # nobody else serves it, so whatever runs is of a process that is gone
                _log_interrupted(await turns.interrupt_all(but_of=self._runner.owner))
            else:
                _log_interrupted(await turns.interrupt_expired(grace_seconds=HEALTHY_SECONDS))

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
        for job in due:
            job.saved_length, job.saved_at = job.view.length, now
        async with self._database.transaction() as db:
            await TurnRepository(db).save_partials([(job.view.attempt, job.view.text()) for job in due])

    async def _guard(self) -> None:
        """Send the viewers away whose users may not look any more."""
        views = [view for view in (*(job.view for job in self._runner), *self._follower) if view.viewers]
        if not views:
            return
        async with self._database.transaction(read_only=True) as db:
            active = await UserRepository(db).list_active({view.user_id for view in views})
        for view in views:
            if view.user_id not in active:
                view.dismiss(NotAuthenticatedError("the user is gone or inactive"))

    def _stop(self, attempt: Attempt, reason: StopReason) -> None:
        job = self._runner.get(attempt.turn_id)
        if job is not None and job.view.attempt == attempt:
            job.stop(reason)


def _is_due(job: Job, now: float) -> bool:
    new = job.view.length - job.saved_length
    return job.is_streamed and (new >= SAVE_AFTER_CHARS or (new > 0 and now - job.saved_at >= SAVE_AFTER_SECONDS))


def _log_interrupted(turn_ids: Sequence[int]) -> None:
    if turn_ids:
        logger.warning("[Chat] Interrupted, their process is gone: turns %s", ", ".join(map(str, turn_ids)))
