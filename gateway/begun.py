"""A coroutine that starts at once, and not one turn of the event loop later as a task does."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, Generic, Self, TypeVar, cast

T = TypeVar("T")


class Run(Generic[T]):
    """A coroutine under way. It takes its first steps at once, before whoever begins it goes on, and each further one
    as soon as what it waits for has come.

    A task would begin a turn of the loop later; so it gets one only when it wants it: from a bare
    ``await asyncio.sleep(0)`` on. It must want it before `asyncio.timeout`, which ends a task.
    """

    __slots__ = ("_cancelled", "_context", "_heard", "_steps", "_waits", "done", "error", "value")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._steps, self._context = coroutine, copy_context()
        self._heard: list[Callable[[Run[T]], object]] = []
        self._waits: asyncio.Future[Any] | None = None
        self._cancelled = self.done = False
        self.value: T | None = None
        self.error: Exception | asyncio.CancelledError | None = None

    def begin(self) -> Self:
        """Take the first steps."""
        self._context.run(self._go_on)
        return self

    def when_done(self, heard: "Callable[[Run[T]], object]") -> None:
        """Tell of the end of what is not done."""
        self._heard.append(heard)

    def result(self) -> T:
        """What it gave. Raises what it failed with."""
        if self.error is not None:
            raise self.error
        return cast(T, self.value)

    def cancel(self, msg: object = None) -> None:
        """Give it up at the place where it waits."""
        if self._waits is not None:
            self._cancelled = not self._waits.cancel(msg)  # what it waits for came, and it has not gone on yet

    def _go_on(self, _: object = None) -> None:
        self._waits = None
        try:
            if self._cancelled:
                self._cancelled = False
                waits: asyncio.Future[Any] | None = self._steps.throw(asyncio.CancelledError())
            else:
                waits = self._steps.send(None)
        except StopIteration as end:
            self.value = end.value
            self._end()
        except (Exception, asyncio.CancelledError) as error:
            self.error = error
            self._end()
        else:
            if waits is None:
                self._waits = asyncio.get_running_loop().create_task(self._steps, context=self._context)
                self._waits.add_done_callback(self._take, context=self._context)
            else:
                self._waits = waits
                waits._asyncio_future_blocking = False  # as a task says that it has taken notice
                waits.add_done_callback(self._go_on, context=self._context)

    def _take(self, task: "asyncio.Future[T]") -> None:
        try:
            self.value = task.result()
        except (Exception, asyncio.CancelledError) as error:
            self.error = error
        self._end()

    def _end(self) -> None:
        self.done, self._waits = True, None
        for heard in self._heard:
            heard(self)
