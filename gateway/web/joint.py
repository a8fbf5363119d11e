"""Operations that are under way: who asks the same meanwhile waits for the same answer."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from gateway.catalog.basis import Key

T = TypeVar("T")


class Joint(Generic[T]):
    """Answers that are being made, by what is asked. Where who asked first leaves before there is one, the next one who
    waits has to ask."""

    def __init__(self) -> None:
        self._waiting: dict[Key, list[asyncio.Future[T | None]]] = {}

    async def join(self, key: Key) -> T | None:
        """The answer that is being made; None where none is. Raises what it fails with."""
        while (waiting := self._waiting.get(key)) is not None:
            waiter: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()
            waiting.append(waiter)
            answer = await waiter
            if answer is not None:
                return answer
        return None

    def making(self, key: Key) -> "Making[T]":
        """Around making an answer, which is ``made`` for all who join."""
        waiting: list[asyncio.Future[T | None]] = []
        self._waiting[key] = waiting
        return Making(waiting, lambda: self._waiting.pop(key))


class Making(Generic[T]):
    """One answer that is being made."""

    def __init__(self, waiting: "list[asyncio.Future[T | None]]", over: Callable[[], object]) -> None:
        self.waiting, self.over = waiting, over
        self.made: T | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over()
        for waiter in self.waiting:
            if waiter.done():
                continue
            if isinstance(error, Exception):
                waiter.set_exception(error)
            else:
                waiter.set_result(self.made)
