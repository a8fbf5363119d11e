"""The cache of upstream responses: the calls that it saves, and the ages that clients see."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway import twins
from gateway.app import create_app, registries
from gateway.catalog.plan_execution import PlanExecution
from gateway.config.settings import (
    BreakerSettings,
    CacheSettings,
    Credentials,
    DocumentsSettings,
    LimitsSettings,
    Secret,
    SettingsError,
)
from gateway.execution.documents import Documents
from gateway.execution.strawberry_context import OperationContext
from gateway.http.caching_headers import requested_freshness
from gateway.memory_budget import BoundedCache
from gateway.schema.schema import GRAPHQL_SCHEMA, SCHEMA
from gateway.upstream import caching_client as caching_client_module
from gateway.upstream.cache import BoundedMemory, Cache, Entry
from gateway.upstream.caching_client import ANY, CachingClient, Freshness, Lifetimes
from gateway.upstream.http_client import HttpClient
from gateway.upstream.messages import CacheKey, Destination, Request, Scope, StaticCredentials
from tests.conftest import World, pai, qianfan, served, settings, two_clouds

MODEL = '{ model(id: "pai:model/model-rbvg5wzljzjhc9ks92") { name } }'
LIST = "{ models(first: 5) { nodes { id } coverage { registry { name } state age error { code } } } }"


class ManualClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@asynccontextmanager
async def caching_world(clock: ManualClock, **options: Any) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(twins.serving())
        other = await stack.enter_async_context(twins.serving())
        cache, breaker = CacheSettings(jitter=0.0, **options), BreakerSettings(open_for=0.1)
        gateway_settings = settings(pai(one.url), qianfan(other.url), cache=cache, breaker=breaker)
        yield World(one, other, await stack.enter_async_context(served(gateway_settings, clock)))


async def test_a_fresh_response_is_served_without_a_call(clock: ManualClock) -> None:
    async with caching_world(clock, objects=60.0) as world:
        first = await world.gateway.query(MODEL)
        assert (first.headers["cache-control"], first.headers["age"]) == ("private, max-age=60", "0")
        clock.seconds += 59
        second = await world.gateway.query(MODEL)
        assert (second.headers["cache-control"], second.headers["age"]) == ("private, max-age=60", "59")
        assert second.body == first.body
        assert world.calls() == {"GetModel": 1}


async def test_a_stale_response_is_served_while_it_is_revalidated(clock: ManualClock) -> None:
    async with caching_world(clock, lists=60.0, stale=300.0) as world:
        await world.gateway.query(LIST)
        clock.seconds += 100
        stale = (await world.gateway.query(LIST)).data["models"]["coverage"]
        assert [(one["state"], one["age"]) for one in stale] == [("STALE", 100.0), ("STALE", 100.0)]
        while sum((world.pai.calls + world.qianfan.calls).values()) < 8:  # noqa: ASYNC110
            await asyncio.sleep(0)
        fresh = await world.gateway.query(LIST)
        while fresh.data["models"]["coverage"][0]["state"] == "STALE":
            fresh = await world.gateway.query(LIST)
        assert {one["age"] for one in fresh.data["models"]["coverage"]} == {0.0}
        assert world.calls() == {"ListModels": 4, "userList": 2, "presetList": 2}


async def test_stale_responses_are_served_with_their_age_during_an_outage(clock: ManualClock) -> None:
    async with caching_world(clock, lists=60.0, stale=60.0, stale_on_error=3600.0) as world:
        await world.gateway.query(LIST)
        world.calls()
        for cloud in (world.pai, world.qianfan):
            cloud.faults.replace({"*": {"status": 503}})
        for minutes in range(3, 13):
            clock.seconds = 1_800_000_000.0 + minutes * 60
            answer = await world.gateway.query(LIST)
            assert answer.headers["cache-control"] == f"private, max-age={minutes * 60}"
            assert [(one["state"], one["age"]) for one in answer.data["models"]["coverage"]] == [
                ("STALE", minutes * 60.0),
                ("STALE", minutes * 60.0),
            ]
            assert len(answer.data["models"]["nodes"]) == 5
            ready = await world.gateway.request("GET", "/readyz")
            assert (ready.status, ready.body["status"]) == (200, "degraded"), "it can answer"
        for cloud in (world.pai, world.qianfan):
            cloud.faults.clear()
        world.calls()
        while {one["state"] for one in (await world.gateway.query(LIST)).data["models"]["coverage"]} != {"COMPLETE"}:
            pass
        assert world.calls() == {"ListModels": 2, "userList": 1, "presetList": 1}


async def test_a_stale_response_does_not_hide_revoked_access(clock: ManualClock) -> None:
    async with caching_world(clock, objects=60.0, stale=0.0) as world:
        await world.gateway.query(MODEL)
        clock.seconds += 100
        world.pai.faults.replace({"*": {"status": 403, "error": "NoPermission"}})
        assert (await world.gateway.query(MODEL)).codes == ["REGISTRY_FORBIDDEN"]


async def test_errors_are_not_cached_and_missing_objects_are_cached_briefly(clock: ManualClock) -> None:
    async with caching_world(clock, missing=10.0, stale=0.0) as world:
        world.pai.faults.replace({"GetModel": {"status": 503, "times": 1}})
        assert (await world.gateway.query(MODEL)).codes == ["REGISTRY_UNAVAILABLE"]
        assert (await world.gateway.query(MODEL)).data["model"] is not None
        world.calls()
        missing = MODEL.replace("rbvg5wzljzjhc9ks92", "missing")
        for _ in range(3):
            assert (await world.gateway.query(missing)).data == {"model": None}
        clock.seconds += 11
        assert (await world.gateway.query(missing)).data == {"model": None}
        assert world.calls() == {"GetModel": 2}


async def test_a_client_can_set_the_freshness_of_a_response(clock: ManualClock) -> None:
    async def send(world: World, cache_control: str) -> Any:
        return await world.gateway.request("POST", json={"query": MODEL}, headers={"Cache-Control": cache_control})

    async with caching_world(clock, objects=600.0) as world:
        assert (await send(world, "only-if-cached")).codes == ["REGISTRY_NOT_CACHED"]
        assert world.calls() == {}
        await send(world, "")
        clock.seconds += 30
        assert (await send(world, "only-if-cached")).headers["age"] == "30"
        assert (await send(world, "max-age=30")).headers["age"] == "30"
        assert world.calls() == {"GetModel": 1}
        assert (await send(world, "max-age=29")).headers["age"] == "0"
        clock.seconds += 1
        assert (await send(world, "no-cache")).headers["age"] == "0"
        assert world.calls() == {"GetModel": 2}


async def test_a_response_with_errors_must_not_be_stored(clock: ManualClock) -> None:
    async with caching_world(clock) as world:
        world.pai.faults.replace({"*": {"status": 503}})
        assert (await world.gateway.query(LIST)).headers["cache-control"] == "no-store"
        assert (await world.gateway.query("{ models(first: 5) { nodes { id } } }")).headers[
            "cache-control"
        ] == "no-store"
        assert (await world.gateway.query("{ nonsense }")).headers["cache-control"] == "no-store"


async def test_a_get_response_has_an_etag_and_is_not_sent_twice(clock: ManualClock) -> None:
    async with caching_world(clock) as world:
        first = await world.gateway.request("GET", params={"query": MODEL})
        again = await world.gateway.request(
            "GET", params={"query": MODEL}, headers={"If-None-Match": first.headers["etag"]}
        )
        assert (again.status, again.body, again.headers["etag"]) == (304, "", first.headers["etag"])
        other = await world.gateway.request("GET", params={"query": MODEL.replace("name", "id")})
        assert other.headers["etag"] != first.headers["etag"]


async def test_a_thousand_identical_requests_make_one_call(clock: ManualClock) -> None:
    async with caching_world(clock, stale=0.0) as world:
        answers = await asyncio.gather(*(world.gateway.query(MODEL) for _ in range(1000)))
        assert {answer.data["model"]["name"] for answer in answers} == {"情感分析"}
        assert world.calls() == {"GetModel": 1}


async def test_a_cancelled_request_does_not_affect_the_others_waiting_for_the_same_call() -> None:
    waiting = asyncio.Event()

    class Slow:
        sent = 0

        async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any:
            self.sent += 1
            await waiting.wait()
            return {"answer": self.sent}

    slow = Slow()
    client = caching_client(slow)
    leader, *others = (asyncio.create_task(client.fetch(DESTINATION, REQUEST, "objects")) for _ in range(5))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    leader.cancel()
    waiting.set()
    assert [(await other).document for other in others] == [{"answer": 1}] * 4
    assert slow.sent == 1


REQUEST = Request("GetModel", "models", "GET", "/api/v1/models/m")
NO_KEY = StaticCredentials(Credentials("", Secret("")))
DESTINATION = Destination("pai", Scope.of("a"), {}, 1.0, 1000, lambda *_: {}, lambda _: None, NO_KEY)


def caching_client(sender: caching_client_module.Sender, now: ManualClock | None = None) -> CachingClient:
    lifetimes = Lifetimes({"objects": 60.0, "lists": 60.0, "catalogues": 60.0}, 10.0, 60.0, 0.0)
    return CachingClient(sender, Cache(BoundedMemory(100, 100_000), None, 3600.0, now or ManualClock()), lifetimes, 1.0)


async def test_a_response_requested_before_a_purge_is_not_cached_after_it() -> None:
    waiting = asyncio.Event()

    class Slow:
        async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any:
            await waiting.wait()
            return {"answer": 1}

    client = caching_client(Slow())
    task = asyncio.create_task(client.fetch(DESTINATION, REQUEST, "objects"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await client.cache.purge(f"{DESTINATION.scope.digest}:")
    waiting.set()
    assert (await task).document == {"answer": 1}
    assert client.cache.stats()["entries"] == 0
    with pytest.raises(caching_client_module.RegistryNotCached):
        await client.fetch(DESTINATION, REQUEST, "objects", Freshness(only_if_cached=True))


def test_memory_evicts_the_least_recently_used_entries_at_both_bounds() -> None:
    memory = BoundedMemory(entries=3, size=100)
    for name in "abc":
        memory.store(name, Entry(name, 0.0, 10))
    memory.get("a")
    memory.store("d", Entry("d", 0.0, 10))
    assert [name for name in "abcd" if memory.get(name)] == ["a", "c", "d"]
    memory.store("e", Entry("e", 0.0, 85))
    assert (len(memory), memory.used) == (2, 95)
    memory.store("f", Entry("f", 0.0, 101))
    assert (len(memory), memory.used) == (2, 95)


def test_each_account_and_request_has_its_own_key() -> None:
    keys = {
        str(Scope.of(*scope).key(Request("GetModel", service, method, path, query, body)))
        for scope in (("a",), ("b",), ("a", "b"))
        for service in ("models", "algorithms")
        for method in ("GET", "POST")
        for path in ("/a", "/b")
        for query in ((), (("a", "b"),))
        for body in (b"", b"{}")
    }
    assert len(keys) == 96
    assert isinstance(Scope.of("a").key(REQUEST), CacheKey)


async def test_operators_can_inspect_and_purge_the_cache(clock: ManualClock) -> None:
    async with caching_world(clock, admin_token=Secret("token")) as world:
        admin = {"Authorization": "Bearer token"}
        other = MODEL.replace("rbvg5wzljzjhc9ks92", "qwen2ptnk4jz8hx1y3c")
        for query in (MODEL, other, LIST):
            await world.gateway.query(query)
        assert (await world.gateway.request("GET", "/cache", headers=admin)).body["entries"] == 6
        world.calls()

        one = {"id": "pai:model/model-rbvg5wzljzjhc9ks92"}
        purged = await world.gateway.request("DELETE", "/cache", params=one, headers=admin)
        assert purged.body == {"purged": 3, "tags": [one["id"], "pai:any"]}
        for query in (MODEL, other, LIST):
            await world.gateway.query(query)
        assert world.calls() == {"GetModel": 1, "ListModels": 2}

        registry = {"registry": "qianfan"}
        purged = await world.gateway.request("DELETE", "/cache", params=registry, headers=admin)
        assert purged.body == {"purged": 2, "tags": ["qianfan"]}
        await world.gateway.query(LIST)
        assert world.calls() == {"userList": 1, "presetList": 1}

        for wrong in ({"registry": "nowhere"}, {"id": "nonsense"}, {"id": "nowhere:model/m"}):
            refused = await world.gateway.request("DELETE", "/cache", params=wrong, headers=admin)
            assert refused.status == 400
        for unauthorized in ({}, {"Authorization": "Bearer tokens"}, {"Authorization": "token"}):
            assert (await world.gateway.request("DELETE", "/cache", headers=unauthorized)).status == 401
            assert (await world.gateway.request("GET", "/cache", headers=unauthorized)).status == 401


async def test_without_a_token_the_admin_endpoint_does_not_exist(clock: ManualClock) -> None:
    async with caching_world(clock) as world:
        assert (await world.gateway.request("GET", "/cache")).status == 404


async def test_warm_up_queries_are_executed_at_the_start(clock: ManualClock, tmp_path: Path) -> None:
    file = tmp_path / "warm-up.graphql"
    file.write_text(f"query Model {MODEL} query List {LIST}", encoding="utf-8")
    async with caching_world(clock, warm_up=str(file), admin_token=Secret("token")) as world:
        admin = {"Authorization": "Bearer token"}
        while (await world.gateway.request("GET", "/cache", headers=admin)).body["entries"] < 5:
            pass
        assert world.calls() == {"GetModel": 1, "ListModels": 2, "userList": 1, "presetList": 1}
        for query in (MODEL, LIST):
            await world.gateway.query(query)
        assert world.calls() == {}


async def test_warm_up_queries_need_no_trust(tmp_path: Path) -> None:
    file, trusted = tmp_path / "warm-up.graphql", tmp_path / "documents.json"
    file.write_text(f"query Model {MODEL}", encoding="utf-8")
    trusted.write_text("{}", encoding="utf-8")
    sections = {
        "cache": CacheSettings(warm_up=str(file)),
        "documents": DocumentsSettings(trusted=str(trusted), only_trusted=True),
    }
    async with two_clouds(sections=sections) as world:
        while not world.pai.calls["GetModel"]:
            await world.gateway.request("GET", "/healthz")


@pytest.mark.parametrize("document", ["{ models { totalCount } }", "query {", ""])
def test_an_invalid_file_of_warm_up_queries_is_refused(document: str, tmp_path: Path) -> None:
    file = tmp_path / "warm-up.graphql"
    file.write_text(document, encoding="utf-8")
    with pytest.raises(SettingsError, match="warm_up"):
        create_app(settings(cache=CacheSettings(warm_up=str(file))))
    with pytest.raises(SettingsError, match="No such file"):
        create_app(settings(cache=CacheSettings(warm_up=str(tmp_path / "missing"))))


EVERYTHING = """{
  models(first: 50, filter: {search: "e"}, orderBy: {field: NAME, direction: ASC}) { totalCount nodes {
    name type labels { key value } owner { nativeId } extra raw latestVersion { name source { details } options raw
      extra trainedWith { name spec { image hyperParameters { name range { enum } } } algorithm { raw } } } } }
  model(id: "qianfan:model/5862") { raw versions { nodes { properties supportedOperations source { details } raw } } }
  algorithmVersion(id: "pai:algorithm/algo-xsldfvu1334/version/v0.0.1") { raw spec { codeDir { location }
    computeResource { policy { rules } } inputChannels { properties } } }
}"""


async def test_executing_an_operation_does_not_change_cached_entries(clock: ManualClock) -> None:
    async with twins.serving() as twin, HttpClient() as transport:
        lifetimes = Lifetimes({"objects": 60.0, "lists": 60.0, "catalogues": 60.0}, 10.0, 60.0, 0.0)
        cache = Cache(BoundedMemory(1000, 100_000_000), None, 3600.0, clock)
        cached = registries(settings(pai(twin.url), qianfan(twin.url)), CachingClient(transport, cache, lifetimes, 1.0))
        documents = Documents(GRAPHQL_SCHEMA, LimitsSettings(), suggestions=True, cache=BoundedCache(10**8))
        everything = documents.read(EVERYTHING).node
        contents = []
        for _ in range(2):
            result = await SCHEMA.execute(None, context_value=OperationContext(everything, PlanExecution(cached)))
            assert result.errors is None
            contents.append({key: memory_entry(cache, key).packed() for key in tuple(cache.memory)})
    assert len(contents[0]) > 10
    assert contents[0] == contents[1]


def memory_entry(cache: Cache, key: str) -> Entry:
    entry = cache.memory.get(key)
    assert entry is not None
    return entry


@pytest.mark.parametrize("header", [None, "", "no-transform", "max-age=soon", "private, max-stale=5"])
def test_a_request_without_a_known_directive_accepts_any_freshness(header: str | None) -> None:
    """It has the shared value, so that such requests share one execution."""
    assert requested_freshness(header) is ANY


ROWS = """query ($since: DateTime, $first: Int!) {
  models(first: 3, filter: {registries: ["pai"], createdAt: {from: $since}}) {
    nodes { id versions(first: $first) { nodes { name approval } } }
  }
}"""
STATUS = """query ($since: DateTime) {
  models(first: 3, filter: {registries: ["pai"], createdAt: {from: $since}}) {
    nodes { id registry { status { state } } versions(first: 1) { nodes { name } } }
  }
}"""
BILLS = """query ($since: DateTime) {
  models(first: 2, filter: {registries: ["pai"], createdAt: {from: $since}}) { nodes { latestVersion { bom } } }
}"""
WITH_CALLS = {"X-Gateway-Plan": "include"}


async def test_cached_rows_with_versions_use_the_answers_of_now(clock: ManualClock) -> None:
    """New questions about cached rows make the calls whose answers have expired, and show what these have now."""
    async with caching_world(clock, lists=1000.0, objects=10.0, stale=0.0) as world:

        async def ask(year: int, first: int) -> tuple[Any, int]:
            made = world.pai.calls["ListModelVersions"]
            answer = await world.gateway.query(ROWS, since=f"{year}-01-01T00:00:00Z", first=first)
            return answer.data["models"]["nodes"], world.pai.calls["ListModelVersions"] - made

        nodes, calls = await ask(2001, 1)
        assert (calls, [len(node["versions"]["nodes"]) for node in nodes]) == (3, [1, 1, 1])
        assert [await ask(year, 1) for year in (2002, 2003)] == [(nodes, 0)] * 2
        more, calls = await ask(2004, 5)
        assert calls == 0
        assert sum(len(node["versions"]["nodes"]) for node in more) > 3
        assert await ask(2005, 1) == (nodes, 0)

        clock.seconds += 11
        changed = nodes[1]["id"].removeprefix("pai:model/")
        version = {"VersionName": "9.9.9", "ApprovalStatus": "Approved"}
        world.pai.corpus.pai_models.insert({"ModelId": changed, "ModelName": "changed", "Versions": [version]})
        nodes[1]["versions"]["nodes"] = [{"name": "9.9.9", "approval": "APPROVED"}]
        assert await ask(2006, 1) == (nodes, 3)
        assert await ask(2007, 1) == (nodes, 0)


async def test_cached_rows_with_versions_count_their_calls(clock: ManualClock) -> None:
    async with caching_world(clock, lists=1000.0, objects=1000.0) as world:
        for year in (2001, 2002, 2003):
            body = {"query": ROWS, "variables": {"since": f"{year}-01-01T00:00:00Z", "first": 1}}
            answer = await world.gateway.request("POST", json=body, headers=WITH_CALLS)
        states = [(call["call"], call["state"]) for call in answer.body["extensions"]["calls"]]
        assert sorted(states) == [("ListModelVersions", "hit")] * 3 + [("ListModels", "hit")] * 2


async def test_cached_rows_show_the_status_of_now(clock: ManualClock) -> None:
    async with caching_world(clock, lists=1000.0, objects=1000.0) as world:

        async def states(year: int) -> set[str]:
            nodes = (await world.gateway.query(STATUS, since=f"{year}-01-01T00:00:00Z")).data["models"]["nodes"]
            return {node["registry"]["status"]["state"] for node in nodes}

        assert [await states(year) for year in (2001, 2002)] == [{"AVAILABLE"}] * 2
        world.pai.faults.replace({"*": {"status": 500}})
        assert (await world.gateway.query('{ model(id: "pai:model/model-unknown") { name } }')).codes
        assert await states(2003) == {"UNAVAILABLE"}


async def test_cached_rows_show_the_age_of_now(clock: ManualClock) -> None:
    async with caching_world(clock, lists=1000.0, objects=1000.0) as world:

        async def ages(year: int) -> set[str]:
            nodes = (await world.gateway.query(BILLS, since=f"{year}-01-01T00:00:00Z")).data["models"]["nodes"]
            properties = [one for node in nodes for one in node["latestVersion"]["bom"]["metadata"]["properties"]]
            return {one["value"] for one in properties if one["name"] == "gateway:age"}

        assert [await ages(year) for year in (2001, 2002)] == [{"0"}] * 2
        clock.seconds += 30
        assert await ages(2003) == {"30"}
