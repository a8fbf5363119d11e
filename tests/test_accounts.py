"""Accounts never see each other's data in any sequence of requests, failures, refreshes and purges."""

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from gateway.catalog.query_plan import BoundCall
from gateway.catalog.registry import Registry
from gateway.config.settings import RegistrySettings, Secret
from gateway.errors import RegistryUnavailable
from gateway.registries import KINDS, mlflow, pai, sagemaker
from gateway.registries.kind import Call
from gateway.upstream.cache import BoundedMemory, Cache
from gateway.upstream.caching_client import CachingClient, Freshness, Lifetimes, UncachedClient
from gateway.upstream.messages import Destination, Request
from gateway.upstream.redis_cache import SharedCache
from tests import conftest
from tests.sagemaker import conftest as sagemaker_conftest

URL = "http://127.0.0.1:9"


def of_mlflow(name: str, **options: Any) -> RegistrySettings:
    return conftest.mlflow(URL, name, **{"username": "", "password": Secret(""), **options})


def of_sagemaker(name: str, url: str = URL, **options: Any) -> RegistrySettings:
    return sagemaker_conftest.sagemaker(url, ("key-a", "secret", ""), name=name, **options)


def login(username: str) -> dict[str, Any]:
    return {"username": username, "password": Secret("password")}


@dataclass(frozen=True)
class Owners:
    """Registries of one kind by name, each with the account that it belongs to; two of them belong to one account.

    ``call`` describes a model; its answer has the name of the model and the owner in ``members`` at ``path``.
    """

    registries: Mapping[str, tuple[str, RegistrySettings]]
    call: Call
    members: tuple[str, str]
    path: str = ""

    def document(self, model: str, account: str) -> dict[str, Any]:
        found = dict(zip(self.members, (model, account), strict=True))
        return {self.path: found} if self.path else found


OWNERS = {
    "pai": Owners(
        {
            name: (key, conftest.pai(URL, name, access_key_id=key))
            for name, key in {"alice": "key-a", "bob": "key-b", "carol": "key-c", "alice-again": "key-a"}.items()
        },
        pai.GET_MODEL,
        ("ModelId", "OwnerId"),
    ),
    "mlflow": Owners(
        {
            "nobody": ("", of_mlflow("nobody")),
            "alice": ("a", of_mlflow("alice", **login("a"))),
            "alice-again": ("a", of_mlflow("alice-again", **{**login("a"), "password": Secret("new")})),
            "bob": ("b", of_mlflow("bob", **login("b"))),
            "alice-north": ("a in north", of_mlflow("alice-north", workspace="north", **login("a"))),
            "nobody-north": ("north", of_mlflow("nobody-north", workspace="north")),
            "token": ("token a", of_mlflow("token", token=Secret("a"))),
            "other-token": ("token b", of_mlflow("other-token", token=Secret("b"))),
            "token-north": ("token a in north", of_mlflow("token-north", token=Secret("a"), workspace="north")),
        },
        mlflow.GET_MODEL,
        ("name", "description"),
        "registered_model",
    ),
    "sagemaker": Owners(
        {
            "one": ("1", of_sagemaker("one")),
            "one-again": ("1", of_sagemaker("one-again", access_key_id="key-b")),
            "two": ("2", of_sagemaker("two", account="2" * 12)),
            "one-elsewhere": ("1 elsewhere", of_sagemaker("one-elsewhere", region="us-east-1")),
            "one-proxied": ("1 proxied", of_sagemaker("one-proxied", f"{URL}/proxied")),
        },
        sagemaker.DESCRIBE_GROUP,
        ("ModelPackageGroupName", "ModelPackageGroupDescription"),
    ),
}
MODELS = st.sampled_from(["model-1", "model-2"])
NUMBERS = st.integers(0, 8)
FRESHNESS = st.sampled_from([Freshness(), Freshness(revalidate=True), Freshness(max_age=5.0)])


@dataclass
class Cloud:
    """Returns a model with the account as its owner, or fails."""

    owners: Owners
    failing: bool = False

    async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any:
        await asyncio.sleep(0)
        if self.failing:
            raise RegistryUnavailable(destination.registry)
        account, _ = self.owners.registries[destination.registry]
        [model] = [name for name in ("model-1", "model-2") if name in f"{request.path}{request.query}{request.body!r}"]
        return self.owners.document(model, account)


class Accounts(RuleBasedStateMachine):
    """Two replicas with their own memory, and one Redis or none. Every response must belong to the account."""

    redis: str | None = None
    owners: Owners

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.cloud, self.seconds = Cloud(self.owners), time.time()
        self.caches, self.clients = list[Cache](), list[CachingClient]()
        self.replicas = [self.runner.run(self.replica()) for _ in range(2)]

    async def replica(self) -> dict[str, Registry]:
        shared = SharedCache(self.redis, 1.0, time.monotonic) if self.redis else None
        cache = Cache(BoundedMemory(3, 10_000), shared, 1000.0, lambda: self.seconds)
        lifetimes = Lifetimes({"objects": 10.0}, 5.0, 10.0, 0.1)
        client = CachingClient(self.cloud, cache, lifetimes, 1.0)
        self.caches.append(cache)
        self.clients.append(client)
        return {
            name: Registry(KINDS[configured.kind], configured, client)
            for name, (_, configured) in self.owners.registries.items()
        }

    async def fetch(self, replica: int, name: str, model: str, freshness: Freshness) -> None:
        try:
            answer = await self.replicas[replica][name].fetch(BoundCall(name, self.owners.call, (model,)), freshness)
        except RegistryUnavailable:
            assert self.cloud.failing
        else:
            assert answer.document == self.owners.document(model, self.owners.registries[name][0])

    def name(self, number: int) -> str:
        names = sorted(self.owners.registries)
        return names[number % len(names)]

    @rule(requests=st.lists(st.tuples(st.sampled_from([0, 1]), NUMBERS, MODELS, FRESHNESS), min_size=1, max_size=6))
    def send_requests(self, requests: list[tuple[int, int, str, Freshness]]) -> None:
        async def send_all() -> None:
            await asyncio.gather(
                *(self.fetch(replica, self.name(number), *more) for replica, number, *more in requests)
            )

        self.runner.run(send_all())

    @rule(seconds=st.sampled_from([1.0, 9.0, 12.0, 30.0, 2000.0]))
    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds

    @rule(failing=st.booleans())
    def set_failing(self, failing: bool) -> None:
        self.cloud.failing = failing

    @rule(replica=st.sampled_from([0, 1]), number=NUMBERS)
    def purge(self, replica: int, number: int) -> None:
        async def run() -> None:
            for prefix in self.replicas[replica][self.name(number)].cache_prefixes():
                await self.caches[replica].purge(prefix)

        self.runner.run(run())

    def teardown(self) -> None:
        async def close() -> None:
            for client in self.clients:
                client.close()
            refreshes = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*refreshes, return_exceptions=True)
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


@pytest.mark.parametrize("kind", OWNERS)
def test_accounts_are_separate_in_memory(kind: str) -> None:
    in_memory = type("AccountsInMemory", (Accounts,), {"owners": OWNERS[kind]})
    run_state_machine_as_test(in_memory, settings=settings(max_examples=60, stateful_step_count=20, deadline=None))


@pytest.mark.parametrize("kind", OWNERS)
def test_accounts_are_separate_in_redis(redis: str, kind: str) -> None:
    over_redis = type("AccountsOverRedis", (Accounts,), {"redis": redis, "owners": OWNERS[kind]})
    run_state_machine_as_test(over_redis, settings=settings(max_examples=30, stateful_step_count=20, deadline=None))


@pytest.mark.parametrize("kind", OWNERS)
def test_registries_of_one_account_share_a_scope_and_others_do_not(kind: str) -> None:
    scopes: dict[str, set[str]] = {}
    for account, configured in OWNERS[kind].registries.values():
        registry = Registry(KINDS[kind], configured, UncachedClient(Cloud(OWNERS[kind])))
        scopes.setdefault(account, set()).add(registry.destination.scope.digest)
    assert all(len(digests) == 1 for digests in scopes.values())
    assert len(set().union(*scopes.values())) == len(scopes)
