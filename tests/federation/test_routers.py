"""Routers over the gateway and the subgraph of `docker/supergraph`: queries over two subgraphs.

Each router composes the supergraph itself, from the schemas in `_service`.
"""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from gateway.config.settings import CacheSettings
from tests.federation.bookmarks import DELETED, EXISTING
from tests.federation.supergraph import BOOKMARKS, ROUTERS, Supergraph, supergraph

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

NAMES = ["情感分析", "工单分类助手_010", None, "强化_bloom"]
"""The names of the reviewed models, which repeat; the third was deleted."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=sorted(ROUTERS))
async def running(request: pytest.FixtureRequest) -> AsyncIterator[Supergraph]:
    async with supergraph(request.param) as running:
        yield running


@pytest.fixture
def graph(running: Supergraph) -> Supergraph:
    """The supergraph without faults and without counted calls."""
    running.world.qianfan.faults.replace({})
    running.world.calls()
    return running


def names(body: dict[str, Any]) -> list[str | None]:
    assert "errors" not in body, body["errors"]
    return [review["model"]["name"] for review in body["data"]["reviews"]["nodes"]]


async def test_a_review_has_its_model_from_the_gateway(graph: Supergraph) -> None:
    body = await graph.query('{ review(id: "0") { stars model { id name latestVersion { name } } } }')
    model = {"id": "pai:model/model-rbvg5wzljzjhc9ks92", "name": "情感分析", "latestVersion": {"name": "0.2.0"}}
    assert body == {"data": {"review": {"stars": 5, "model": model}}}


async def test_a_model_has_its_reviews(graph: Supergraph) -> None:
    body = await graph.query('{ model(id: "qianfan:model/5862") { name reviews(first: 2) { id stars } } }')
    assert body == {
        "data": {"model": {"name": "强化_bloom", "reviews": [{"id": "3", "stars": 3}, {"id": "7", "stars": 3}]}}
    }


async def test_lists_of_both_subgraphs_have_page_info(graph: Supergraph) -> None:
    body = await graph.query(
        "{ models(first: 1) { pageInfo { hasNextPage } } reviews(first: 1) { pageInfo { hasNextPage endCursor } } }"
    )
    assert body["data"] == {
        "models": {"pageInfo": {"hasNextPage": True}},
        "reviews": {"pageInfo": {"hasNextPage": True, "endCursor": "0"}},
    }


async def test_the_gateway_owns_node(graph: Supergraph) -> None:
    body = await graph.query('{ node(id: "qianfan:model/5862") { id ... on Model { name reviews(first: 1) { id } } } }')
    assert body["data"]["node"] == {"id": "qianfan:model/5862", "name": "强化_bloom", "reviews": [{"id": "3"}]}


async def test_a_thousand_references_cost_one_call_for_each_model(graph: Supergraph) -> None:
    body = await graph.query("{ reviews(first: 1000) { nodes { id model { name } } } }")
    assert names(body) == NAMES * 250
    assert graph.world.calls() == {"GetModel": 2, "modelDetail": 2}


async def test_a_reference_to_a_deleted_model_is_null_and_affects_nothing_else(graph: Supergraph) -> None:
    """`id` is not nullable, so the model is null; its review and the other reviews stay."""
    body = await graph.query("{ reviews(first: 4) { nodes { text model { id name } } } }")
    reviews = body["data"]["reviews"]["nodes"]
    assert [review["model"] and review["model"]["name"] for review in reviews] == NAMES
    assert reviews[2] == {"text": "Gone before I could try it.", "model": None}
    body = await graph.query("{ reviews(first: 3) { nodes { model { nativeId name } } } }")
    assert body["data"]["reviews"]["nodes"][2] == {"model": {"nativeId": "model-deleted", "name": None}}


@pytest.mark.parametrize("router", sorted(ROUTERS))
async def test_a_deleted_model_keeps_what_its_reference_has(router: str) -> None:
    """The gateway's entity is null. `id` is in the reference itself, so the router does not ask the gateway for it."""
    async with supergraph(router, BOOKMARKS) as graph:
        entity = {"__typename": "Model", "id": DELETED}
        query = "query ($refs: [_Any!]!) { _entities(representations: $refs) { ... on Model { id name } } }"
        assert (await graph.world.gateway.query(query, refs=[entity])).data == {"_entities": [None]}

        body = await graph.query("{ bookmarks { note model { id name } } }")
        assert body == {
            "data": {
                "bookmarks": [
                    {"note": "read this", "model": {"id": EXISTING, "name": "情感分析"}},
                    {"note": "gone", "model": {"id": DELETED, "name": None}},
                ]
            }
        }
        body = await graph.query("{ bookmarks { note model { id name nativeId } } }")
        assert body["data"]["bookmarks"][1] == {"note": "gone", "model": None}
        assert body["data"]["bookmarks"][0]["model"]["nativeId"] == EXISTING.partition("/")[2]


async def test_a_failing_registry_affects_only_its_own_models(graph: Supergraph) -> None:
    graph.world.qianfan.faults.replace({"*": {"drop": "before"}})
    body = await graph.query("{ reviews(first: 4) { nodes { text model { name } } } }")
    reviews = body["data"]["reviews"]["nodes"]
    assert [review["model"]["name"] for review in reviews] == ["情感分析", None, None, None]
    assert all(review["text"] for review in reviews)
    assert {(tuple(error["path"][:4]), error["extensions"]["code"]) for error in body["errors"]} == {
        (("reviews", "nodes", 1, "model"), "REGISTRY_UNREACHABLE"),
        (("reviews", "nodes", 3, "model"), "REGISTRY_UNREACHABLE"),
    }
    for leak in (graph.world.qianfan.url, "127.0.0.1", "Traceback", "aiohttp"):
        assert leak not in str(body)


async def test_responses_of_apollo_have_the_lifetimes_of_the_gateway() -> None:
    """Lists are fresh for 30 seconds and objects for 120; a subgraph without cache hints makes it zero."""
    async with supergraph("apollo", cache=CacheSettings(jitter=0.0)) as graph:
        assert 0 < await max_age(graph, "{ models(first: 1) { nodes { name } } }") <= 30
        assert 30 < await max_age(graph, '{ model(id: "qianfan:model/5862") { name } }') <= 120
        assert await max_age(graph, '{ model(id: "qianfan:model/5862") { name reviews { id } } }') == 0


async def max_age(graph: Supergraph, query: str) -> int:
    """Return the private lifetime of the router's response in seconds."""
    policy = re.fullmatch(r"max-age=(\d+), private", (await graph.router.query(query)).headers["cache-control"])
    assert policy is not None
    return int(policy[1])
