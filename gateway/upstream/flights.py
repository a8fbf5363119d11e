"""Calls under way, each nobody's own: all who ask the same meanwhile wait for one; no waiter's end harms another.

A call takes its first steps at once, before whoever starts it goes on, and each further one as soon as what it waits
for has come. A task of its own would begin a turn of the loop later; so it gets one only when it wants it: from a bare
``await asyncio.sleep(0)`` on. It must want it before `asyncio.timeout`, which ends the task that it is in.
"""

import asyncio
from collections.abc import Coroutine, Hashable
from contextvars import copy_context
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")
Brought = TypeVar("Brought", contravariant=True)


class Waiter(Protocol[Brought]):
    """Whoever waits for a call is told once what it brought, that it failed, or that it was given up."""

    def come(self, brought: Brought) -> None: ...

    def fail(self, error: Exception) -> None: ...

    def give_up(self) -> None: ...


class Flights(Generic[T]):
    """Calls under way, by what they ask for."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, Flight[T]] = {}

    def join(self, asked: Hashable, *waiters: Waiter[T]) -> bool:
        """Wait for a call, if it is under way."""
        flight = self._under_way.get(asked)
        if flight is None:
            return False
        flight.waiters.extend(waiters)
        return True

    def start(self, asked: Hashable, call: Coroutine[Any, Any, T], *waiters: Waiter[T]) -> None:
        """Start a call; it ends for itself, whether anybody waits or not."""
        flight = self._under_way[asked] = Flight(call, [*waiters], self._under_way, asked)
        flight.context.run(flight.go_on)


class Flight(Generic[T]):
    """One call under way, and who waits for it."""

    __slots__ = ("_among", "_asked", "_steps", "_task", "context", "waiters")

    def __init__(
        self,
        call: Coroutine[Any, Any, T],
        waiters: list[Waiter[T]],
        among: "dict[Hashable, Flight[T]]",
        asked: Hashable,
    ) -> None:
        self._steps, self.waiters, self._among, self._asked = call, waiters, among, asked
        self._task: asyncio.Task[T] | None = None
        self.context = copy_context()

    def go_on(self, _: object = None) -> None:
        """Take the steps up to the next one that has to wait for something."""
        try:
            waits: asyncio.Future[Any] | None = self._steps.send(None)
        except StopIteration as end:
            self._land(end.value)
        except asyncio.CancelledError:
            self._give_up()
        except Exception as error:
            self._fail(error)
        else:
            if waits is None:
                self._task = asyncio.get_running_loop().create_task(self._steps, context=self.context)
                self._task.add_done_callback(self._end, context=self.context)
            else:
                waits._asyncio_future_blocking = False  # as a task says that it has taken notice
                waits.add_done_callback(self.go_on, context=self.context)

    def _end(self, task: "asyncio.Task[T]") -> None:
        if task.cancelled():
            self._give_up()
            return
        error = task.exception()
        if error is None:
            self._land(task.result())
        elif isinstance(error, Exception):
            self._fail(error)

    def _land(self, brought: T) -> None:
        del self._among[self._asked]
        for waiter in self.waiters:
            waiter.come(brought)

    def _fail(self, error: Exception) -> None:
        del self._among[self._asked]
        for waiter in self.waiters:
            waiter.fail(error)

    def _give_up(self) -> None:
        del self._among[self._asked]
        for waiter in self.waiters:
            waiter.give_up()
