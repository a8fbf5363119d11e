"""Whole answers kept: never older than what they were made of, never another's, never of what is of the moment."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from gateway.execution.findings import Findings
from gateway.execution.prepared import Prepared

from gateway.app import registries
from gateway.auth.rate_limits import CallerRateLimiter
from gateway.catalog.bounds import DEFAULT_BOUNDS
from gateway.catalog.polling import VersionPollers
from gateway.config.settings import DocumentsSettings, LimitsSettings, SubscriptionSettings, TelemetrySettings
from gateway.errors import RegistryUnavailable
from gateway.execution.documents import Documents
from gateway.execution.persisted_queries import PersistedQueries
from gateway.execution.pipeline import Pipeline
from gateway.execution.request_context import RequestContext
from gateway.execution.response_cache import ResponseCache
from gateway.execution.results import Result
from gateway.http.requests import GraphQLRequest
from gateway.schema.schema import CORE, SCHEMA
from gateway.telemetry.observer import Observer
from gateway.upstream.cache import BoundedMemory, Cache
from gateway.upstream.caching_client import ANY, CachingClient, Freshness, Lifetimes
from gateway.upstream.messages import Destination, Request
from tests.catalog.clouds import SETTINGS, Clouds

MODEL = '{ model(id: "pai:model/model-a") { name versions(first: 1) { nodes { name } } } }'
LIST = "query ($first: Int! = 2) { models(first: $first) { nodes { id name } totalCount } }"
ANEW = Freshness(revalidate=True)


class World:
    """An executor over registries whose answers are kept; ``edition`` is part of every model's name in PAI. They answer
    while they are ``open``."""

    def __init__(self, room: int = 1_000_000, entries: int = 100, findings: int = 0) -> None:
        self.clouds, self.edition, self.now = Clouds(), 1, 1_800_000_000.0
        self.open = asyncio.Event()
        self.open.set()
        self.cache = Cache(BoundedMemory(entries, 1_000_000), None, 3600.0, lambda: self.now)
        lifetimes = Lifetimes({"lists": 60.0, "objects": 60.0, "catalogues": 60.0}, 60.0, stale=0.0, jitter=0.0)
        self.registries = registries(SETTINGS, CachingClient(self, self.cache, lifetimes, wait=1.0))
        limits = LimitsSettings()
        documents = Documents(CORE, limits, suggestions=True)
        self.wholes = ResponseCache(room)
        persisted, gate, observer = (
            PersistedQueries(DocumentsSettings()),
            CallerRateLimiter(limits),
            Observer(TelemetrySettings()),
        )
        watches = VersionPollers(SubscriptionSettings())
        self.executor = Pipeline(SCHEMA, documents, persisted, gate, observer, watches, self.wholes, Findings(findings))

    async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any:
        await self.open.wait()
        document = orjson.loads(orjson.dumps(await self.clouds.send(destination, request, refresh=refresh)))
        for model in [document, *document.get("Models", ())]:
            if "ModelName" in model:
                model["ModelName"] += f", edition {self.edition}"
        return document

    async def ask(self, text: str, wanted: Freshness = ANY, only: str = "", **variables: Any) -> Result:
        chosen = {name: one for name, one in self.registries.items() if only in name}
        scene = RequestContext(chosen, DEFAULT_BOUNDS, wanted, frozenset({"read", "explain"}))
        prepared = self.executor.prepare(GraphQLRequest(text, variables=variables), scene)
        assert isinstance(prepared, Prepared), prepared
        return await self.executor.answer(prepared, scene)

    async def data(self, text: str, wanted: Freshness = ANY, only: str = "", **variables: Any) -> Any:
        body: Mapping[str, Any] = orjson.loads((await self.ask(text, wanted, only, **variables)).body)
        assert "errors" not in body, body
        return body["data"]


async def test_the_same_question_has_the_same_answer_and_its_age() -> None:
    world = World()
    first = await world.ask(MODEL)
    world.now += 50
    second = await world.ask(MODEL)
    assert second.body is first.body
    assert second.operation is not None
    assert [(one.age, one.fresh_for) for one in second.operation.received()] == [(50.0, 10.0)]
    assert sorted(world.clouds.calls) == ["pai GetModel model-a", "pai ListModelVersions model-a"]


async def test_an_answer_ends_with_the_first_of_what_it_was_made_of() -> None:
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


async def test_what_another_question_brought_anew_shows() -> None:
    world = World()
    await world.data(MODEL)
    world.edition = 2
    await world.data('{ model(id: "pai:model/model-a") { name } }', ANEW)
    assert (await world.data(MODEL))["model"]["name"] == "name of model-a, edition 2"


async def test_what_was_purged_is_asked_again() -> None:
    world = World()
    await world.data(LIST)
    world.edition = 2
    for prefix in world.registries["pai"].cache_prefixes():
        await world.cache.purge(prefix)
    assert {node["name"][-1] for node in (await world.data(LIST))["models"]["nodes"]} >= {"2"}


@pytest.mark.parametrize("wanted", [ANEW, Freshness(max_age=10.0)], ids=str)
async def test_a_client_that_wants_it_fresher_gets_it_fresher(wanted: Freshness) -> None:
    world = World()
    await world.data(MODEL)
    world.edition, world.now = 2, world.now + 20
    assert (await world.data(MODEL, wanted))["model"]["name"] == "name of model-a, edition 2"


async def test_every_set_of_variables_has_its_own() -> None:
    world = World()
    for first in (1, 2, 3, 1, 2, 3):
        assert len((await world.data(LIST, first=first))["models"]["nodes"]) == first
    assert len((await world.data(LIST))["models"]["nodes"]) == 2


async def test_who_reads_other_registries_gets_another_answer() -> None:
    world = World()
    for only in ("pai", "qianfan", "", "pai", "qianfan", ""):
        models = (await world.data(LIST, only=only, first=100))["models"]["nodes"]
        assert {model["id"].partition(":")[0] for model in models} == ({only} if only else {"pai", "qianfan"})


async def test_an_answer_that_is_not_whole_is_not_kept() -> None:
    world = World()
    world.clouds.failing.add("qianfan userList")
    assert (await world.ask(LIST)).codes
    world.clouds.failing.clear()
    assert not (await world.ask(LIST)).codes


async def test_what_is_of_the_moment_is_told_as_it_is() -> None:
    world = World()
    moment = '{ model(id: "pai:model/model-a") { registry { status { state } } } models { coverage { age state } } }'
    assert (await world.data(moment))["model"]["registry"]["status"]["state"] == "UNKNOWN"
    world.registries["pai"].health.error = RegistryUnavailable("pai")
    world.now += 5
    told = await world.data(moment)
    assert told["model"]["registry"]["status"]["state"] == "UNAVAILABLE"
    assert [one["age"] for one in told["models"]["coverage"]] == [5.0, 5.0]


async def test_answers_stay_within_their_room() -> None:
    world = World()
    size = len((await world.ask(LIST, first=1)).body)
    world = World(room=size * 3)
    for first in (1, 2, 3, 4):
        await world.ask(LIST, first=first)
    assert 0 <= world.wholes.room < size * 3
    last = await world.ask(LIST, first=3)
    assert (await world.ask(LIST, first=3)).body is last.body  # those before it made room
    small = World(room=size - 1)
    assert (await small.ask(LIST, first=1)).body is not (await small.ask(LIST, first=1)).body


async def test_what_is_asked_often_stays_where_there_is_room_for_little() -> None:
    world = World(entries=3)
    for other in ("model-b", "model-empty", "model-public", "model-b", "model-empty"):
        await world.data(MODEL)
        world.now += 2
        await world.data(f'{{ model(id: "pai:model/{other}") {{ name }} }}')
    assert world.clouds.calls.count("pai GetModel model-a") == 1
    assert world.cache.memory.losses > 0


async def test_an_answer_of_which_something_was_lost_is_made_anew() -> None:
    world = World(entries=2)
    first = await world.ask(MODEL)
    assert (await world.ask(MODEL)).body is first.body
    await world.data(LIST, only="pai")
    assert (await world.ask(MODEL)).body is not first.body


async def test_who_asks_the_same_meanwhile_gets_the_same_answer() -> None:
    world = World()
    world.open.clear()
    asking = [asyncio.create_task(world.ask(MODEL)) for _ in range(5)]
    await asyncio.sleep(0)
    world.open.set()
    bodies = [(await one).body for one in asking]
    assert all(body is bodies[0] for body in bodies)
    assert [(await one).shared for one in asking] == [False, True, True, True, True]


async def test_who_leaves_takes_nobodys_answer_along() -> None:
    world = World()
    world.open.clear()
    asking = [asyncio.create_task(world.ask(MODEL)) for _ in range(4)]
    await asyncio.sleep(0)
    asking[0].cancel()
    asking[2].cancel()
    await asyncio.sleep(0)
    world.open.set()
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in results] == [True, False, True, False]
    assert (await world.ask(MODEL)).codes == ()
    assert sorted(world.clouds.calls) == ["pai GetModel model-a", "pai ListModelVersions model-a"]
