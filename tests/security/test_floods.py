"""One process withstands clients that send requests without end and read nothing, and serves others meanwhile."""

import asyncio

import aiohttp
import pytest

from tests.flood_connections import FLOODS, send
from tests.security.conftest import Target

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
