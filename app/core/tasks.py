"""Work that no request waits for: tasks that are not lost, not silent, and ended with the process."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from app.core.errors import DatabaseUnavailableError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class Tasks:
    """Tasks side by side: one that fails is logged and leaves the others alone.

    asyncio.TaskGroup and anyio's cancel all for the failure of one, which would end every turn for one turn's bug.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[Any]] = set()  # the event loop itself holds tasks weakly

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run the work in a task of its own."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    async def see_through(self, work: Coroutine[Any, Any, Result]) -> Result:
        """What the work gives, which is done to its end also when the caller is cancelled."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """The block counts as one of the tasks: one may come of it, and whoever waits for all must not miss it."""
        coming = asyncio.get_running_loop().create_future()
        self._tasks.add(coming)
        try:
            yield
        finally:
            self._tasks.discard(coming)
            coming.cancel()

    async def wait(self, seconds: float) -> bool:
        """Return when nothing runs any more, nor what came meanwhile, or the time is up; whether nothing does."""
        end = asyncio.get_running_loop().time() + seconds
        while self._tasks and (left := end - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(self._tasks, timeout=left)
        return not self._tasks

    async def close(self) -> None:
        """Cancel what still runs, and see it end."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        _ = task.cancelled() or task.exception()  # the caller has it, or nobody waits for it any more

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()):
            logger.error("%s failed", task.get_name(), exc_info=exc)


async def every(seconds: float, work: Callable[[], Awaitable[None]], name: str) -> None:
    """Do the work again and again, so many seconds after it was done, whatever becomes of it."""
    is_away = False
    while True:
        try:
            await work()
            is_away = False
        except DatabaseUnavailableError as exc:
            if not is_away:
                logger.warning("%s waits, the database is unavailable: %s", name, exc)
            is_away = True
        except Exception:
            logger.exception("%s failed", name)
        await asyncio.sleep(seconds)
