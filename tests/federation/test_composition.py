"""Composers of supergraphs accept the gateway together with other subgraphs."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from graphql import GraphQLObjectType, build_schema

from gateway.schema.schema import print_sdl
from tests.federation.supergraph import HERE, REVIEWS
from tests.npm import installed, node

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

COMPOSERS = ("apollo", "guild", "wundergraph")

RELAY = """
extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key", "@override", "@shareable"])
interface Node { id: ID! }
type Person implements Node @key(fields: "id") { id: ID! }
type Model implements Node @key(fields: "id", resolvable: false) { id: ID! }
type PersonConnection { nodes: [Person!]! pageInfo: PageInfo! }
type PageInfo @shareable { hasNextPage: Boolean! hasPreviousPage: Boolean! startCursor: String endCursor: String }
"""

SUBGRAPHS = {
    "reviews": runpy.run_path(str(REVIEWS))["SCHEMA"].as_str(),
    "a second node": RELAY + "type Query { people: PersonConnection node(id: ID!): Node }",
    "a node taken over": RELAY
    + 'type Query { people: PersonConnection node(id: ID!): Node @override(from: "registries") }',
    "federation 1": """
        extend type Model @key(fields: "id") { id: ID! @external shops: [Shop!] }
        extend type Algorithm @key(fields: "registryName nativeId") {
          registryName: String! @external nativeId: ID! @external shops: [Shop!] }
        type Shop @key(fields: "id") { id: ID! best: Model }
        type Query { shops: [Shop!] }""",
}
"""Subgraphs; each is composed with the gateway."""

GOOD = [name for name in SUBGRAPHS if name != "a second node"]

HINTS: dict[str, set[str]] = {
    "apollo": {"UNUSED_ENUM_TYPE", "OVERRIDDEN_FIELD_CAN_BE_REMOVED"},
    "guild": set(),
    "wundergraph": set(),
}
"""Accepted hints: the enum of the cache hints, which the supergraph does not use, and the intended override."""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gateway with each of the subgraphs, in a file for the composers."""
    registries = {"name": "registries", "url": "http://gateway:8000/graphql", "sdl": print_sdl()}
    subgraphs = {
        name: [registries, {"name": "other", "url": "http://other", "sdl": sdl}] for name, sdl in SUBGRAPHS.items()
    }
    file: Path = tmp_path_factory.mktemp("federation") / "cases.json"
    file.write_text(json.dumps(subgraphs), encoding="utf-8")
    return file


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def composed(cases: Path) -> dict[str, Any]:
    """The outcome of each composer for each case: errors, hints and the supergraph."""
    found: dict[str, Any] = json.loads(await node(installed(HERE), "compose.mjs", str(cases), seconds=180))
    return found


@pytest.mark.parametrize("composer", COMPOSERS)
@pytest.mark.parametrize("case", GOOD)
async def test_the_gateway_composes_with_the_subgraph(composed: dict[str, Any], case: str, composer: str) -> None:
    outcome = composed[case][composer]
    assert outcome["errors"] == []
    for hint in outcome["hints"]:
        print(f"{composer}: {hint}")
    if case != "federation 1":  # composers have many hints for federation 1
        assert {hint.partition(":")[0] for hint in outcome["hints"]} <= HINTS[composer]


@pytest.mark.parametrize("composer", COMPOSERS)
async def test_a_model_has_the_fields_of_both_subgraphs(composed: dict[str, Any], composer: str) -> None:
    supergraph = build_schema(composed["reviews"][composer]["supergraph"], assume_valid=True)
    model, review = supergraph.type_map["Model"], supergraph.type_map["Review"]
    assert isinstance(model, GraphQLObjectType)
    assert isinstance(review, GraphQLObjectType)
    assert {"id", "name", "latestVersion", "reviews"} <= set(model.fields)
    assert review.fields["model"].type == model


@pytest.mark.parametrize("composer", COMPOSERS)
async def test_a_second_subgraph_cannot_define_node(composed: dict[str, Any], composer: str) -> None:
    (error,) = composed["a second node"][composer]["errors"]
    assert "node" in error
    assert "hareable" in error


async def test_the_enum_of_cache_hints_is_hidden_from_clients(composed: dict[str, Any]) -> None:
    assert "CacheControlScope" not in composed["reviews"]["wundergraph"]["supergraph"]
    assert (
        "CacheControlScope @join__type(graph: REGISTRIES) @inaccessible" in composed["reviews"]["guild"]["supergraph"]
    )
