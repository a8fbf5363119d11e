"""Time limits of many tasks with one timer: nearly all end in time, and a timer for each costs much more."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


class TimeLimits:
    """The running work of several tasks, with the time at which each is cancelled. A task has one limit at a time.

    The timer is set to the first of these times. When it finds that its work has ended, it is set to the next.
    """

    def __init__(self) -> None:
        self._ends: dict[asyncio.Task[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = float("inf")

    async def until(self, ends: float, work: Awaitable[T]) -> T:
        """Await work. Cancels it at a time of the event loop, and raises TimeoutError."""
        task = asyncio.current_task()
        assert task is not None
        before = task.cancelling()
        self._ends[task] = ends
        if ends < self._due:
            self._set_timer(ends)
        try:
            return await work
        except asyncio.CancelledError:
            if task not in self._ends and task.cancelling() == before + 1:
                raise TimeoutError from None
            raise
        finally:
            if self._ends.pop(task, None) is None:  # cancelled at its time
                task.uncancel()

    def _set_timer(self, due: float) -> None:
        self.close()
        self._timer, self._due = asyncio.get_running_loop().call_at(due, self._expire), due

    def _expire(self) -> None:
        """Cancel the work whose time has ended."""
        now, self._due = asyncio.get_running_loop().time(), float("inf")
        for task in [task for task, ends in self._ends.items() if ends <= now]:
            del self._ends[task]
            task.cancel()
        if self._ends:
            self._set_timer(min(self._ends.values()))

    def close(self) -> None:
        """Cancel the timer."""
        self._due = float("inf")
        if self._timer is not None:
            self._timer.cancel()
