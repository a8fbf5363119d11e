"""Waiting for several things at the same time, with no more tasks than it takes."""

import asyncio
from collections.abc import Awaitable, Sequence


async def gather(waits: Sequence[Awaitable[None]]) -> None:
    """Wait for all; the first failure is raised at once."""
    if len(waits) == 1:
        await waits[0]
    elif waits:
        await asyncio.gather(*waits)
