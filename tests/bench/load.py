"""Load generation: clients that send requests back to back, and the CPU time that the server takes for them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from statistics import median
from time import perf_counter

import aiohttp

from tests.bench.processes import Server

HEADERS = {"content-type": "application/json", "accept": "application/json"}
CLIENTS = 16


@dataclass(frozen=True)
class Cost:
    """Microseconds of the server's CPU per request, and the median latency in seconds."""

    cpu: float
    latency: float


def session(address: str, clients: int = 1) -> aiohttp.ClientSession:
    """Open a session with up to ``clients`` connections."""
    connector = aiohttp.TCPConnector(limit=clients)
    return aiohttp.ClientSession(address, connector=connector, cookie_jar=aiohttp.DummyCookieJar())


async def send_query(connections: aiohttp.ClientSession, path: str, body: bytes) -> bytes:
    """Send a request and return the response body. Raises RuntimeError for errors, so that none counts as fast."""
    async with connections.post(path, data=body, headers=HEADERS) as response:
        answer = await response.read()
    if response.status != 200 or b'"errors"' in answer[:20] or b'"errors":[' in answer[-2000:]:
        raise RuntimeError(f"status {response.status}: {answer[:500].decode(errors='replace')}")
    return answer


async def measured(
    server: Server, path: str, body: Callable[[int], bytes], seconds: float, clients: int = CLIENTS, first: int = 0
) -> Cost:
    """Measure the cost of requests during a number of seconds, after a warm-up of a fifth of that time.

    ``body`` builds the request body for each number, starting with ``first``.
    """
    connections = session(server.address, clients)
    numbers, latencies = count(first), list[float]()

    async def client(ends: float) -> None:
        while (started := perf_counter()) < ends:
            await send_query(connections, path, body(next(numbers)))
            latencies.append(perf_counter() - started)

    async def run_clients(duration: float) -> None:
        ends = perf_counter() + duration
        await asyncio.gather(*(client(ends) for _ in range(clients)))

    try:
        await run_clients(seconds / 5)
        latencies.clear()
        before = server.cpu
        await run_clients(seconds)
        return Cost((server.cpu - before) / len(latencies) * 1e6, median(latencies))
    finally:
        await connections.close()
