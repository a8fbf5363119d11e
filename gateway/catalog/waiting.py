"""Waiting for several things at the same time, and for one thing without a task of its own."""

import asyncio
from collections.abc import Awaitable, Sequence


async def gather(waits: Sequence[Awaitable[None]]) -> None:
    """Wait for all; the first failure is raised at once."""
    if len(waits) == 1:
        await waits[0]
    elif waits:
        await asyncio.gather(*waits)
