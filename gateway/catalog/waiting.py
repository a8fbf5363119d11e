"""Waiting for several things at the same time, with no more tasks than it takes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

T = TypeVar("T")
V = TypeVar("V")


async def gather(waits: Sequence[Awaitable[None]]) -> None:
    """Wait for all; the first failure is raised at once."""
    if len(waits) == 1:
        await waits[0]
    elif waits:
        await asyncio.gather(*waits)


async def each(waits: Sequence[tuple[T, "asyncio.Future[V]"]], came: Callable[[T, "asyncio.Future[V]"], None]) -> None:
    """Wait for all, at least one, with a word each; tell ``came`` of each when it comes. What that raises is raised at
    once, and it hears no more then."""
    all_came: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    left = len(waits)

    def one_came(word: T, waited: "asyncio.Future[V]") -> None:
        nonlocal left
        left -= 1
        if all_came.done():
            return
        try:
            came(word, waited)
        except asyncio.CancelledError:
            all_came.cancel()
        except Exception as error:
            all_came.set_exception(error)
        else:
            if not left:
                all_came.set_result(None)

    for word, waited in waits:
        waited.add_done_callback(partial(one_came, word))
    await all_came
