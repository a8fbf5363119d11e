"""Executions under way, shared by identical operations."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedExecutions(Generic[T]):
    """Executions under way, by key: the first caller executes, later callers wait for its value."""

    def __init__(self) -> None:
        self._waiters: dict[Hashable, asyncio.Future[T | None]] = {}

    async def run(self, key: Hashable, execute: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """Return the value and whether another caller computed it. Raises what ``execute`` raises.

        A waiter that is cancelled affects nobody else. When the executing caller is cancelled, a waiter executes.
        """
        while (under_way := self._waiters.get(key)) is not None:
            value = await asyncio.shield(under_way)
            if value is not None:
                return value, True
        self._waiters[key] = future = asyncio.get_running_loop().create_future()
        try:
            value = await execute()
        except Exception as error:
            future.set_exception(error)
            future.exception()  # marks it as retrieved: there may be no waiter
            raise
        else:
            future.set_result(value)
        finally:
            del self._waiters[key]
            if not future.done():  # cancelled
                future.set_result(None)
        return value, False
