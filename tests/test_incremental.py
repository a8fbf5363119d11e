"""Answers in parts: what is slow comes later, to clients that take it so."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from copy import deepcopy
from typing import Any

import pytest

from gateway.config.settings import BreakerSettings, RetrySettings
from tests.conftest import World, two_clouds

PARTS = "multipart/mixed, application/graphql-response+json, application/json"
MODEL = "pai:model/model-rbvg5wzljzjhc9ks92"
SLOW = """query ($id: ID!, $defer: Boolean! = true) { model(id: $id) {
  id name ... on Model @defer(if: $defer, label: "slow") { versions(first: 1) { nodes { name } } } } }"""


@pytest.fixture
async def world() -> AsyncIterator[World]:
    patient = {"retry": RetrySettings(attempts=2, budget=1.0), "breaker": BreakerSettings(failures=20)}
    async with two_clouds(sections=patient) as world:
        yield world


async def parts(response: Any) -> AsyncIterator[dict[str, Any]]:
    """The payloads, each given out as soon as its bytes are there."""
    text = b""
    async for chunk in response.content.iter_any():
        text += chunk
        while text.count(b"\r\n---") > text.startswith(b"\r\n---"):
            part, _, text = text.removeprefix(b"---").partition(b"\r\n---")
            yield json.loads(part.partition(b"\r\n\r\n")[2])
    assert text == b"--\r\n"


def asking(world: World, query: str, **variables: Any) -> Any:
    body = {"query": query, "variables": variables}
    return world.gateway.session.post(world.gateway.url + "/graphql", json=body, headers={"Accept": PARTS})


async def whole(world: World, query: str, **variables: Any) -> list[dict[str, Any]]:
    async with asking(world, query, **variables) as response:
        return [part async for part in parts(response)]


def put_together(payloads: list[dict[str, Any]]) -> Any:
    """The data of an answer, as a client puts it together: parts at their places."""
    (first, *later), places = payloads, {}
    for payload in payloads:
        places |= {one["id"]: one["path"] for one in payload.get("pending", ())}
        for part in payload.get("incremental", ()):
            target = first["data"]
            for step in [*places[part["id"]], *part.get("subPath", ())]:
                target = target[step]
            target.extend(part["items"]) if "items" in part else merge(target, part["data"])
    assert [payload["hasNext"] for payload in payloads] == [True] * len(later) + [False]
    return first["data"]


def put_together_by_paths(payloads: list[dict[str, Any]]) -> Any:
    """The same as clients of the proposal of 2022 do it: by nothing but the path of each part."""
    (first, *later) = payloads
    for part in [one for payload in later for one in payload.get("incremental", ())]:
        *place, last = [*part["path"]] if "items" in part else [*part["path"], None]
        target = first["data"]
        for step in place:
            target = target[step]
        if "items" in part:
            assert len(target) == last
            target.extend(part["items"])
        else:
            merge(target, part["data"])
    return first["data"]


def merge(target: dict[str, Any], data: dict[str, Any]) -> None:
    for key, value in data.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = value


async def test_the_initial_payload_does_not_wait_for_a_deferred_fragment(world: World) -> None:
    plain = (await world.gateway.query(SLOW, id=MODEL)).data
    world.pai.faults.replace({"ListModelVersions": {"hang": True}})
    async with asking(world, SLOW, id=MODEL) as response:
        assert response.headers["content-type"] == 'multipart/mixed; boundary="-"'
        assert response.headers["cache-control"] == "no-store"
        coming = parts(response)
        first = await anext(coming)
        assert first["data"] == {"model": {"id": MODEL, "name": plain["model"]["name"]}}
        assert [(one["path"], one["label"]) for one in first["pending"]] == [(["model"], "slow")]
        world.pai.faults.clear()
        later = [part async for part in coming]
    assert later[0]["incremental"][0]["path"] == ["model"]
    assert put_together([first, *later]) == plain


async def test_an_error_in_a_deferred_fragment_affects_only_that_fragment(world: World) -> None:
    world.pai.faults.replace({"ListModelVersions": {"status": 503}})
    first, later = await whole(world, SLOW, id=MODEL)
    assert first["data"]["model"]["id"] == MODEL
    assert "errors" not in first
    (part,) = later["incremental"]
    assert part["data"] == {"versions": None}
    assert [(one["path"], one["extensions"]["code"]) for one in part["errors"]] == [
        (["model", "versions"], "REGISTRY_UNAVAILABLE")
    ]


ROWS = """query { models(first: 20, filter: {ownership: OWN}) {
  nodes @stream(initialCount: 2) { name versions(first: 1) { nodes { name } } } coverage { state } } }"""


async def test_streamed_rows_arrive_after_the_initial_ones(world: World) -> None:
    plain = (await world.gateway.query(ROWS)).data
    payloads = await whole(world, ROWS)
    assert len(payloads[0]["data"]["models"]["nodes"]) == 2
    assert put_together(payloads) == plain


async def test_deferred_rows_of_a_fast_registry_do_not_wait_for_a_slow_one(world: World) -> None:
    query = """{ models(first: 20, filter: {ownership: OWN}) { edges { cursor node { id
      ... @defer { versions(first: 1) { nodes { name } } } } } coverage { state } } }"""
    plain = (await world.gateway.query(query)).data
    world.qianfan.faults.replace({"modelDetail": {"hang": True}})
    of = [edge["node"]["id"].partition(":")[0] for edge in plain["models"]["edges"]]
    async with asking(world, query) as response:
        payloads, coming = [], parts(response)
        arrived: set[int] = set()
        while len(arrived) < of.count("pai"):
            payloads.append(await anext(coming))
            places = {one["id"]: one["path"] for payload in payloads for one in payload.get("pending", ())}
            arrived |= {places[one["id"]][2] for one in payloads[-1].get("incremental", ())}
        assert {of[row] for row in arrived} == {"pai"}
        world.qianfan.faults.clear()
        payloads += [part async for part in coming]
    assert put_together(payloads) == plain


TOGETHER = [
    "{ models(first: 5) { nodes { id ... @defer { name latestVersion { name } } } } }",
    "{ models(first: 5) { nodes { latestVersion { name } ... @defer { latestVersion { framework } } } } }",
    "{ models(first: 5) { edges @stream { node { ... @defer { name ... @defer { type } } } } } }",
    "{ registries { name } ... @defer { models(first: 2) { nodes { id } totalCount } } }",
    "{ models(first: 3) { ... @defer { nodes { id ...More } } } }"
    " fragment More on Model { name versions { totalCount } }",
    "{ models(first: 5) { nodes @stream(initialCount: 1) { id versions { nodes @stream { name } } } } }",
    "{ models(first: 5) { ... @defer { edges @stream(initialCount: 2) { cursor node { id } } } } }",
    '{ model(id: "' + MODEL + '") { ... @defer { version(name: "0.2.0") { name ... @defer { metrics } } } } }',
]


@pytest.mark.parametrize("query", TOGETHER)
async def test_merged_payloads_equal_the_plain_response_and_make_no_more_calls(world: World, query: str) -> None:
    plain = (await world.gateway.query(query)).data
    at_once = world.calls()
    payloads = await whole(world, query)
    assert Counter(world.calls()) <= Counter(at_once)
    assert put_together_by_paths(deepcopy(payloads)) == plain
    assert put_together(payloads) == plain


async def test_a_partial_list_in_a_later_payload_has_an_error(world: World) -> None:
    world.qianfan.faults.replace({"*": {"status": 503}})
    payloads = await whole(world, "{ __typename ... @defer { models(first: 2) { nodes { id } } } }")
    errors = [error for part in payloads[1]["incremental"] for error in part.get("errors", ())]
    assert [(one["path"], one["extensions"]["code"]) for one in errors] == [(["models"], "REGISTRY_UNAVAILABLE")]


@pytest.mark.parametrize("accept", ["application/json", "*/*", "application/graphql-response+json"])
async def test_clients_without_multipart_get_one_response(world: World, accept: str) -> None:
    body = {"query": SLOW, "variables": {"id": MODEL}}
    answer = await world.gateway.request("POST", json=body, headers={"Accept": accept})
    assert "multipart" not in answer.headers["content-type"]
    assert answer.data["model"]["versions"]["nodes"]


async def test_defer_with_a_false_condition_defers_nothing(world: World) -> None:
    (only,) = await whole(world, SLOW, id=MODEL, defer=False)
    assert only["data"]["model"]["versions"]["nodes"]
    assert only["hasNext"] is False


async def test_a_client_that_disconnects_affects_no_other(world: World) -> None:
    world.pai.faults.replace({"ListModelVersions": {"hang": True}})
    async with asking(world, SLOW, id=MODEL) as response:
        await anext(parts(response))
        response.close()
    world.pai.faults.clear()
    assert (await world.gateway.query(SLOW, id=MODEL)).data["model"]["versions"]["nodes"]


async def test_a_refused_operation_has_one_response_and_no_parts(world: World) -> None:
    body = {"query": SLOW, "variables": {"id": None}}
    answer = await world.gateway.request("POST", json=body, headers={"Accept": "multipart/mixed, application/json"})
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert (set(answer.body), answer.codes) == ({"errors"}, ["BAD_USER_INPUT"])
