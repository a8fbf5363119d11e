"""The cost of operations over HTTP: refusals of expensive ones, plans, and the calls made."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from gateway import twins
from gateway.config.settings import CacheSettings, CatalogSettings, LimitsSettings, ServerSettings
from tests.conftest import Answer, World, pai, qianfan, served, settings, two_clouds
from tests.documentation import text

DOCUMENTED = [
    query
    for page in ("README.md", "docs/clients.md")
    for query in re.findall(r"```graphql\n(\{.*?)\n```", text(page), re.DOTALL)
]
"""The queries that the documentation shows."""
QUERIES = [
    *DOCUMENTED,
    "{ models(first: 40) { nodes { versions { nodes { name readiness } } } } }",
    "{ models { nodes { latestVersion { framework trainedWith { algorithm { name } } } } } }",
    "{ models(first: 5) { nodes { latestVersion { name model { name description } } } } }",
    "{ models(first: 10, filter: {readiness: READY}) { nodes { id } totalCount } }",
    "{ algorithms(first: 30) { nodes { name latestVersion { spec { image } } } } }",
]
BOMB = """{ models(first: 100) { nodes { versions(first: 100) { nodes {
  trainedWith { algorithm { versions(first: 100) { nodes { spec { image } } } } } } } } } }"""
SMALL = LimitsSettings(calls=30, batch=3)


async def query_with_plan(world: World, plan: str, query: str, **options: Any) -> Answer:
    return await world.gateway.request("POST", json={"query": query}, headers={"x-gateway-plan": plan}, **options)


def total(calls: Mapping[str, int]) -> int:
    return sum(calls.values())


async def test_an_expensive_operation_is_refused_without_a_call(world: World) -> None:
    answer = await world.gateway.query(BOMB)
    [error] = answer.body["errors"]
    assert "data" not in answer.body
    assert error["extensions"]["code"] == "QUERY_TOO_EXPENSIVE"
    assert error["extensions"]["cost"] > error["extensions"]["allowed"] == 1000
    cost = error["extensions"]["cost"]
    assert error["message"] == f"This query may need {cost} upstream calls; the limit is 1000."
    assert world.calls() == {}


async def test_an_expensive_operation_is_refused_in_every_kind_of_request() -> None:
    expensive, cheap = "{ models(first: 9) { nodes { versions { nodes { id } } } } }", "{ models { nodes { id } } }"
    async with two_clouds(sections={"limits": SMALL}) as world:
        answers = [
            await world.gateway.request("GET", params={"query": expensive}),
            await world.gateway.request(
                "POST", json={"query": f"query A {expensive} query B {cheap}", "operationName": "A"}
            ),
            await world.gateway.request(
                "POST",
                json={
                    "query": "query ($n: Int) { models(first: $n) { nodes { versions { nodes { id } } } } }",
                    "variables": {"n": 9},
                },
            ),
        ]
        assert [answer.codes for answer in answers] == [["QUERY_TOO_EXPENSIVE"]] * 3
        batch = await world.gateway.request("POST", json=[{"query": expensive}, {"query": "{ __typename }"}])
        assert [list(body) for body in batch.body] == [["errors"], ["data"]]
        assert world.calls() == {}
        assert len((await world.gateway.query(cheap)).data["models"]["nodes"]) == 20


async def test_the_dry_run_returns_the_plan_without_a_call(world: World) -> None:
    answer = await query_with_plan(world, "only", "{ found: models(first: 7) { nodes { versions { nodes { id } } } } }")
    assert answer.status == 200
    assert answer.body == {
        "data": None,
        "extensions": {
            "plan": [
                line("found", "pai", "ListModels", 1, "list own"),
                line("found", "pai", "ListModels", 1, "list public"),
                line("found", "qianfan", "userList", 1, "list user"),
                line("found", "qianfan", "presetList", 20, "list preset, 20 pages"),
                line("found.nodes", "pai", "ListModelVersions", 7, "versions, for each of 7, if all rows are of pai"),
                line("found.nodes", "qianfan", "modelDetail", 7, "versions, for each of 7, if all rows are of qianfan"),
            ],
            "cost": {"forecast": 30, "allowed": 1000, "rows": 155, "allowedRows": 20_000},
        },
    }
    assert world.calls() == {}


def line(path: str, registry: str, call: str, times: int, reason: str) -> Mapping[str, Any]:
    return {"path": path, "registry": registry, "call": call, "times": times, "reason": reason}


async def test_the_dry_run_returns_the_plan_of_an_expensive_operation(world: World) -> None:
    answer = await query_with_plan(world, "only", BOMB)
    assert answer.body["extensions"]["cost"]["forecast"] > 1000
    assert "GetAlgorithmVersion" in {one["call"] for one in answer.body["extensions"]["plan"]}
    assert world.calls() == {}


async def test_each_object_of_incremental_delivery_counts_twenty_times(world: World) -> None:
    rows = []
    for fields in ("id name", "id ... @defer { name }"):
        answer = await query_with_plan(world, "only", f"{{ models(first: 9) {{ nodes {{ {fields} }} }} }}")
        rows.append(answer.body["extensions"]["cost"]["rows"])
    assert rows == [10, 200]


async def test_the_calls_made_are_in_the_extensions_of_the_response(world: World) -> None:
    query = "{ models(first: 3) { nodes { id versions { totalCount } } } }"
    answer = await query_with_plan(world, "include", query)
    plain = await world.gateway.query(query)
    assert answer.body["data"] == plain.data
    assert "extensions" not in plain.body
    calls, cost = answer.body["extensions"]["calls"], answer.body["extensions"]["cost"]
    assert cost["calls"] == len(calls) == total(world.calls()) // 2 <= cost["forecast"]
    assert {(call["registry"], call["call"]) for call in calls} >= {("pai", "ListModels"), ("qianfan", "userList")}
    for secret in (twins.PAI_SECRET, twins.QIANFAN_SECRET_KEY, world.pai.url, "127.0.0.1"):
        assert secret not in str(answer.body["extensions"])


async def test_a_missing_object_is_found_in_the_cache() -> None:
    async with two_clouds(sections={"cache": CacheSettings()}) as world:
        states = []
        for query in '{ model(id: "pai:model/nobody") { name } }', '{ again: model(id: "pai:model/nobody") { id } }':
            answer = await query_with_plan(world, "include", query)
            states += [call["state"] for call in answer.body["extensions"]["calls"]]
        assert world.calls() == {"GetModel": 1}
    assert states == ["miss", "hit"]


async def test_failed_calls_and_missing_objects_are_reported() -> None:
    async with two_clouds() as world:
        world.pai.faults.replace({"GetModel": {"status": 503, "error": "ServiceUnavailable"}})
        answer = await query_with_plan(world, "include", '{ model(id: "pai:model/nobody") { name } }')
        world.pai.faults.clear()
        missing = await query_with_plan(world, "include", '{ model(id: "pai:model/nobody") { name } }')
    [failed], [found_nothing] = (one.body["extensions"]["calls"] for one in (answer, missing))
    assert answer.codes == ["REGISTRY_UNAVAILABLE"] == [failed["code"]]
    assert (failed["call"], failed["keys"], failed["state"]) == ("GetModel", ["nobody"], "failed")
    assert missing.data == {"model": None}
    assert found_nothing["state"] == "miss"
    assert found_nothing.keys() == {
        "registry",
        "call",
        "keys",
        "state",
        "startedAfter",
        "milliseconds",
        "attempts",
    }
    assert found_nothing["startedAfter"] >= 0


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_no_query_makes_more_calls_than_estimated(api: str) -> None:
    assert len(DOCUMENTED) >= 2
    async with (
        twins.serving(models=200) as one,
        twins.serving(models=200) as other,
        served(settings(pai(one.url), qianfan(other.url, api=api))) as gateway,
    ):
        world = World(one, other, gateway)
        for query in QUERIES:
            cost = (await query_with_plan(world, "only", query)).body["extensions"]["cost"]
            assert world.calls() == {}
            answer = await query_with_plan(world, "include", query)
            assert set(answer.codes) <= {"INVALID_ID"}, query  # the second generation has no numbers as ids
            assert total(world.calls()) == answer.body["extensions"]["cost"]["calls"] <= cost["forecast"], query


async def test_a_list_that_stops_at_its_bound_costs_exactly_its_estimate() -> None:
    scan = CatalogSettings(scan_rows=150, scan_detail_rows=50)
    query = "{ models(first: 5, filter: {ownership: OWN, kinds: [PAI]}, orderBy: {field: NAME, direction: ASC}) %s }"
    async with two_clouds(1_000, sections={"catalog": scan}) as world:
        answer = await query_with_plan(world, "include", query % "{ nodes { id } coverage { state rowsRead } }")
        assert answer.body["data"]["models"]["coverage"] == [{"state": "PARTIAL", "rowsRead": 150}]
        assert world.calls() == {"ListModels": 3}
        assert answer.body["extensions"]["cost"] == {
            "calls": 3,
            "forecast": 3,
            "allowed": 1000,
            "rows": 7,
            "allowedRows": 20_000,
        }


async def test_every_page_of_a_list_costs_no_more_than_its_estimate(world: World) -> None:
    after, pages = "null", 0
    while after:
        query = f"{{ models(first: 30, after: {after}) {{ nodes {{ id }} pageInfo {{ hasNextPage endCursor }} }} }}"
        answer = await query_with_plan(world, "include", query)
        cost, info = answer.body["extensions"]["cost"], answer.body["data"]["models"]["pageInfo"]
        assert total(world.calls()) == cost["calls"] <= cost["forecast"] <= 4 * 3 + 20
        after, pages = f'"{info["endCursor"]}"' if info["hasNextPage"] else "", pages + 1
    assert pages > 5


@pytest.mark.parametrize("plan", ["only", "include"])
async def test_plans_need_a_role_in_production(plan: str) -> None:
    async with two_clouds(sections={"server": ServerSettings(profile="production")}) as world:
        answer = await query_with_plan(world, plan, "{ models { nodes { id } } }")
        assert (answer.status, answer.codes) == (403, ["FORBIDDEN"])
        assert world.calls() == {}


async def test_an_unknown_value_of_the_plan_header_is_refused(world: World) -> None:
    answer = await query_with_plan(world, "maybe", "{ models { nodes { id } } }")
    assert (answer.status, answer.codes) == (400, ["BAD_REQUEST"])
    assert world.calls() == {}
