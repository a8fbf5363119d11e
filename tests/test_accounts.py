"""Accounts never see each other's data in any sequence of requests, failures, refreshes and purges."""

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from gateway.catalog.query_plan import BoundCall
from gateway.catalog.registry import Registry
from gateway.errors import RegistryUnavailable
from gateway.registries.pai import GET_MODEL, PAI
from gateway.upstream.cache import BoundedMemory, Cache
from gateway.upstream.caching_client import CachingClient, Freshness, Lifetimes
from gateway.upstream.messages import Destination, Request
from gateway.upstream.redis_cache import SharedCache
from tests.conftest import pai

ACCOUNTS = {"alice": "key-a", "bob": "key-b", "carol": "key-c", "alice-again": "key-a"}
"""Registries by name, with their access keys; two of them belong to one account."""

NAMES = st.sampled_from(sorted(ACCOUNTS))
MODELS = st.sampled_from(["model-1", "model-2"])
FRESHNESS = st.sampled_from([Freshness(), Freshness(revalidate=True), Freshness(max_age=5.0)])


class Cloud:
    """Returns a model with the access key of the account as its owner, or fails."""

    failing = False

    async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any:
        await asyncio.sleep(0)
        if self.failing:
            raise RegistryUnavailable(destination.registry)
        return {"ModelId": request.path.rpartition("/")[2], "OwnerId": ACCOUNTS[destination.registry]}


class Accounts(RuleBasedStateMachine):
    """Two replicas with their own memory, and one Redis or none. Every response must belong to the account."""

    redis: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.cloud, self.seconds = Cloud(), time.time()
        self.replicas = [self.runner.run(self.replica()) for _ in range(2)]

    async def replica(self) -> dict[str, Registry]:
        shared = SharedCache(self.redis, 1.0, time.monotonic) if self.redis else None
        cache = Cache(BoundedMemory(3, 10_000), shared, 1000.0, lambda: self.seconds)
        lifetimes = Lifetimes({"objects": 10.0}, 5.0, 10.0, 0.1)
        client = CachingClient(self.cloud, cache, lifetimes, 1.0)
        self.caches = [*getattr(self, "caches", []), cache]
        return {
            name: Registry(PAI, pai("http://127.0.0.1:9", name, access_key_id=key), client)
            for name, key in ACCOUNTS.items()
        }

    async def fetch(self, replica: int, name: str, model: str, freshness: Freshness) -> None:
        try:
            answer = await self.replicas[replica][name].fetch(BoundCall(name, GET_MODEL, (model,)), freshness)
        except RegistryUnavailable:
            assert self.cloud.failing
        else:
            assert answer.document == {"ModelId": model, "OwnerId": ACCOUNTS[name]}

    @rule(requests=st.lists(st.tuples(st.sampled_from([0, 1]), NAMES, MODELS, FRESHNESS), min_size=1, max_size=6))
    def send_requests(self, requests: list[tuple[int, str, str, Freshness]]) -> None:
        async def send_all() -> None:
            await asyncio.gather(*(self.fetch(*request) for request in requests))

        self.runner.run(send_all())

    @rule(seconds=st.sampled_from([1.0, 9.0, 12.0, 30.0, 2000.0]))
    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds

    @rule(failing=st.booleans())
    def set_failing(self, failing: bool) -> None:
        self.cloud.failing = failing

    @rule(replica=st.sampled_from([0, 1]), name=NAMES)
    def purge(self, replica: int, name: str) -> None:
        async def run() -> None:
            for prefix in self.replicas[replica][name].cache_prefixes():
                await self.caches[replica].purge(prefix)

        self.runner.run(run())

    def teardown(self) -> None:
        async def close() -> None:
            for cache in self.caches:
                if cache.shared is not None:
                    await cache.shared.redis.flushdb()
                    await cache.shared.close()

        self.runner.run(close())
        self.runner.close()


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with subprocess.Popen(["redis-server", *options], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while b"Ready to accept connections" not in process.stdout.readline():
            pass
        yield f"redis://127.0.0.1:{port}/0"
        process.kill()


def test_accounts_are_separate_in_memory() -> None:
    run_state_machine_as_test(Accounts, settings=settings(max_examples=60, stateful_step_count=20, deadline=None))


def test_accounts_are_separate_in_redis(redis: str) -> None:
    over_redis = type("AccountsOverRedis", (Accounts,), {"redis": redis})
    run_state_machine_as_test(over_redis, settings=settings(max_examples=30, stateful_step_count=20, deadline=None))
