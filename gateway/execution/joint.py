"""Operations that are under way: who asks the same meanwhile waits for the same answer."""

import asyncio
from typing import Generic, TypeVar

from gateway.catalog.cache_dependencies import Key

T = TypeVar("T")


class Joint(Generic[T]):
    """Answers that are being made, by what is asked."""

    def __init__(self) -> None:
        self._waiting: dict[Key, list[asyncio.Future[T | None]]] = {}

    def join(self, key: Key) -> "asyncio.Future[T | None] | None":
        """The answer that is being made, when it comes; it is None, and one has to ask again, where who makes it leaves
        before there is one. None where nobody makes it: who asks must, and `tell` it or `fail`."""
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = []
            return None
        waiter: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()
        waiting.append(waiter)
        return waiter

    def tell(self, key: Key, made: T | None) -> None:
        """Give all who wait what was made."""
        for waiter in self._waiting.pop(key):
            if not waiter.done():
                waiter.set_result(made)

    def fail(self, key: Key, error: BaseException) -> None:
        """Let all who wait fail in the same way; who leaves fails alone."""
        if not isinstance(error, Exception):
            self.tell(key, None)
            return
        for waiter in self._waiting.pop(key):
            if not waiter.done():
                waiter.set_exception(error)
