"""The response cache and single flight: valid with its dependencies, separate for each set of visible registries."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from gateway.app import registries
from gateway.auth.rate_limits import CallerRateLimiter
from gateway.catalog.bounds import DEFAULT_BOUNDS
from gateway.catalog.polling import VersionPollers
from gateway.config.settings import DocumentsSettings, LimitsSettings, SubscriptionSettings, TelemetrySettings
from gateway.errors import RegistryUnavailable
from gateway.execution.documents import Documents
from gateway.execution.persisted_queries import PersistedQueries
from gateway.execution.pipeline import Pipeline
from gateway.execution.request import GraphQLRequest
from gateway.execution.request_context import RequestContext
from gateway.execution.response_cache import CachedResponse, ResponseCache
from gateway.execution.results import CacheLifetime, OperationResult
from gateway.memory_budget import BoundedCache
from gateway.schema.schema import GRAPHQL_SCHEMA, SCHEMA
from gateway.telemetry.events import CallState
from gateway.telemetry.observer import Observer
from gateway.upstream.cache import BoundedMemory, Cache
from gateway.upstream.caching_client import ANY, CachingClient, Freshness, Lifetimes
from gateway.upstream.messages import Destination, Request
from tests.catalog.clouds import SETTINGS, FakeClouds

MODEL = '{ model(id: "pai:model/model-a") { name versions(first: 1) { nodes { name } } } }'
LIST = "query ($first: Int! = 2) { models(first: $first) { nodes { id name } totalCount } }"
REVALIDATE = Freshness(revalidate=True)


class World:
    """A pipeline over registries with a cache.

    ``edition`` is part of every PAI model's name. Registries answer while ``open`` is set.
    """

    def __init__(self, max_bytes: int = 1_000_000, entries: int = 100) -> None:
        self.clouds, self.edition, self.now = FakeClouds(), 1, 1_800_000_000.0
        self.open = asyncio.Event()
        self.open.set()
        self.cache = Cache(BoundedMemory(entries, 1_000_000), None, 3600.0, lambda: self.now)
        lifetimes = Lifetimes({"lists": 60.0, "objects": 60.0, "catalogues": 60.0}, 60.0, stale=0.0, jitter=0.0)
        self.registries = registries(SETTINGS, CachingClient(self, self.cache, lifetimes, wait=1.0))
        limits = LimitsSettings()
        self.cached: BoundedCache[bytes, CachedResponse] = BoundedCache(max_bytes)
        self.responses = ResponseCache(self.cached)
        self.pipeline = Pipeline(
            SCHEMA,
            Documents(GRAPHQL_SCHEMA, limits, suggestions=True, cache=BoundedCache(10**8)),
            PersistedQueries(DocumentsSettings(), BoundedCache(10**8)),
            CallerRateLimiter(limits),
            Observer(TelemetrySettings()),
            VersionPollers(SubscriptionSettings()),
            self.responses,
        )

    async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any:
        await self.open.wait()
        document = orjson.loads(orjson.dumps(await self.clouds.send(destination, request, refresh=refresh)))
        for model in [document, *document.get("Models", ())]:
            if "ModelName" in model:
                model["ModelName"] += f", edition {self.edition}"
        return document

    async def query(self, text: str, freshness: Freshness = ANY, only: str = "", **variables: Any) -> OperationResult:
        """Run an operation for a caller who may read the registries with ``only`` in their names."""
        visible = {name: one for name, one in self.registries.items() if only in name}
        context = RequestContext(visible, DEFAULT_BOUNDS, freshness, frozenset({"read", "explain"}))
        return await self.pipeline.run(GraphQLRequest(text, variables=variables), context)

    async def data(self, text: str, freshness: Freshness = ANY, only: str = "", **variables: Any) -> Any:
        body: Mapping[str, Any] = orjson.loads((await self.query(text, freshness, only, **variables)).body)
        assert "errors" not in body, body
        return body["data"]


async def test_a_repeated_query_has_the_cached_response_and_its_age() -> None:
    world = World()
    first = await world.query(MODEL)
    world.now += 50
    second = await world.query(MODEL)
    assert second.body is first.body
    assert second.lifetime == CacheLifetime(50.0, 10.0)
    assert sorted(world.clouds.calls) == ["pai GetModel model-a", "pai ListModelVersions model-a"]


async def test_a_response_expires_with_the_first_of_its_dependencies() -> None:
    world = World()
    await world.data('{ model(id: "pai:model/model-a") { name } }')
    world.now += 30
    assert (await world.data(MODEL))["model"]["name"] == "name of model-a, edition 1"
    world.edition = 2
    world.now += 29
    assert (await world.data(MODEL))["model"]["name"] == "name of model-a, edition 1"
    world.now += 2
    assert (await world.data(MODEL))["model"]["name"] == "name of model-a, edition 2"
    assert world.clouds.calls.count("pai ListModelVersions model-a") == 1


async def test_a_dependency_that_another_query_refreshed_invalidates_the_response() -> None:
    world = World()
    await world.data(MODEL)
    world.edition = 2
    await world.data('{ model(id: "pai:model/model-a") { name } }', REVALIDATE)
    assert (await world.data(MODEL))["model"]["name"] == "name of model-a, edition 2"


async def test_a_purge_invalidates_responses() -> None:
    world = World()
    await world.data(LIST)
    world.edition = 2
    for prefix in world.registries["pai"].cache_prefixes():
        await world.cache.purge(prefix)
    assert {node["name"][-1] for node in (await world.data(LIST))["models"]["nodes"]} >= {"2"}


@pytest.mark.parametrize("freshness", [REVALIDATE, Freshness(max_age=10.0)], ids=str)
async def test_a_request_for_a_fresher_response_gets_one(freshness: Freshness) -> None:
    world = World()
    await world.data(MODEL)
    world.edition, world.now = 2, world.now + 20
    assert (await world.data(MODEL, freshness))["model"]["name"] == "name of model-a, edition 2"


async def test_each_set_of_variables_has_its_own_response() -> None:
    world = World()
    for first in (1, 2, 3, 1, 2, 3):
        assert len((await world.data(LIST, first=first))["models"]["nodes"]) == first
    assert len((await world.data(LIST))["models"]["nodes"]) == 2


async def test_each_set_of_visible_registries_has_its_own_response() -> None:
    world = World()
    for only in ("pai", "qianfan", "", "pai", "qianfan", ""):
        models = (await world.data(LIST, only=only, first=100))["models"]["nodes"]
        assert {model["id"].partition(":")[0] for model in models} == ({only} if only else {"pai", "qianfan"})


async def test_a_response_with_errors_is_not_cached() -> None:
    world = World()
    world.clouds.failing.add("qianfan userList")
    assert (await world.query(LIST)).codes
    world.clouds.failing.clear()
    assert not (await world.query(LIST)).codes


async def test_volatile_fields_are_not_cached() -> None:
    world = World()
    query = '{ model(id: "pai:model/model-a") { registry { status { state } } } models { coverage { age state } } }'
    assert (await world.data(query))["model"]["registry"]["status"]["state"] == "UNKNOWN"
    world.registries["pai"].health.error = RegistryUnavailable("pai")
    world.now += 5
    data = await world.data(query)
    assert data["model"]["registry"]["status"]["state"] == "UNAVAILABLE"
    assert [one["age"] for one in data["models"]["coverage"]] == [5.0, 5.0]


async def test_responses_stay_within_their_limit() -> None:
    world = World()
    await world.query(LIST, first=1)
    size = world.cached.used
    world = World(max_bytes=size * 3)
    bodies = [(await world.query(LIST, first=first)).body for first in (1, 2, 3, 4)]
    cached = [(await world.query(LIST, first=first)).body for first in (4, 3, 2, 1)][::-1]
    in_use = [body for body, again in zip(bodies, cached, strict=True) if again is body]
    assert 0 < len(in_use) < 4
    assert world.cached.used <= size * 3
    last = await world.query(LIST, first=3)
    assert (await world.query(LIST, first=3)).body is last.body  # earlier responses were evicted
    small = World(max_bytes=size - 1)
    assert (await small.query(LIST, first=1)).body is not (await small.query(LIST, first=1)).body


async def test_dependencies_of_responses_in_use_stay_in_a_small_cache() -> None:
    world = World(entries=3)
    for other in ("model-b", "model-empty", "model-public", "model-b", "model-empty"):
        await world.data(MODEL)
        world.now += 2
        await world.data(f'{{ model(id: "pai:model/{other}") {{ name }} }}')
    assert world.clouds.calls.count("pai GetModel model-a") == 1
    assert world.cache.memory.losses > 0


async def test_an_evicted_dependency_invalidates_the_response() -> None:
    world = World(entries=2)
    first = await world.query(MODEL)
    assert (await world.query(MODEL)).body is first.body
    await world.data(LIST, only="pai")
    assert (await world.query(MODEL)).body is not first.body


async def test_identical_operations_under_way_share_one_execution() -> None:
    world = World()
    world.open.clear()
    tasks = [asyncio.create_task(world.query(MODEL)) for _ in range(5)]
    await asyncio.sleep(0)
    world.open.set()
    bodies = [(await one).body for one in tasks]
    assert all(body is bodies[0] for body in bodies)
    shared = [{call.state for call in (await one).calls} == {CallState.SHARED} for one in tasks]
    assert shared == [False, True, True, True, True]


async def test_a_cancelled_caller_does_not_affect_the_others() -> None:
    world = World()
    world.open.clear()
    tasks = [asyncio.create_task(world.query(MODEL)) for _ in range(4)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[2].cancel()
    await asyncio.sleep(0)
    world.open.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in results] == [True, False, True, False]
    assert (await world.query(MODEL)).codes == ()
    assert sorted(world.clouds.calls) == ["pai GetModel model-a", "pai ListModelVersions model-a"]
