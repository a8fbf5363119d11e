"""One process withstands clients that send requests without end and read nothing, and serves others meanwhile.

The floods use all processors for minutes: ``FLOODS=1 pytest tests/security/test_floods.py`` runs them by hand.
"""

import asyncio
import os

import aiohttp
import pytest

from tests.flood_connections import FLOODS, send
from tests.security.conftest import Target

pytestmark = pytest.mark.skipif("FLOODS" not in os.environ, reason="takes minutes; FLOODS=1 runs it")

CONNECTIONS = 10

MOST_MEMORY = 250_000_000
"""Maximum peak memory of the process in bytes; it starts with about 100 MB."""


@pytest.mark.parametrize("name", FLOODS)
async def test_a_client_that_never_reads_does_not_affect_others(flooded: Target, name: str) -> None:
    begun = asyncio.Semaphore(0)
    floods = [asyncio.create_task(send(flooded.host, flooded.port, FLOODS[name], begun)) for _ in range(CONNECTIONS)]
    for _ in range(CONNECTIONS):
        await begun.acquire()
    async with aiohttp.ClientSession(flooded.url, timeout=aiohttp.ClientTimeout(total=60)) as session:
        for _ in range(3):
            async with session.get("/healthz") as response:
                assert response.status == 200
    for task in floods:
        task.cancel()
    await asyncio.gather(*floods, return_exceptions=True)
    assert flooded.memory() < MOST_MEMORY
