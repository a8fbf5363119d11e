"""One gateway over all four kinds of registry: one list, its freshness, references of other subgraphs, and accounts."""

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway import twins
from gateway.config.settings import CacheSettings, Secret
from gateway.twins import Corpus, Twins
from tests.conftest import Client, mlflow, pai, qianfan, served, settings
from tests.sagemaker.conftest import sagemaker
from tests.sagemaker.fixture_registry import FixtureRegistry, fixture_registry
from tests.test_cache import ManualClock

KINDS = {"pai": "PAI", "qianfan": "QIANFAN", "mlflow": "MLFLOW", "sagemaker": "SAGEMAKER"}
KEY = ("AKIATESTKEY", "secret", "")
PAGE = """query ($first: Int = 30, $after: String, $orderBy: ModelOrder, $times: Boolean = false) {
  models(first: $first, after: $after, orderBy: $orderBy) { totalCount
    nodes { id name registryName createdAt @include(if: $times) }
    pageInfo { hasNextPage endCursor }
    coverage { registry { name kind } state totalCount age error { code } } } }"""


@dataclass
class FourKinds:
    """The gateway, its clock, the twins behind three of its registries, and the fourth registry."""

    gateway: Client
    clock: ManualClock
    twin: Twins
    sagemaker: FixtureRegistry

    async def page(self, **variables: Any) -> Any:
        return (await self.gateway.query(PAGE, **variables)).data["models"]

    def calls(self) -> dict[str, int]:
        """Return the number of upstream calls by name since the last use of this method."""
        counts = dict(self.twin.calls + self.sagemaker.calls)
        self.twin.calls.clear()
        self.sagemaker.calls.clear()
        return counts


@pytest.fixture
async def four() -> AsyncIterator[FourKinds]:
    clock = ManualClock()
    cache = CacheSettings(lists=60.0, objects=60.0, stale=0.0, stale_on_error=3600.0, jitter=0.0)
    async with (
        twins.serving(corpus=Corpus(40, mlflow_models=20)) as twin,
        fixture_registry(groups=12) as groups,
        served(
            settings(
                pai(twin.url),
                qianfan(twin.url),
                mlflow(twin.url),
                sagemaker(groups.url, KEY, name="sagemaker"),
                cache=cache,
            ),
            clock,
        ) as gateway,
    ):
        yield FourKinds(gateway, clock, twin, groups)


def states(page: Any) -> dict[str, str]:
    return {part["registry"]["name"]: part["state"] for part in page["coverage"]}


# One list


async def test_one_page_has_the_models_of_all_kinds_with_the_coverage_of_each(four: FourKinds) -> None:
    page = await four.page(first=100)
    assert {part["registry"]["name"]: part["registry"]["kind"] for part in page["coverage"]} == KINDS
    assert set(states(page).values()) == {"COMPLETE"}
    totals = {part["registry"]["name"]: part["totalCount"] for part in page["coverage"]}
    found = [node["registryName"] for node in page["nodes"]]
    assert {name: found.count(name) for name in KINDS} == totals
    assert page["totalCount"] == len(found) == sum(totals.values())
    assert (totals["mlflow"], totals["sagemaker"]) == (20, 12)
    assert four.calls() == {
        "ListModels": 2,
        "userList": 1,
        "presetList": 1,
        "SearchRegisteredModels": 1,
        "ListModelPackageGroups": 1,
    }


@pytest.mark.parametrize("direction", ["DESC", "ASC"])
async def test_pages_in_the_order_of_creation_have_each_model_once(four: FourKinds, direction: str) -> None:
    order = {"times": True, "orderBy": {"field": "CREATED_AT", "direction": direction}}
    whole = await four.page(first=100, **order)
    rows, after = [], None
    while True:
        page = await four.page(first=7, after=after, **order)
        rows += page["nodes"]
        after = page["pageInfo"]["endCursor"]
        assert set(states(page).values()) == {"COMPLETE"}
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert rows == whole["nodes"]
    # The rows of Qianfan's lists have no times, and keep the place that Qianfan gives them.
    times = [datetime.fromisoformat(row["createdAt"]) for row in rows if row["registryName"] != "qianfan"]
    assert times == sorted(times, reverse=direction == "DESC")
    assert {row["registryName"] for row in rows} == set(KINDS)


# Freshness


async def test_each_share_has_its_age_and_a_stale_share_replaces_a_failure(four: FourKinds) -> None:
    fresh = await four.page()
    four.clock.seconds += 30
    cached = await four.page()
    assert {part["age"] for part in cached["coverage"]} == {30.0}
    four.clock.seconds += 300
    four.twin.faults.replace({"SearchRegisteredModels": {"error": "REQUEST_LIMIT_EXCEEDED"}})
    four.sagemaker.faults.replace({"ListModelPackageGroups": {"error": "ThrottlingException"}})
    stale = await four.page()
    assert stale["nodes"] == fresh["nodes"]
    assert states(stale) == {"pai": "COMPLETE", "qianfan": "COMPLETE", "mlflow": "STALE", "sagemaker": "STALE"}
    ages = {part["registry"]["name"]: part["age"] for part in stale["coverage"]}
    assert ages == {"pai": 0.0, "qianfan": 0.0, "mlflow": 330.0, "sagemaker": 330.0}
    four.clock.seconds += 4000
    gone = await four.page()
    codes = {part["registry"]["name"]: part["error"] and part["error"]["code"] for part in gone["coverage"]}
    assert codes == {
        "pai": None,
        "qianfan": None,
        "mlflow": "REGISTRY_THROTTLED",
        "sagemaker": "REGISTRY_THROTTLED",
    }
    assert {node["registryName"] for node in gone["nodes"]} == {"pai", "qianfan"}
    assert gone["totalCount"] is None


async def test_a_client_can_limit_the_age_of_every_share(four: FourKinds) -> None:
    await four.page()
    four.calls()
    four.clock.seconds += 30
    body = {"query": PAGE}
    for age, calls in ((40, 0), (10, 6)):
        headers = {"Cache-Control": f"max-age={age}"}
        page = (await four.gateway.request("POST", json=body, headers=headers)).data["models"]
        assert {part["age"] for part in page["coverage"]} == {0.0 if calls else 30.0}
        assert sum(four.calls().values()) == calls


# Federation

ENTITIES = """query ($representations: [_Any!]!) { _entities(representations: $representations) {
  ... on Model { id name nativeId registry { kind } } ... on ModelVersion { id name model { id } } } }"""


async def test_entities_of_all_kinds_are_found_by_id_and_by_registry_and_native_id(four: FourKinds) -> None:
    nodes = {node["registryName"]: node for node in (await four.page(first=100))["nodes"]}
    natives = {name: (await native_id(four, node["id"])) for name, node in nodes.items()}
    representations = [
        part
        for name, node in nodes.items()
        for part in (
            {"__typename": "Model", "id": node["id"]},
            {"__typename": "Model", "registryName": name, "nativeId": natives[name]},
        )
    ]
    found = (await four.gateway.query(ENTITIES, representations=representations)).data["_entities"]
    assert found == [
        {"id": node["id"], "name": node["name"], "nativeId": natives[name], "registry": {"kind": KINDS[name]}}
        for name, node in nodes.items()
        for _ in range(2)
    ]


async def native_id(four: FourKinds, id: str) -> Any:
    return (await four.gateway.query("query ($id: ID!) { model(id: $id) { nativeId } }", id=id)).data["model"][
        "nativeId"
    ]


@pytest.mark.parametrize("name", ["团队 \"a\" 'b' `c` 100%", "x" * 256, "a?b=c&d#e\\f"])
async def test_any_name_of_mlflow_is_a_native_id(four: FourKinds, name: str) -> None:
    version = {"name": name, "version": "1", "creation_timestamp": 1, "current_stage": "None"}
    four.twin.corpus.mlflow_models.insert({"name": name, "creation_timestamp": 1, "versions": [version]})
    [model] = (
        await four.gateway.query(
            ENTITIES, representations=[{"__typename": "Model", "registryName": "mlflow", "nativeId": name}]
        )
    ).data["_entities"]
    assert (model["name"], model["nativeId"]) == (name, name)
    by_id = [
        {"__typename": "Model", "id": model["id"]},
        {"__typename": "ModelVersion", "id": f"{model['id']}/version/1"},
    ]
    assert (await four.gateway.query(ENTITIES, representations=by_id)).data["_entities"] == [
        model,
        {"id": f"{model['id']}/version/1", "name": "1", "model": {"id": model["id"]}},
    ]


async def test_a_reference_that_a_registry_does_not_have_is_null_without_an_error(four: FourKinds) -> None:
    representations = [
        {"__typename": "Model", "registryName": name, "nativeId": native}
        for name, native in (("mlflow", "nothing"), ("sagemaker", "nothing"), ("mlflow", "router-x"))
    ]
    answer = await four.gateway.query(ENTITIES, representations=representations)
    assert answer.data == {"_entities": [None, None, None]}


async def test_a_failing_registry_affects_only_its_own_references(four: FourKinds) -> None:
    four.sagemaker.faults.replace({"*": {"error": "AccessDeniedException"}})
    nodes = {node["registryName"]: node["id"] for node in (await four.page(first=100))["nodes"]}
    representations = [{"__typename": "Model", "id": id} for id in (*nodes.values(), "sagemaker:model/group-1")]
    answer = await four.gateway.query(ENTITIES, representations=representations)
    assert [one and one["id"] for one in answer.body["data"]["_entities"]] == [*nodes.values(), None]
    assert answer.codes == ["REGISTRY_FORBIDDEN"]


# Accounts of MLflow


@dataclass
class Whose:
    """A server of MLflow that describes models by the account and the workspace of the request."""

    requests: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        account = base64.b64decode(credentials).decode().partition(":")[0] if scheme == "Basic" else credentials
        owner = f"{account} in {request.headers.get('X-MLFLOW-WORKSPACE', '')}"
        self.requests.append(owner)
        model = {"name": "m", "creation_timestamp": 1, "description": owner}
        if request.path.endswith("search"):
            return web.json_response({"registered_models": [model]})
        return web.json_response({"registered_model": model})


async def test_registries_of_other_accounts_and_workspaces_of_one_mlflow_share_no_answers() -> None:
    none: dict[str, Any] = {"username": "", "password": Secret("")}
    accounts: dict[str, tuple[str, dict[str, Any]]] = {
        "anonymous": (" in ", none),
        "north": (" in north", {**none, "workspace": "north"}),
        "ada": ("ada in ", {"username": "ada"}),
        "ada-north": ("ada in north", {"username": "ada", "workspace": "north"}),
        "bob": ("bob in ", {"username": "bob"}),
        "token": ("t1 in ", {**none, "token": Secret("t1")}),
        "token-2": ("t2 in ", {**none, "token": Secret("t2")}),
        "token-2-north": ("t2 in north", {**none, "token": Secret("t2"), "workspace": "north"}),
        "ada-again": ("ada in ", {"username": "ada", "password": Secret("another")}),
    }
    server, app = Whose(), web.Application()
    app.router.add_get("/{path:.*}", server.handle)
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(TestServer(app))
        url = f"http://127.0.0.1:{running.port}"
        registries = [mlflow(url, name, **options) for name, (_, options) in accounts.items()]
        gateway = await stack.enter_async_context(served(settings(*registries, cache=CacheSettings())))
        objects = " ".join(f'm{n}: model(id: "{name}:model/m") {{ description }}' for n, name in enumerate(accounts))
        lists = "models(first: 20) { nodes { registryName description } }"
        for query in (f"{{ {objects} }}", f"{{ {lists} }}", f"{{ {objects} {lists} }}") * 2:
            data = (await gateway.query(query)).data
            found = {name: data[f"m{n}"]["description"] for n, name in enumerate(accounts) if "m0" in data}
            listed = {node["registryName"]: node["description"] for node in data.get("models", {}).get("nodes", ())}
            for descriptions in filter(None, (found, listed)):
                assert descriptions == {name: owner for name, (owner, _) in accounts.items()}
    assert sorted(server.requests) == sorted(2 * [*{owner for owner, _ in accounts.values()}])
