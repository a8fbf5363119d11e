"""Calls under way, each nobody's own: all who ask the same meanwhile wait for one; no waiter's end harms another."""

import asyncio
from collections.abc import Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """Calls under way, by what they ask for."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, list[asyncio.Future[T]]] = {}
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}

    def __contains__(self, asked: Hashable) -> bool:
        return asked in self._waiting

    def start(self, asked: Hashable, call: Coroutine[Any, Any, T]) -> None:
        """Start a call; it ends for itself, whether anybody waits or not."""
        self._waiting[asked] = []
        self._tasks[asked] = asyncio.get_running_loop().create_task(self._fly(asked, call))

    def outcome(self, asked: Hashable) -> "asyncio.Future[T]":
        """What a call under way will bring, for one waiter."""
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting[asked].append(waiter)
        return waiter

    async def _fly(self, asked: Hashable, call: Coroutine[Any, Any, T]) -> None:
        try:
            brought = await call
        except asyncio.CancelledError:
            for waiter in self._landed(asked):
                waiter.cancel()
            raise
        except Exception as error:
            for waiter in self._landed(asked):
                waiter.set_exception(error)
        else:
            for waiter in self._landed(asked):
                waiter.set_result(brought)

    def _landed(self, asked: Hashable) -> "list[asyncio.Future[T]]":
        """Who still waits for a call that is over."""
        del self._tasks[asked]
        return [waiter for waiter in self._waiting.pop(asked) if not waiter.done()]
