"""A time limit for work that usually does not wait, such as receiving a body that has arrived."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from gateway.http.begun_work import BegunWork

T = TypeVar("T")


async def within(seconds: float, work: Awaitable[T]) -> T:
    """Await work. Cancels it after a number of seconds, and raises TimeoutError.

    Like `asyncio.timeout`, but work that does not wait needs no timer.
    """
    begun = BegunWork(work)
    if begun.ended:
        return await begun
    async with asyncio.timeout(seconds):
        return await begun
