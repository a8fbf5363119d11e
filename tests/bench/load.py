"""Load generation: clients that send requests back to back, and the CPU time that the server takes for them."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import aiohttp

from tests.bench.cloud import COUNTER
from tests.bench.processes import Server

HEADERS = {"content-type": "application/json", "accept": "application/json"}
CLIENTS = 16


@dataclass(frozen=True)
class Cost:
    """Microseconds of the server's CPU and upstream calls per request; two percentiles of latency in milliseconds."""

    cpu: float
    calls: float
    p50: float
    p99: float


def session(address: str, clients: int = 1) -> aiohttp.ClientSession:
    """Open a session with up to ``clients`` connections."""
    connector = aiohttp.TCPConnector(limit=clients)
    return aiohttp.ClientSession(address, connector=connector, cookie_jar=aiohttp.DummyCookieJar())


async def send_query(connections: aiohttp.ClientSession, body: bytes, path: str = "/graphql") -> bytes:
    """Send a request and return the response body. Raises RuntimeError for errors, so that none counts as fast."""
    async with connections.post(path, data=body, headers=HEADERS) as response:
        answer = await response.read()
    if response.status != 200 or b'"errors"' in answer[:20] or b'"errors":[' in answer[-2000:]:
        raise RuntimeError(f"status {response.status}: {answer[:500].decode(errors='replace')}")
    return answer


async def send_all(server: Server, bodies: Iterator[bytes]) -> None:
    """Send each request once, to fill the cache."""
    async with session(server.address, CLIENTS) as connections:

        async def client() -> None:
            for body in bodies:
                await send_query(connections, body)

        await asyncio.gather(*(client() for _ in range(CLIENTS)))


async def count_calls(upstream: str) -> int:
    """Return how many calls the upstream at an address has answered, 0 for no address."""
    if not upstream:
        return 0
    async with session(upstream) as connections, connections.get(COUNTER) as response:
        return int(await response.read())


async def measured(
    server: Server,
    bodies: Iterator[bytes],
    seconds: float,
    clients: int = CLIENTS,
    path: str = "/graphql",
    upstream: str = "",
) -> Cost:
    """Measure the cost of requests during a number of seconds, after a warm-up of a fifth of that time.

    ``bodies`` are the bodies of the requests, more than can be sent. ``upstream`` is the address of the server that
    counts the calls.
    """
    latencies = list[float]()

    async def client(ends: float) -> None:
        now = 0.0
        while now < ends:  # at least one request
            started = perf_counter()
            await send_query(connections, next(bodies), path)
            now = perf_counter()
            latencies.append((now - started) * 1e3)

    async def run_clients(duration: float) -> None:
        ends = perf_counter() + duration
        await asyncio.gather(*(client(ends) for _ in range(clients)))

    async with session(server.address, clients) as connections:
        await run_clients(seconds / 5)
        latencies.clear()
        calls, cpu = await count_calls(upstream), server.cpu
        await run_clients(seconds)
        cpu, calls = server.cpu - cpu, await count_calls(upstream) - calls
    many, ordered = len(latencies), sorted(latencies)
    return Cost(cpu / many * 1e6, calls / many, median(ordered), ordered[many * 99 // 100])
