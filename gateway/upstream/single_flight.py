"""Single flight: concurrent callers of one key share one running call."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True, eq=False)
class Flight(Generic[V]):
    """A running call: its task, and for each caller a future of the result."""

    task: asyncio.Task[V]
    in_background: bool
    callers: set[asyncio.Future[V]] = field(default_factory=set)


class SingleFlight(Generic[K, V]):
    """Running calls by key. Each has a task of its own.

    A call that was started in the background finishes even if all its callers are cancelled. Others do, too, unless
    ``cancel_abandoned`` is set.
    """

    def __init__(self, *, cancel_abandoned: bool = False) -> None:
        self.cancel_abandoned = cancel_abandoned
        self._flights: dict[K, Flight[V]] = {}

    async def run(self, key: K, call: Callable[[], Coroutine[Any, Any, V]]) -> tuple[V, bool]:
        """Return the result of the call for a key, and whether another caller had started it.

        Cancelling one caller leaves the call and the other callers alone. Raises what the call raises.
        """
        flight = self._flights.get(key)
        shared = flight is not None
        if flight is None:
            flight = self._start(key, call())
        if flight.task.done():
            return flight.task.result(), shared
        result = asyncio.get_running_loop().create_future()
        flight.callers.add(result)
        try:
            return await result, shared
        except asyncio.CancelledError:
            self._leave(key, flight, result)
            raise

    def start(self, key: K, call: Callable[[], Coroutine[Any, Any, V]]) -> bool:
        """Start the call in the background unless it is running; return whether it was started."""
        if key in self._flights:
            return False
        self._start(key, call(), in_background=True)
        return True

    async def wait(self, key: K) -> None:
        """Wait for the call of a key, if one is running. Raises what the call raises."""
        flight = self._flights.get(key)
        if flight is not None:
            await asyncio.shield(flight.task)

    def _start(self, key: K, call: Coroutine[Any, Any, V], *, in_background: bool = False) -> Flight[V]:
        task = asyncio.get_running_loop().create_task(call)
        flight = self._flights[key] = Flight(task, in_background)
        task.add_done_callback(partial(self._finish, key, flight))
        return flight

    def _leave(self, key: K, flight: Flight[V], result: asyncio.Future[V]) -> None:
        """Forget a caller that was cancelled, and cancel the call if nobody waits for it any more."""
        flight.callers.discard(result)
        is_abandoned = self.cancel_abandoned and not flight.callers and not flight.in_background
        if is_abandoned and not flight.task.done():
            del self._flights[key]  # a later caller starts the call again
            flight.task.cancel()

    def _finish(self, key: K, flight: Flight[V], task: asyncio.Task[V]) -> None:
        """Pass the outcome of a call to its callers."""
        if self._flights.get(key) is flight:
            del self._flights[key]
        waiting = [result for result in flight.callers if not result.done()]
        if task.cancelled():
            for result in waiting:
                result.cancel()
        elif (error := task.exception()) is not None:  # asyncio would log it if nobody asked for it
            for result in waiting:
                result.set_exception(error)
        else:
            for result in waiting:
                result.set_result(task.result())

    def close(self) -> None:
        """Cancel all running calls, and thereby their callers."""
        for flight in tuple(self._flights.values()):
            flight.task.cancel()
