"""Disconnection of clients: the work for a response ends when nobody is there to receive it.

Source: the ASGI specification, ``http.disconnect``.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from starlette.types import Receive

from gateway.http.begun_work import BegunWork

T = TypeVar("T")

WATCH_AFTER: Final = 0.1
"""Seconds of work after which a task watches for the disconnection. Most work ends before."""


class ClientDisconnected(Exception):
    """The client disconnected before its response was ready."""


async def disconnected(receive: Receive) -> None:
    """Wait until the client disconnects. The body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Await work. Cancels it when the client disconnects, and raises `ClientDisconnected`.

    Work that does not wait costs no timer, and short work no task.
    """
    begun = BegunWork(work)
    if begun.ended:
        return await begun
    loop, current = asyncio.get_running_loop(), asyncio.current_task()
    assert current is not None
    watching: asyncio.Task[None] | None = None
    waits = True

    def watch() -> None:
        nonlocal watching
        watching = loop.create_task(disconnected(receive))
        watching.add_done_callback(cancel)

    def cancel(ended: asyncio.Task[None]) -> None:
        if waits and not ended.cancelled():
            current.cancel()

    start = loop.call_later(WATCH_AFTER, watch)
    try:
        return await begun
    except asyncio.CancelledError:
        if watching is not None and watching.done() and not watching.cancelled() and not current.uncancel():
            raise ClientDisconnected from None
        raise
    finally:
        waits = False
        start.cancel()
        if watching is not None:
            watching.remove_done_callback(cancel)
            watching.cancel()
