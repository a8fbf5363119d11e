"""Coroutines that begin at once: only those that have to wait cost a task, or a timer."""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")

Steps = Generator[Any, Any, T] | Coroutine[Any, Any, T]


class Begun(Coroutine[Any, Any, T], Generic[T]):
    """The rest of what was begun and is ``waiting``: to be awaited once, or to be made a task of."""

    __slots__ = ("_steps", "_waiting")

    def __init__(self, steps: Steps[T], waiting: Any) -> None:
        self._steps, self._waiting = steps, [waiting]

    def send(self, value: Any) -> Any:
        return self._waiting.pop() if self._waiting else self._steps.send(value)

    def throw(self, kind: Any, error: Any = None, trace: Any = None, /) -> Any:
        self._waiting.clear()
        return self._steps.throw(kind if error is None else error)

    def close(self) -> None:
        self._steps.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return self.send(None)


def first(steps: Steps[T]) -> "Begun[T] | T":
    """What it gives, if it waits for nothing, else the rest of it. Raises what it fails with until then, in which it is
    no task of its own: it must not set a timeout."""
    try:
        waiting = steps.send(None)
    except StopIteration as given:
        value: T = given.value
        return value
    return Begun(steps, waiting)


def begin(coroutine: Coroutine[Any, Any, T]) -> "asyncio.Task[T] | T":
    """The same, with a task for the rest."""
    begun = first(coroutine)
    return asyncio.get_running_loop().create_task(begun) if isinstance(begun, Begun) else begun
