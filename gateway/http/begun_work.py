"""Work that runs at once, up to where it first waits: work that need not wait costs no timer and no task."""

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class BegunWork(Generic[T]):
    """Work that has begun; awaiting it, in the same task, returns its result. ``ended`` is true if it did not wait.

    Creating it runs the work in the current task, and raises the work's errors.
    """

    def __init__(self, work: Awaitable[T]) -> None:
        self._steps = work.__await__()
        self._waits_for: Any = None
        self._result: T
        self.ended = False
        self._take_step(self._steps.send, None)

    def __await__(self) -> Generator[Any, Any, T]:
        while not self.ended:
            try:
                sent = yield self._waits_for
            except BaseException as error:  # such as a cancellation
                self._take_step(self._steps.throw, error)
            else:
                self._take_step(self._steps.send, sent)
        return self._result

    def _take_step(self, step: Callable[[Any], Any], value: Any) -> None:
        try:
            self._waits_for = step(value)
        except StopIteration as end:
            self.ended, self._result = True, end.value
