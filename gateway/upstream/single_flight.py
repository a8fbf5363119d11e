"""Single flight: concurrent callers of one key share one running call."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Running calls by key. Each has a task of its own.

    A call that was started in the background finishes even if all its callers are cancelled. Others do, too, unless
    ``cancel_abandoned`` is set.
    """

    def __init__(self, *, cancel_abandoned: bool = False) -> None:
        self.cancel_abandoned = cancel_abandoned
        self._tasks: dict[K, asyncio.Task[V]] = {}
        self._callers: Counter[asyncio.Task[V]] = Counter()

    async def run(self, key: K, call: Callable[[], Coroutine[Any, Any, V]]) -> tuple[V, bool]:
        """Return the result of the call for a key, and whether another caller had started it.

        Cancelling one caller leaves the call and the other callers alone. Raises what the call raises.
        """
        task = self._tasks.get(key)
        shared = task is not None
        if task is None:
            task = self._start(key, call())
        self._callers[task] += 1
        try:
            return await asyncio.shield(task), shared
        finally:
            self._leave(key, task)

    def start(self, key: K, call: Callable[[], Coroutine[Any, Any, V]]) -> bool:
        """Start the call in the background unless it is running; return whether it was started."""
        if key in self._tasks:
            return False
        task = self._start(key, call())
        self._callers[task] += 1
        task.add_done_callback(lambda done: self._leave(key, done))
        return True

    async def wait(self, key: K) -> None:
        """Wait for the call of a key, if one is running. Raises what the call raises."""
        task = self._tasks.get(key)
        if task is not None:
            await asyncio.shield(task)

    def _start(self, key: K, call: Coroutine[Any, Any, V]) -> asyncio.Task[V]:
        task = asyncio.get_running_loop().create_task(call)
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._finish(key, done))
        return task

    def _leave(self, key: K, task: asyncio.Task[V]) -> None:
        self._callers[task] -= 1
        if not self._callers[task]:
            del self._callers[task]
            if self.cancel_abandoned and not task.done():
                del self._tasks[key]  # a later caller starts the call again
                task.cancel()

    def _finish(self, key: K, task: asyncio.Task[V]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
        if not task.cancelled():
            task.exception()  # asyncio would log the failure of a call that nobody awaits

    def close(self) -> None:
        """Cancel all running calls, and thereby their callers."""
        for task in tuple(self._tasks.values()):
            task.cancel()
