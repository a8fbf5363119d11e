"""What is kept, in a process of its own: what an entry takes of memory, and what it costs to find one among many.

``python -m tests.bench.kept ENTRIES [small]`` tells bytes for each entry and microseconds of CPU for each answer, as
JSON. Entries are whole models, or ``small`` ones, so that very many have room.
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

LOOKS = 20_000


class Nobody:
    """Is never asked: everything is kept."""

    async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any:
        raise AssertionError("all answers are kept")


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def kept(entries: int, small: bool = False) -> dict[str, float]:
    """Keep models, and ask for some of them again."""
    document = (lambda row: {"ModelId": f"model-{row:06}"}) if small else model
    cache = Cache(BoundedMemory(entries, sys.maxsize), None, 1e9, time.time)
    source = CachingClient(Nobody(), cache, lifetimes(CacheSettings()), 0.0)
    account = PaiSettings(
        name="pai", kind="pai", region="cn-hangzhou", access_key_id="key", access_key_secret=Secret("secret")
    )
    registry = Registry(KINDS["pai"], account, source)
    call = next(call for call in registry.kind.calls if call.name == "GetModel")

    def request(row: int) -> Request:
        return call.request((f"model-{row:06}",))

    before = resident()
    for row in range(entries):
        await cache.put(registry.destination.scope.key(request(row)), json.loads(json.dumps(document(row))))
    size = (resident() - before) / entries
    chance = random.Random(1)  # noqa: S311
    rows = [request(chance.randrange(entries)) for _ in range(LOOKS)]
    begun = time.process_time()
    for one in rows:
        await source.fetch(registry.destination, one, call.family)
    return {"bytes": size, "cpu": (time.process_time() - begun) / LOOKS * 1e6}


async def of(entries: int, small: bool = False) -> dict[str, float]:
    """`kept` in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.kept", str(entries), *(["small"] if small else [])]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    told, _ = await process.communicate()
    figures: dict[str, float] = json.loads(told)
    return figures


if __name__ == "__main__":
    print(json.dumps(asyncio.run(kept(int(sys.argv[1]), "small" in sys.argv))))
