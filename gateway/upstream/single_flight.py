"""Calls under way, each nobody's own: all who ask the same meanwhile wait for one; no waiter's end harms another."""

import asyncio
from collections.abc import Coroutine, Hashable
from typing import Any, Generic, Protocol, TypeVar, cast

from gateway.begun import Run

T = TypeVar("T")
Brought = TypeVar("Brought", contravariant=True)


class Waiter(Protocol[Brought]):
    """Whoever waits for a call is told once what it brought, that it failed, or that it was given up."""

    def come(self, brought: Brought) -> None: ...

    def fail(self, error: Exception) -> None: ...

    def give_up(self) -> None: ...


class Flight(Run[T]):
    """One call under way, and who waits for it."""

    __slots__ = ("_asked", "_of", "waiting")

    def __init__(self, call: Coroutine[Any, Any, T], asked: Hashable, of: "dict[Hashable, Flight[T]]") -> None:
        super().__init__(call)
        self._asked, self._of = asked, of
        self.waiting: list[Waiter[T]] = []

    def _end(self) -> None:
        super()._end()
        del self._of[self._asked]
        for waiter in self.waiting:
            if self.error is None:
                waiter.come(cast(T, self.value))
            elif isinstance(self.error, asyncio.CancelledError):
                waiter.give_up()
            else:
                waiter.fail(self.error)


class SingleFlight(Generic[T]):
    """Calls under way, by what they ask for."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, Flight[T]] = {}

    def join(self, asked: Hashable, *waiters: Waiter[T]) -> bool:
        """Wait for a call, if it is under way."""
        flight = self._under_way.get(asked)
        if flight is None:
            return False
        flight.waiting += waiters
        return True

    def start(self, asked: Hashable, call: Coroutine[Any, Any, T], *waiters: Waiter[T]) -> None:
        """Start a call, which begins at once; it ends for itself, whether anybody waits or not."""
        self._under_way[asked] = flight = Flight(call, asked, self._under_way)
        flight.waiting += waiters
        flight.begin()

    def close(self) -> None:
        """Give up all that is under way."""
        for flight in tuple(self._under_way.values()):
            flight.cancel()
