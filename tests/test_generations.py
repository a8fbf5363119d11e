"""Qianfan's two generations side by side: what a client can tell of which one a registry speaks, and what v2 costs.

One cloud is asked through two registries, ``v1`` and ``v2``. Whatever the same selection gives through both is equal,
but for `DIFFERENCES`; the table is exact, so that neither a new difference nor a healed one goes unseen.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest
from graphql import GraphQLObjectType, get_named_type, is_leaf_type

from gateway import twins
from gateway.catalog.ids import Ref
from gateway.catalog.operation import Operation
from gateway.catalog.registry import Registry
from gateway.catalog.selection import FieldRequest, Selection
from gateway.config.settings import LimitsSettings, QuotaSettings
from gateway.registries.qianfan import QIANFAN_V2
from gateway.schema.schema import SCHEMA
from gateway.twins import Twins
from gateway.upstream.caching_client import UncachedClient
from gateway.upstream.messages import Destination, Request
from tests.conftest import Client, qianfan, served, settings

Json = dict[str, Any]

IN_FLIGHT = QuotaSettings().in_flight
V1, V2, BOTH = "v1 only", "v2 only", "both"
NO_NUMBERS = "v1 has only a number for some models; v2 has text ids only"

DIFFERENCES: dict[str, tuple[str, str]] = {
    "Model.id": (BOTH, NO_NUMBERS),
    "Model.nativeId": (BOTH, NO_NUMBERS),
    "Model.description": (V1, "v2 has descriptions of platform models only"),
    "Model.extra": (BOTH, "`extra` has each generation's own field names"),
    "Model.labels": (V2, "v2 has an empty list where v1 has none"),
    "Model.latestVersion.id": (BOTH, NO_NUMBERS),
    "Model.owner": (V1, "v2 does not supply the creator"),
    "Model.raw": (BOTH, "each generation's own object, verbatim"),
    "Model.type": (BOTH, "v2 has no value for industrial search"),
    "Model.versions": (BOTH, "newest first in v1; by id in v2, which supplies no times with the ids"),
    "ModelVersion.baseModel": (BOTH, "v2 supplies it for the account's own versions only; v1 may have another name"),
    "ModelVersion.copyright": (V1, "v2 does not supply it"),
    "ModelVersion.deployTargets": (V1, "v2 does not supply it"),
    "ModelVersion.extra": (BOTH, "`extra` has each generation's own field names"),
    "ModelVersion.framework": (V1, "v2 does not supply it"),
    "ModelVersion.frameworkName": (V1, "v2 does not supply it"),
    "ModelVersion.id": (BOTH, NO_NUMBERS),
    "ModelVersion.inputSchema": (V1, "v2 does not supply it"),
    "ModelVersion.ioLength": (V1, "v2 has limits in tokens, which are in `extra`"),
    "ModelVersion.ioMode": (V2, "v1 supplies it for text models only"),
    "ModelVersion.license": (V1, "v2 does not supply it"),
    "ModelVersion.model.id": (BOTH, NO_NUMBERS),
    "ModelVersion.nativeId": (BOTH, NO_NUMBERS),
    "ModelVersion.outputSchema": (V1, "v2 does not supply it"),
    "ModelVersion.properties": (V1, "v2 does not supply it"),
    "ModelVersion.raw": (BOTH, "each generation's own object, verbatim"),
    "ModelVersion.source": (V1, "v2 supplies it for the account's own versions only"),
    "ModelVersion.source.details": (BOTH, "each generation's own object, verbatim"),
    "ModelVersion.source.iteration": (V1, "v2 supplies the run only"),
    "ModelVersion.source.runId": (BOTH, "v2 has text ids only; v1 also has numbers"),
    "ModelVersion.source.taskId": (V1, "v2 supplies the run only"),
    "ModelVersion.source.taskName": (V1, "v2 supplies the run only"),
    "ModelVersion.supportedOperations": (BOTH, "v2 has flags for three operations; they are off where v1 has none"),
    "ModelVersion.trainedWith.name": (V1, "v2 does not supply the algorithm"),
}
"""Every field that can differ: which generation says it, and why."""

WALK = """query ($first: Int!, $after: String, $filter: ModelFilter, $orderBy: ModelOrder) {
  models(first: $first, after: $after, filter: $filter, orderBy: $orderBy) {
    nodes { %s } pageInfo { hasNextPage endCursor } coverage { state } } }"""


@dataclass
class World:
    """One cloud behind two registries."""

    cloud: Twins
    gateway: Client

    def calls(self) -> Counter[str]:
        """How often each upstream call was made since the last time."""
        made = Counter(self.cloud.calls)
        self.cloud.calls.clear()
        return made

    async def walk(
        self, registry: str, fields: str = "id", first: int = 100, filter: Json | None = None, **rest: Any
    ) -> list[Json]:
        """All models of a registry, with the registry's name replaced by one for both."""
        rows: list[Json] = []
        wanted, after, more = {"registries": [registry], **(filter or {})}, None, True
        while more:
            answer = await self.gateway.query(WALK % fields, first=first, after=after, filter=wanted, **rest)
            page = answer.data["models"]
            assert [coverage["state"] for coverage in page["coverage"]] == ["COMPLETE"]
            rows += page["nodes"]
            after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
        return cast(list[Json], unnamed(registry, rows))


@asynccontextmanager
async def two_generations(models: int) -> AsyncIterator[World]:
    async with twins.serving(models=models) as cloud:
        registries = (qianfan(cloud.url, "v1"), qianfan(cloud.url, "v2", api="v2"))
        async with served(settings(*registries, limits=LimitsSettings(calls=100_000))) as gateway:
            yield World(cloud, gateway)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with two_generations(models=200) as world:
        yield world


def unnamed(registry: str, value: Any) -> Any:
    """A value with the registry's name, also as the first part of ids, replaced."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(text.replace(f'"{registry}:', '"qianfan:').replace(f'"{registry}"', '"qianfan"'))


# The same models


def selection(name: str, left_out: tuple[str, ...]) -> str:
    """Every field of a type; of other objects their ids, of versions everything too."""
    declared = SCHEMA._schema.type_map[name]
    assert isinstance(declared, GraphQLObjectType)
    fields = []
    for field, definition in declared.fields.items():
        inner = get_named_type(definition.type)
        if field in left_out:
            continue
        if is_leaf_type(inner):
            fields.append(field)
        elif inner.name == "ModelVersionConnection":
            below = selection("ModelVersion", left_out)
            fields.append(f"{field}(first: 100) {{ totalCount nodes {{ {below} }} }}")
        elif "Node" in {interface.name for interface in inner.interfaces}:
            fields.append(f"{field} {{ id }}")
        else:
            fields.append(f"{field} {{ {selection(inner.name, left_out)} }}")
    return " ".join(fields)


ALL = selection("Model", left_out=("registry", "version", "algorithm", "algorithmVersion"))
"""``registry`` is the gateway's own word, ``version(name:)`` leads to a row of ``versions``; the algorithms of
trainings are compared by a test of their own."""

VERBATIM = ("raw", "extra", "details")


def differences(path: str, one: Any, other: Any) -> Iterator[tuple[str, str]]:
    """The fields in which two values differ, and who says something there."""
    if one == other:
        return
    if isinstance(one, dict) and isinstance(other, dict) and not path.endswith(VERBATIM):
        for key in one.keys() | other.keys():
            yield from differences(f"{path}.{key}", one.get(key), other.get(key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other) and isinstance(one[0], dict):
        for ours, theirs in zip(one, other, strict=True):
            yield from differences(path, ours, theirs)
    else:
        yield path, V2 if one is None else V1 if other is None else BOTH


def compared(one: Json, other: Json) -> Iterator[tuple[str, str]]:
    """The differences of a model, and of its versions, paired by their names."""
    ours, theirs = one.pop("versions"), other.pop("versions")
    yield from differences("Model", one, other)
    assert ours.pop("totalCount") == theirs.pop("totalCount")
    if [version["name"] for version in ours["nodes"]] != [version["name"] for version in theirs["nodes"]]:
        yield "Model.versions", BOTH
    named = {version["name"]: version for version in theirs["nodes"]}
    assert named.keys() == {version["name"] for version in ours["nodes"]}
    for version in ours["nodes"]:
        yield from differences("ModelVersion", version, named[version["name"]])


async def test_both_generations_give_the_same_models_but_for_the_table_of_differences(world: World) -> None:
    first, second = [await world.walk(registry, ALL) for registry in ("v1", "v2")]
    named = {model["name"]: model for model in second}
    assert len(named) == len(second) == len(first) == 106
    found: defaultdict[str, set[str]] = defaultdict(set)
    for model in first:
        for path, said in compared(model, named[model["name"]]):
            found[path].add(said)
    seen = {path: said.pop() if len(said) == 1 else BOTH for path, said in found.items()}
    assert seen == {path: said for path, (said, _) in DIFFERENCES.items()}


TRAININGS = "name versions(first: 100) { nodes { name trainedWith { algorithm { id } algorithmVersion { id } } } }"


async def test_both_generations_find_the_algorithms_that_versions_were_trained_with(world: World) -> None:
    found = {}
    for registry in ("v1", "v2"):
        found[registry] = {
            (model["name"], version["name"]): version["trainedWith"]
            for model in await world.walk(registry, TRAININGS)
            if model["name"] != OF_2023
            for version in model["versions"]["nodes"]
        }
    assert found["v1"] == found["v2"]


# The same lists

OF_2023 = "强化_bloom"
"""The model that v1 tells without text ids, and that therefore has another id in v2."""

FILTERS: list[Json] = [
    {},
    {"ownership": "OWN"},
    {"ownership": "PLATFORM"},
    {"nameContains": "FAQ"},
    {"nameContains": "客服"},
    {"nameEquals": "faq_answerer_001"},
    {"type": "TextRepresentation"},
    {"type": "Industry"},
    {"createdAt": {"from": "2024-01-01T00:00:00Z", "to": "2024-04-01T00:00:00Z"}},
    {"updatedAt": {"from": "2024-03-01T00:00:00Z"}},
    {"readiness": "FAILED"},
    {"ownership": "OWN", "type": "ImageUnderstanding", "readiness": "READY"},
    {"domain": "nlp"},
    {"approval": "APPROVED"},
]


def without_2023(rows: list[Json]) -> list[str]:
    return [row["id"] for row in rows if row["name"] != OF_2023]


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
async def test_a_filter_that_both_can_answer_gives_the_same_ids(world: World, wanted: Json) -> None:
    first, second = [await world.walk(registry, "id name", filter=wanted) for registry in ("v1", "v2")]
    assert without_2023(first) == without_2023(second)
    assert len(first) == len(second)


@pytest.mark.parametrize("first", [7, 100])
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
@pytest.mark.parametrize("field", ["CREATED_AT", "NAME"])
async def test_an_order_that_both_know_gives_the_same_ids(world: World, field: str, direction: str, first: int) -> None:
    by = {"field": field, "direction": direction}
    rows = [await world.walk(registry, "id name", first, orderBy=by) for registry in ("v1", "v2")]
    assert without_2023(rows[0]) == without_2023(rows[1])


async def test_only_v2_orders_the_accounts_own_models_by_their_last_change(world: World) -> None:
    by, own = {"field": "UPDATED_AT", "direction": "DESC"}, {"ownership": "OWN"}
    first, second = [await world.walk(registry, "id updatedAt", filter=own, orderBy=by) for registry in ("v1", "v2")]
    assert [row["id"] for row in first] == sorted(row["id"] for row in first)
    moments = [row["updatedAt"] for row in second]
    assert moments == sorted(moments, reverse=True)
    assert None not in moments


# Ids


@pytest.mark.parametrize(
    "id",
    [
        "v2:model/5862",
        "v2:model/5862/version/7203",
        "v2:model/am-txtetx0pq9sb/version/7203",
        "v2:model/5862/version/amv-sxw7xk1a4jk0",
        "v2:model/amv-sxw7xk1a4jk0",
        "v2:model/am-txtetx0pq9sb/version/am-txtetx0pq9sb",
    ],
)
async def test_v2_refuses_numbers_and_swapped_ids_and_sends_nothing(world: World, id: str) -> None:
    answer = await world.gateway.query("query ($id: ID!) { node(id: $id) { id ... on Model { name } } }", id=id)
    assert answer.codes == ["INVALID_ID"]
    assert world.calls() == {}


async def test_v1_takes_the_numbers_that_v2_refuses(world: World) -> None:
    answer = await world.gateway.query('{ model(id: "v1:model/5862") { name } }')
    assert answer.data == {"model": {"name": OF_2023}}


@pytest.mark.parametrize("registry", ["v1", "v2"])
async def test_a_version_of_another_model_is_none_of_the_named_one(world: World, registry: str) -> None:
    answer = await world.gateway.query(
        "query ($id: ID!) { modelVersion(id: $id) { name } }",
        id=f"{registry}:model/am-gggg4444hhhh/version/amv-sxw7xk1a4jk0",
    )
    assert answer.data == {"modelVersion": None}


# What v2 costs

MODELS = """query ($first: Int!, $filter: ModelFilter) {
  models(first: $first, filter: $filter) { nodes { %s } } }"""
V2_OWN = {"registries": ["v2"], "ownership": "OWN"}


async def own_models(world: World, fields: str, first: int = 20) -> list[Json]:
    answer = await world.gateway.query(MODELS % fields, first=first, filter=V2_OWN)
    return cast(list[Json], answer.data["models"]["nodes"])


async def test_ids_and_names_of_versions_come_with_the_list(world: World) -> None:
    models = await own_models(world, "name labels { key } createdAt versions { totalCount nodes { id name } }")
    assert any(model["versions"]["nodes"] for model in models)
    assert world.calls() == {"DescribeCustomModelSets": 1}


async def test_each_version_whose_details_are_asked_costs_one_call(world: World) -> None:
    models = await own_models(world, "versions { nodes { name readiness baseModel createdAt } }")
    versions = sum(len(model["versions"]["nodes"]) for model in models)
    assert versions > 20
    assert world.calls() == {"DescribeCustomModelSets": 1, "DescribeModel": versions}


async def test_a_version_is_never_described_twice_in_one_operation(world: World) -> None:
    models = await own_models(
        world,
        """id latestVersion { id readiness } versions { nodes { id ioMode updatedAt } }
        again: versions { nodes { id source { runId } } } newest: latestVersion { baseModel extra }""",
    )
    versions = {version["id"] for model in models for version in model["versions"]["nodes"]}
    assert world.calls() == {"DescribeCustomModelSets": 1, "DescribeModel": len(versions)}


async def test_the_newest_of_several_versions_costs_a_call_for_each_and_the_only_one_none(world: World) -> None:
    models = await own_models(world, "latestVersion { id name } versions { totalCount nodes { id } }")
    several = sum(n for model in models if (n := model["versions"]["totalCount"]) > 1)
    assert several > 0
    assert world.calls() == {"DescribeCustomModelSets": 1, "DescribeModel": several}


async def test_a_versions_own_page_costs_one_call(world: World) -> None:
    answer = await world.gateway.query(
        '{ modelVersion(id: "v2:model/am-gggg4444hhhh/version/amv-jjjj5555kkkk") { id name readiness } }'
    )
    assert answer.data["modelVersion"]["readiness"] == "READY"
    assert world.calls() == {"DescribeModel": 1}


async def test_a_list_is_walked_by_its_markers_a_hundred_rows_at_a_time() -> None:
    async with two_generations(models=600) as world:
        rows = await own_models(world, "id", first=5)
        assert len(rows) == 5
        own = len(world.cloud.corpus.qianfan_models.partition("UserCreate"))
        assert own > 200
        assert world.calls() == {"DescribeCustomModelSets": -(-own // 100)}


async def test_what_v1_tells_in_one_call_v2_tells_in_one_for_the_model_and_one_for_each_version(world: World) -> None:
    query = "query ($id: ID!) { model(id: $id) { name description versions { nodes { name readiness createdAt } } } }"
    first = await world.gateway.query(query, id="v1:model/am-ju3hi4ts39u9")
    assert world.calls() == {"modelDetail": 1}
    second = await world.gateway.query(query, id="v2:model/am-ju3hi4ts39u9")
    assert first.data == second.data
    assert world.calls() == {"DescribeModelSet": 1, "DescribeModel": 1}


class Arrivals(Counter[str]):
    """Counts calls, and tells when one was made so often."""

    def __init__(self, name: str, often: int) -> None:
        super().__init__()
        self.awaited = (name, often)
        self.reached = asyncio.Event()

    def __setitem__(self, name: str, often: int) -> None:
        super().__setitem__(name, often)
        if (name, often) == self.awaited:
            self.reached.set()


async def test_the_versions_of_a_page_are_described_at_the_same_time(world: World) -> None:
    """All calls that the quota lets go at once arrive while not one is answered."""
    world.cloud.calls = arrivals = Arrivals("DescribeModel", IN_FLIGHT)
    world.cloud.faults.replace({"DescribeModel": {"hang": True}})
    fields = "versions { nodes { readiness } }"
    asking = asyncio.ensure_future(world.gateway.query(MODELS % fields, first=20, filter=V2_OWN))
    reaching = asyncio.ensure_future(arrivals.reached.wait())
    await asyncio.wait([asking, reaching], return_when=asyncio.FIRST_COMPLETED)
    assert reaching.done()
    assert not asking.done()
    assert arrivals == {"DescribeCustomModelSets": 1, "DescribeModel": IN_FLIGHT}
    world.cloud.faults.clear()
    await asking


# One algorithm wanted by several versions

TASK = {"model": "m", "trainMode": "SFT", "parameterScale": "LoRA"}
CATALOGUE = {"model": "m", "supportTrainMode": [{"trainMode": "SFT", "supportParameterScale": [{**TASK}]}]}


class Together:
    """A cloud with two trained versions, which answers for the second one's task together with the catalogue."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any:
        asked = json.loads(request.body)
        if request.call == "DescribeModel":
            key = asked["modelId"]
            source = {"sourceType": "Train", "trainTaskId": f"task-of-{key}"}
            return {"result": {"modelSetId": "am-1", "modelId": key, "sourceInfo": source}}
        if request.call == "DescribeFineTuningSupportModels":
            asyncio.get_running_loop().call_soon(self.gate.set)
            await self.gate.wait()
            return {"result": [CATALOGUE]}
        if asked["taskId"] == "task-of-amv-2":
            await self.gate.wait()
        return {"result": TASK}


async def test_an_algorithm_that_comes_for_one_version_is_there_for_another() -> None:
    registry = Registry(QIANFAN_V2, qianfan("http://cloud", api="v2"), UncachedClient(Together()))
    operation = Operation({"qianfan": registry})
    wanted = Selection.of({FieldRequest("trained_with"): {FieldRequest("algorithm"): {FieldRequest("id"): {}}}})
    versions = [Ref("qianfan", "ModelVersion", ("am-1", f"amv-{number}")) for number in (1, 2)]
    records = await asyncio.gather(*(operation.entity(version, wanted) for version in versions))
    found = [record and record["trained_with"][0]["algorithm"] for record in records]
    assert [one and one["id"] for one in found] == ["qianfan:algorithm/m:SFT:LoRA"] * 2
