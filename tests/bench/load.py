"""Clients that ask one after the other, as fast as they are answered; what the server takes for it is measured."""

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
    """What requests cost: microseconds of the server's CPU for each, and the median of their latencies in seconds."""

    cpu: float
    latency: float


def session(address: str, clients: int = 1) -> aiohttp.ClientSession:
    """Connections of so many clients to a server."""
    connector = aiohttp.TCPConnector(limit=clients)
    return aiohttp.ClientSession(address, connector=connector, cookie_jar=aiohttp.DummyCookieJar())


async def ask(connections: aiohttp.ClientSession, path: str, body: bytes) -> bytes:
    """An answer. Raises RuntimeError for one that says an error, so that no failure is ever a quick answer."""
    async with connections.post(path, data=body, headers=HEADERS) as response:
        answer = await response.read()
    if response.status != 200 or b'"errors"' in answer[:20] or b'"errors":[' in answer[-2000:]:
        raise RuntimeError(f"status {response.status}: {answer[:500].decode(errors='replace')}")
    return answer


async def measured(
    server: Server, path: str, body: Callable[[int], bytes], seconds: float, clients: int = CLIENTS, first: int = 0
) -> Cost:
    """The cost of requests for so many seconds; the numbers that make bodies begin with ``first``.

    A fifth of the time is spent before anything is counted.
    """
    connections = session(server.address, clients)
    numbers, latencies = count(first), list[float]()

    async def client(ends: float) -> None:
        while (begun := perf_counter()) < ends:
            await ask(connections, path, body(next(numbers)))
            latencies.append(perf_counter() - begun)

    async def all_of_them(for_so_long: float) -> None:
        ends = perf_counter() + for_so_long
        await asyncio.gather(*(client(ends) for _ in range(clients)))

    try:
        await all_of_them(seconds / 5)
        latencies.clear()
        before = server.cpu
        await all_of_them(seconds)
        return Cost((server.cpu - before) / len(latencies) * 1e6, median(latencies))
    finally:
        await connections.close()
