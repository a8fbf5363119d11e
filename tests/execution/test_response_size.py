"""The limit on objects in a response: estimated from the page sizes, and counted during execution."""

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest
from graphql import FieldNode, OperationDefinitionNode, parse
from hypothesis import given, settings

from gateway.catalog.bounds import DEFAULT_BOUNDS
from gateway.catalog.calls import ROWS_PER_TURN
from gateway.catalog.ids import Ref
from gateway.catalog.plan_execution import PlanExecution
from gateway.catalog.selection import FieldRequest, Selection
from gateway.execution.root_fields import ROOT_FIELDS, RootFieldContext
from gateway.execution.strawberry_context import OperationContext
from gateway.schema.fields import STRAWBERRY_ROW
from gateway.schema.schema import SCHEMA
from tests.catalog import clouds
from tests.catalog.clouds import DOCUMENTS, FakeClouds
from tests.catalog.test_calls import PAI_MODEL
from tests.catalog.test_cost import estimated
from tests.catalog.test_selection_property import equivalent_documents, slow
from tests.execution.comparison import Outcome, bind, compile_document, execute_compiled

TABLE: list[tuple[str, int]] = [
    ("{ __typename }", 0),
    (f"{{ {PAI_MODEL} {{ name }} }}", 1),
    (f"{{ {PAI_MODEL} {{ name registry {{ name }} latestVersion {{ name }} }} }}", 3),
    ("{ models(first: 7) { totalCount } }", 1),
    ("{ models(first: 7) { nodes { name } } }", 1 + 7),
    ("{ models(first: 7) { nodes { name } pageInfo { endCursor } } }", 1 + 7 + 1),
    ("{ models(first: 7) { edges { cursor node { name } } } }", 1 + 7 * 2),
    ("{ models(first: 7) { nodes { versions { nodes { name } } } } }", 1 + 7 * (1 + 1 + 20)),
    ("{ models(first: 7) { nodes { a: versions { nodes { name } } b: versions { nodes { name } } } } }",
     1 + 7 * (1 + 2 * (1 + 20))),
    ("{ models(first: 5) { nodes { versions(first: 5) { nodes { model { name } } } } } }", 1 + 5 * (1 + 1 + 5 * 2)),
    # A list of unknown size counts as one object; execution counts its items
    ("{ models(first: 7) { nodes { labels { key } } } }", 1 + 7 * (1 + 1)),
    # A field of several types has as many objects as the largest one
    ("""{ nodes(ids: ["pai:model/model-a", "pai:model/model-b"]) {
        ... on Model { versions(first: 3) { nodes { name } } } ... on Algorithm { name } } }""", 2 * (1 + 1 + 3)),
    ("""{ _entities(representations: [{__typename: "Model", id: "pai:model/model-a"}]) {
        ... on Model { versions(first: 3) { nodes { name } } } } }""", 1 + 1 + 3),
    # Fields with invalid arguments have no value
    ("{ models(first: 101) { nodes { name } } }", 1),
    ("{ models(first: -1) { nodes { name } } }", 1),
    ("{ models(first: 0) { nodes { name } } }", 1),
]  # fmt: skip


@pytest.mark.parametrize(("query", "objects"), TABLE, ids=[query for query, _ in TABLE])
def test_a_response_has_this_estimated_number_of_objects(query: str, objects: int) -> None:
    assert estimated(query).objects == objects


def test_page_sizes_in_variables_count() -> None:
    query = "query ($n: Int!, $m: Int!) { models(first: $n) { nodes { versions(first: $m) { nodes { name } } } } }"
    assert estimated(query, n=3, m=2).objects == 1 + 3 * (1 + 1 + 2)
    assert estimated(query, n=100, m=100).objects == 1 + 100 * (1 + 1 + 100)


def test_excluded_fields_do_not_count() -> None:
    query = "query ($yes: Boolean!) { models(first: 3) { nodes @include(if: $yes) { name } } }"
    assert estimated(query, yes=True).objects == 1 + 3
    assert estimated(query, yes=False).objects == 1


@settings(slow, max_examples=100)
@given(equivalent_documents())
def test_no_response_has_more_objects_than_estimated(documents: tuple[str, str]) -> None:
    """Lists of unknown size count as one object."""
    query, _ = documents
    [operation] = parse(query).definitions
    assert isinstance(operation, OperationDefinitionNode)
    data = asyncio.run(FakeClouds().execute(query)).data
    assert objects_in(data, operation) - 1 <= estimated(query).objects


def objects_in(value: Any, node: OperationDefinitionNode | FieldNode) -> int:
    """Return the number of objects in response data. ``node`` has no fragments."""
    if isinstance(value, list):
        sizes = [objects_in(item, node) for item in value]
        return sum(sizes) if node.name is not None and node.name.value in ("nodes", "edges") else max(sizes, default=0)
    if value is None or node.selection_set is None:
        return 0
    fields = [field for field in node.selection_set.selections if isinstance(field, FieldNode)]
    keys = [(field.alias or field.name).value for field in fields]
    return 1 + sum(objects_in(value[key], field) for key, field in zip(keys, fields, strict=True))


# The limit during execution

LABELS = (
    '{ modelVersion(id: "pai:model/model-b/version/1.0.0") { labels { key value } model { versions { totalCount } } } }'
)


@pytest.mark.parametrize("failing", [set(), {"pai ListModelVersions model-b"}], ids=["projected", "completed"])
def test_execution_stops_at_the_limit(monkeypatch: pytest.MonkeyPatch, failing: set[str]) -> None:
    """A list of unknown size may have more items than estimated."""
    monkeypatch.setitem(clouds.PAI_MODELS[1][1][0], "Labels", [{"Key": str(n), "Value": "x"} for n in range(200)])
    assert estimated(LABELS).objects == 1 + 1 + 1 + 1
    [error] = executed(LABELS, failing, objects=150).errors
    assert error["message"] == "The response to this query may hold 200 objects; the limit is 150."
    assert error["extensions"] == {"code": "QUERY_TOO_EXPENSIVE", "cost": 200, "allowed": 150}
    assert error["path"] == ["modelVersion"]
    enough = executed(LABELS, failing, objects=210)
    assert [error["path"] for error in enough.errors] == [["modelVersion", "model"]] * len(failing)
    assert len(orjson.loads(enough.data)["modelVersion"]["labels"]) == 200


def executed(query: str, failing: set[str], **bounds: Any) -> Outcome:
    planned = compile_document(query)
    assert planned is not None
    fake = FakeClouds()
    fake.failing |= failing

    async def run() -> Outcome:
        return await execute_compiled(fake, query, bind(query, planned, {}), replace(DEFAULT_BOUNDS, **bounds))

    return asyncio.run(run())


async def test_equal_pages_of_one_object_are_built_once() -> None:
    nodes, model, name = map(FieldRequest, ("nodes", "model", "name"))
    versions = FieldRequest("versions", (("first", 20),))
    selection = Selection.of({versions: {nodes: {model: {versions: {nodes: {name: {}}}}}}})
    record = await PlanExecution(FakeClouds().registries).entity(Ref("pai", "Model", ("model-a",)), selection)
    assert record is not None
    first, second = [version["model"][versions] for version in record[versions]["nodes"]]
    assert first is second
    assert [version["name"] for version in first["nodes"]] == ["0.2.0", "0.1.0"]


# Time


async def test_other_tasks_run_while_an_operation_processes_rows() -> None:
    execution, turns, done = PlanExecution({}), 0, asyncio.Event()

    async def process() -> None:
        for _ in range(10):
            await execution.count_rows(100)

    async def wait() -> None:
        await asyncio.gather(process(), process(), process())
        done.set()

    waiting = asyncio.ensure_future(wait())
    while not done.is_set():
        await asyncio.sleep(0)
        turns += 1
    await waiting
    assert turns >= 3 * 1_000 / ROWS_PER_TURN - 1


async def test_an_operation_stops_at_its_deadline_between_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.catalog.calls.ROWS_PER_TURN", 2)
    fake = FakeClouds()
    execution = PlanExecution(fake.registries)
    fake.blocked["pai ListModels"] = arrived = asyncio.Event()

    async def expire() -> None:
        await fake.arrived["pai ListModels"].wait()
        execution.deadline = 0
        arrived.set()

    query = "{ models(first: 3, filter: {kinds: [PAI]}) { nodes { name } } }"
    _, result = await asyncio.gather(
        expire(), SCHEMA.execute(None, {}, OperationContext(DOCUMENTS.read(query).node, execution))
    )
    assert result.data == {"models": None}
    [error] = result.errors or ()
    assert error.original_error.extensions == {"code": "QUERY_TOO_EXPENSIVE"}
    assert error.message == "This query was stopped because it took more than 20 seconds."


@pytest.mark.parametrize("rows", ["nodes { name }", "edges { node { name } }"])
async def test_other_tasks_run_while_strawberry_completes_rows(monkeypatch: pytest.MonkeyPatch, rows: str) -> None:
    """Strawberry executes operations with introspection."""
    row = {"__typename": "Model", "name": "x"}
    record = {"nodes": [row] * ROWS_PER_TURN, "edges": [{"node": row}] * ROWS_PER_TURN}

    async def page(_: RootFieldContext) -> Any:
        return record

    monkeypatch.setitem(ROOT_FIELDS, "models", page)
    running = asyncio.ensure_future(FakeClouds().query(f"{{ models {{ {rows} }} __schema {{ __typename }} }}"))
    turns = 0
    while not running.done():
        await asyncio.sleep(0)
        turns += 1
    assert len((await running)["models"][rows.split()[0]]) == ROWS_PER_TURN
    assert turns > STRAWBERRY_ROW + 2
