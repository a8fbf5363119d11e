"""Memory of a cache entry, and CPU time of a lookup among many entries, measured in a separate process.

``python -m tests.bench.cache_costs ENTRIES [small]`` prints bytes per entry and microseconds of CPU per lookup as JSON.
Entries are full models, or ``small`` ones to measure very large caches.
"""

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

from gateway.app import lifetimes
from gateway.catalog.registry import Registry
from gateway.config.settings import CacheSettings, Secret
from gateway.registries import KINDS
from gateway.registries.pai import PaiSettings
from gateway.upstream.cache import BoundedMemory, Cache
from gateway.upstream.caching_client import CachingClient
from gateway.upstream.messages import Destination, Request
from tests.bench.cloud import model

LOOKUPS = 20_000


class UnusedClient:
    """An upstream client that is never called, since all responses are cached."""

    async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any:
        raise AssertionError("all responses are cached")


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def measure_here(entries: int, small: bool = False) -> dict[str, float]:
    """Cache models and look some of them up, in this process."""
    document = (lambda row: {"ModelId": f"model-{row:06}"}) if small else model
    cache = Cache(BoundedMemory(entries, sys.maxsize), None, 1e9, time.time)
    client = CachingClient(UnusedClient(), cache, lifetimes(CacheSettings()), 0.0)
    account = PaiSettings(
        name="pai", kind="pai", region="cn-hangzhou", access_key_id="key", access_key_secret=Secret("secret")
    )
    registry = Registry(KINDS["pai"], account, client)
    call = next(call for call in registry.kind.calls if call.name == "GetModel")

    def request(row: int) -> Request:
        return call.request((f"model-{row:06}",))

    before = resident()
    for row in range(entries):
        await cache.put(registry.destination.scope.key(request(row)), json.loads(json.dumps(document(row))))
    size = (resident() - before) / entries
    seeded = random.Random(1)  # noqa: S311
    requests = [request(seeded.randrange(entries)) for _ in range(LOOKUPS)]
    started = time.process_time()
    for lookup in requests:
        await client.fetch(registry.destination, lookup, call.family)
    return {"bytes": size, "cpu": (time.process_time() - started) / LOOKUPS * 1e6}


async def measure(entries: int, small: bool = False) -> dict[str, float]:
    """Run `measure_here` in a separate process."""
    command = [sys.executable, "-m", "tests.bench.cache_costs", str(entries), *(["small"] if small else [])]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    costs: dict[str, float] = json.loads(output)
    return costs


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure_here(int(sys.argv[1]), "small" in sys.argv))))
