"""Calls under way, each nobody's own: all who ask the same meanwhile wait for one; no waiter's end harms another."""

import asyncio
from collections.abc import Coroutine, Hashable
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, cast

from gateway.begun import Run

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
        self._waiting: dict[Hashable, list[Waiter[T]]] = {}
        self._runs: set[Run[T]] = set()

    def join(self, asked: Hashable, *waiters: Waiter[T]) -> bool:
        """Wait for a call, if it is under way."""
        waiting = self._waiting.get(asked)
        if waiting is None:
            return False
        waiting.extend(waiters)
        return True

    def start(self, asked: Hashable, call: Coroutine[Any, Any, T], *waiters: Waiter[T]) -> None:
        """Start a call, which begins at once; it ends for itself, whether anybody waits or not."""
        self._waiting[asked] = [*waiters]
        run = Run(call)
        run.when_done(partial(self._land, asked))
        self._runs.add(run)
        run.begin()

    def close(self) -> None:
        """Give up all that is under way."""
        for run in tuple(self._runs):
            run.cancel()

    def _land(self, asked: Hashable, run: Run[T]) -> None:
        self._runs.discard(run)
        for waiter in self._waiting.pop(asked):
            if run.error is None:
                waiter.come(cast(T, run.value))
            elif isinstance(run.error, asyncio.CancelledError):
                waiter.give_up()
            else:
                waiter.fail(run.error)
