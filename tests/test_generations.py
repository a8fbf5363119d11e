"""The two generations of Qianfan's API: their visible differences, and the upstream calls of v2.

One cloud is read through two registries, ``v1`` and ``v2``. The same selection has equal data through both, except for
`DIFFERENCES`. The table is exact: the test fails for a missing difference and for one too many.
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
from gateway.catalog.plan_execution import PlanExecution
from gateway.catalog.registry import Registry
from gateway.catalog.selection import FieldRequest, Selection
from gateway.config.settings import LimitsSettings, Quota
from gateway.registries.qianfan import QIANFAN_V2
from gateway.schema.schema import SCHEMA
from gateway.twins import Twins
from gateway.upstream.caching_client import UncachedClient
from gateway.upstream.messages import Destination, Request
from tests.conftest import Client, qianfan, served, settings

Json = dict[str, Any]

IN_FLIGHT = Quota().in_flight
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
    "ModelVersion.licenseId": (V1, "v2 does not supply it"),
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
"""Every field that can differ: the generation that supplies it, and the reason."""

WALK = """query ($first: Int!, $after: String, $filter: ModelFilter, $orderBy: ModelOrder) {
  models(first: $first, after: $after, filter: $filter, orderBy: $orderBy) {
    nodes { %s } pageInfo { hasNextPage endCursor } coverage { state } } }"""


@dataclass
class World:
    """One cloud behind two registries."""

    cloud: Twins
    gateway: Client

    def calls(self) -> Counter[str]:
        """Return the number of each upstream call since the last use of this method."""
        counts = Counter(self.cloud.calls)
        self.cloud.calls.clear()
        return counts

    async def walk(
        self, registry: str, fields: str = "id", first: int = 100, filter: Json | None = None, **rest: Any
    ) -> list[Json]:
        """Return all models of a registry, with its name replaced by one name for both."""
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
        async with served(settings(*registries, limits=LimitsSettings(calls=100_000, rows=10_000_000))) as gateway:
            yield World(cloud, gateway)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with two_generations(models=200) as world:
        yield world


def unnamed(registry: str, value: Any) -> Any:
    """Replace the registry's name in a value, also as the first part of ids."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(text.replace(f'"{registry}:', '"qianfan:').replace(f'"{registry}"', '"qianfan"'))


# The same models


def selection(name: str, left_out: tuple[str, ...]) -> str:
    """Return a selection of every field of a type, all fields of versions, and the ids of other objects."""
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


ALL = selection("Model", left_out=("registry", "version", "algorithm", "algorithmVersion", "bom"))
"""``registry`` does not come from the cloud, ``version(name:)`` is a row of ``versions``, and ``bom`` is made from
other fields. Another test compares the algorithms of trainings."""

VERBATIM = ("raw", "extra", "details")


def differences(path: str, one: Any, other: Any) -> Iterator[tuple[str, str]]:
    """Yield the fields in which two values differ, and the generation that supplies them."""
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
    """Yield the differences of a model and of its versions, paired by name."""
    ours, theirs = one.pop("versions"), other.pop("versions")
    yield from differences("Model", one, other)
    assert ours.pop("totalCount") == theirs.pop("totalCount")
    if [version["name"] for version in ours["nodes"]] != [version["name"] for version in theirs["nodes"]]:
        yield "Model.versions", BOTH
    named = {version["name"]: version for version in theirs["nodes"]}
    assert named.keys() == {version["name"] for version in ours["nodes"]}
    for version in ours["nodes"]:
        yield from differences("ModelVersion", version, named[version["name"]])


async def test_both_generations_have_the_same_models_except_for_the_documented_differences(world: World) -> None:
    first, second = [await world.walk(registry, ALL) for registry in ("v1", "v2")]
    named = {model["name"]: model for model in second}
    assert len(named) == len(second) == len(first) == 106
    found: defaultdict[str, set[str]] = defaultdict(set)
    for model in first:
        for path, generation in compared(model, named[model["name"]]):
            found[path].add(generation)
    seen = {path: side.pop() if len(side) == 1 else BOTH for path, side in found.items()}
    assert seen == {path: generation for path, (generation, _) in DIFFERENCES.items()}


TRAININGS = "name versions(first: 100) { nodes { name trainedWith { algorithm { id } algorithmVersion { id } } } }"


async def test_both_generations_find_the_training_algorithms_of_versions(world: World) -> None:
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
"""The model that has no text ids in v1, and therefore another id in v2."""

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
async def test_a_filter_has_the_same_ids_in_both_generations(world: World, wanted: Json) -> None:
    first, second = [await world.walk(registry, "id name", filter=wanted) for registry in ("v1", "v2")]
    assert without_2023(first) == without_2023(second)
    assert len(first) == len(second)


@pytest.mark.parametrize("first", [7, 100])
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
@pytest.mark.parametrize("field", ["CREATED_AT", "NAME"])
async def test_an_order_has_the_same_ids_in_both_generations(
    world: World, field: str, direction: str, first: int
) -> None:
    by = {"field": field, "direction": direction}
    rows = [await world.walk(registry, "id name", first, orderBy=by) for registry in ("v1", "v2")]
    assert without_2023(rows[0]) == without_2023(rows[1])


async def test_only_v2_sorts_own_models_by_their_last_change(world: World) -> None:
    by, own = {"field": "UPDATED_AT", "direction": "DESC"}, {"ownership": "OWN"}
    first, second = [await world.walk(registry, "id updatedAt", filter=own, orderBy=by) for registry in ("v1", "v2")]
    assert [row["id"] for row in first] == sorted(row["id"] for row in first)
    times = [row["updatedAt"] for row in second]
    assert times == sorted(times, reverse=True)
    assert None not in times


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
async def test_v2_refuses_numbers_and_swapped_ids_without_a_call(world: World, id: str) -> None:
    answer = await world.gateway.query("query ($id: ID!) { node(id: $id) { id ... on Model { name } } }", id=id)
    assert answer.codes == ["INVALID_ID"]
    assert world.calls() == {}


async def test_v1_accepts_the_numbers_that_v2_refuses(world: World) -> None:
    answer = await world.gateway.query('{ model(id: "v1:model/5862") { name } }')
    assert answer.data == {"model": {"name": OF_2023}}


@pytest.mark.parametrize("registry", ["v1", "v2"])
async def test_a_version_of_another_model_does_not_exist(world: World, registry: str) -> None:
    answer = await world.gateway.query(
        "query ($id: ID!) { modelVersion(id: $id) { name } }",
        id=f"{registry}:model/am-gggg4444hhhh/version/amv-sxw7xk1a4jk0",
    )
    assert answer.data == {"modelVersion": None}


# Calls of v2

MODELS = """query ($first: Int!, $filter: ModelFilter) {
  models(first: $first, filter: $filter) { nodes { %s } } }"""
V2_OWN = {"registries": ["v2"], "ownership": "OWN"}


async def own_models(world: World, fields: str, first: int = 20) -> list[Json]:
    answer = await world.gateway.query(MODELS % fields, first=first, filter=V2_OWN)
    return cast(list[Json], answer.data["models"]["nodes"])


async def test_ids_and_names_of_versions_need_no_further_call(world: World) -> None:
    models = await own_models(world, "name labels { key } createdAt versions { totalCount nodes { id name } }")
    assert any(model["versions"]["nodes"] for model in models)
    assert world.calls() == {"DescribeCustomModelSets": 1}


async def test_details_of_versions_cost_one_call_each(world: World) -> None:
    models = await own_models(world, "versions { nodes { name readiness baseModel createdAt } }")
    versions = sum(len(model["versions"]["nodes"]) for model in models)
    assert versions > 20
    assert world.calls() == {"DescribeCustomModelSets": 1, "DescribeModel": versions}


async def test_a_version_is_fetched_once_in_an_operation(world: World) -> None:
    models = await own_models(
        world,
        """id latestVersion { id readiness } versions { nodes { id ioMode updatedAt } }
        again: versions { nodes { id source { runId } } } newest: latestVersion { baseModel extra }""",
    )
    versions = {version["id"] for model in models for version in model["versions"]["nodes"]}
    assert world.calls() == {"DescribeCustomModelSets": 1, "DescribeModel": len(versions)}


async def test_the_newest_of_several_versions_costs_a_call_and_an_only_version_none(world: World) -> None:
    models = await own_models(world, "latestVersion { id name } versions { totalCount nodes { id } }")
    several = sum(n for model in models if (n := model["versions"]["totalCount"]) > 1)
    assert several > 0
    assert world.calls() == {"DescribeCustomModelSets": 1, "DescribeModel": several}


async def test_a_single_version_costs_one_call(world: World) -> None:
    answer = await world.gateway.query(
        '{ modelVersion(id: "v2:model/am-gggg4444hhhh/version/amv-jjjj5555kkkk") { id name readiness } }'
    )
    assert answer.data["modelVersion"]["readiness"] == "READY"
    assert world.calls() == {"DescribeModel": 1}


async def test_a_list_is_read_by_its_markers_with_a_hundred_rows_a_page() -> None:
    async with two_generations(models=600) as world:
        rows = await own_models(world, "id", first=5)
        assert len(rows) == 5
        own = len(world.cloud.corpus.qianfan_models.partition("UserCreate"))
        assert own > 200
        assert world.calls() == {"DescribeCustomModelSets": -(-own // 100)}


async def test_a_model_with_versions_costs_one_call_in_v1_and_one_more_for_each_version_in_v2(world: World) -> None:
    query = "query ($id: ID!) { model(id: $id) { name description versions { nodes { name readiness createdAt } } } }"
    first = await world.gateway.query(query, id="v1:model/am-ju3hi4ts39u9")
    assert world.calls() == {"modelDetail": 1}
    second = await world.gateway.query(query, id="v2:model/am-ju3hi4ts39u9")
    assert first.data == second.data
    assert world.calls() == {"DescribeModelSet": 1, "DescribeModel": 1}


class Arrivals(Counter[str]):
    """Counts calls, and sets an event when one of them reaches a count."""

    def __init__(self, name: str, often: int) -> None:
        super().__init__()
        self.awaited = (name, often)
        self.reached = asyncio.Event()

    def __setitem__(self, name: str, often: int) -> None:
        super().__setitem__(name, often)
        if (name, often) == self.awaited:
            self.reached.set()


async def test_the_versions_of_a_page_are_fetched_at_the_same_time(world: World) -> None:
    """All calls that the quota allows at once arrive before the first is answered."""
    world.cloud.calls = arrivals = Arrivals("DescribeModel", IN_FLIGHT)
    world.cloud.faults.replace({"DescribeModel": {"hang": True}})
    fields = "versions { nodes { readiness } }"
    task = asyncio.ensure_future(world.gateway.query(MODELS % fields, first=20, filter=V2_OWN))
    reached = asyncio.ensure_future(arrivals.reached.wait())
    await asyncio.wait([task, reached], return_when=asyncio.FIRST_COMPLETED)
    assert reached.done()
    assert not task.done()
    assert arrivals == {"DescribeCustomModelSets": 1, "DescribeModel": IN_FLIGHT}
    world.cloud.faults.clear()
    await task


# One algorithm of several versions

TASK = {"model": "m", "trainMode": "SFT", "parameterScale": "LoRA"}
CATALOGUE = {"model": "m", "supportTrainMode": [{"trainMode": "SFT", "supportParameterScale": [{**TASK}]}]}


class SimultaneousCloud:
    """A cloud with two trained versions that answers the second one's task together with the catalogue."""

    def __init__(self) -> None:
        self.answer_together = asyncio.Event()

    async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any:
        parameters = json.loads(request.body)
        if request.call == "DescribeModel":
            key = parameters["modelId"]
            source = {"sourceType": "Train", "trainTaskId": f"task-of-{key}"}
            return {"result": {"modelSetId": "am-1", "modelId": key, "sourceInfo": source}}
        if request.call == "DescribeFineTuningSupportModels":
            asyncio.get_running_loop().call_soon(self.answer_together.set)
            await self.answer_together.wait()
            return {"result": [CATALOGUE]}
        if parameters["taskId"] == "task-of-amv-2":
            await self.answer_together.wait()
        return {"result": TASK}


async def test_versions_share_the_fetch_of_their_algorithm() -> None:
    registry = Registry(QIANFAN_V2, qianfan("http://cloud", api="v2"), UncachedClient(SimultaneousCloud()))
    operation = PlanExecution({"qianfan": registry})
    wanted = Selection.of({FieldRequest("trained_with"): {FieldRequest("algorithm"): {FieldRequest("id"): {}}}})
    versions = [Ref("qianfan", "ModelVersion", ("am-1", f"amv-{number}")) for number in (1, 2)]
    records = await asyncio.gather(*(operation.entity(version, wanted) for version in versions))
    found = [record and record["trained_with"][0]["algorithm"] for record in records]
    assert [one and one["id"] for one in found] == ["qianfan:algorithm/m:SFT:LoRA"] * 2
