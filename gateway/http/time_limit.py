"""A time limit for work that usually does not wait, such as receiving a body that has arrived."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Awaitable[T]) -> T:
    """Await work. Cancels it after a number of seconds, and raises TimeoutError.

    Like `asyncio.timeout`, but the timer starts in the next turn of the event loop: work that does not wait needs none.
    """
    loop, current = asyncio.get_running_loop(), asyncio.current_task()
    assert current is not None
    timer: asyncio.TimerHandle | None = None
    expired = False

    def start() -> None:
        nonlocal timer
        timer = loop.call_later(seconds, expire)

    def expire() -> None:
        nonlocal expired
        expired = True
        current.cancel()

    starting = loop.call_soon(start)
    try:
        return await work
    except asyncio.CancelledError:
        if expired and not current.uncancel():
            raise TimeoutError from None
        raise
    finally:
        starting.cancel()
        if timer is not None:
            timer.cancel()
