"""Operations that are under way: who asks the same meanwhile waits for the same answer."""

import asyncio
from collections.abc import Awaitable
from typing import Generic, TypeVar

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

    async def make(self, key: Key, making: Awaitable[T]) -> T:
        """The answer, for all who join."""
        self._waiting[key] = []
        try:
            answer = await making
        except Exception as error:
            for waiter in self._end(key):
                waiter.set_exception(error)
            raise
        except BaseException:
            for waiter in self._end(key):
                waiter.set_result(None)
            raise
        for waiter in self._end(key):
            waiter.set_result(answer)
        return answer

    def _end(self, key: Key) -> "list[asyncio.Future[T | None]]":
        """Who still waits for an answer."""
        return [waiter for waiter in self._waiting.pop(key) if not waiter.done()]
