"""The estimated cost of operations, compared with the calls that they make."""

import asyncio
import re
from typing import Any

import pytest
from graphql import GraphQLError, get_operation_ast, get_variable_values, parse, validate
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from gateway.catalog.bounds import DEFAULT_BOUNDS, Bounds
from gateway.catalog.cost import Cost, CostLine
from gateway.catalog.plan_execution import PlanExecution
from gateway.errors import QueryTooExpensive
from gateway.execution.operation_plan import PlannedOperation
from gateway.execution.strawberry_context import OperationContext
from gateway.schema.schema import GRAPHQL_SCHEMA, SCHEMA
from tests.catalog.clouds import DOCUMENTS, FakeClouds
from tests.catalog.test_calls import PAI_ALGORITHM, PAI_MODEL, PAI_VERSION, QIANFAN_MODEL, QIANFAN_VERSION
from tests.catalog.test_selection_property import (
    GRAPH,
    FieldTree,
    equivalent_documents,
    field_trees,
    formatted,
    lists_document,
    slow,
)
from tests.documentation import text


def estimated(query: str, bounds: Bounds = DEFAULT_BOUNDS, **variables: Any) -> Cost:
    """Return the estimated cost of the only operation of a document."""
    document = parse(query)
    operation = get_operation_ast(document)
    assert operation is not None
    coerced = get_variable_values(GRAPHQL_SCHEMA, operation.variable_definitions or (), variables)
    assert not isinstance(coerced, list), coerced
    return PlannedOperation(GRAPHQL_SCHEMA, document, operation).bind(coerced).cost(FakeClouds().registries, bounds)


def calls_made(document: str) -> int:
    """Return how many calls a document makes."""
    clouds = FakeClouds()
    asyncio.run(clouds.execute(document))
    return len(clouds.calls)


# No operation makes more calls than estimated


@settings(slow, max_examples=200)
@given(equivalent_documents())
def test_objects_cost_no_more_than_estimated_in_equivalent_documents(documents: tuple[str, str]) -> None:
    simple, varied = documents
    cost = estimated(simple).calls
    assume(validate(GRAPH, parse(simple)) == [])
    assert calls_made(simple) <= cost
    assert estimated(varied).calls == cost


@settings(slow, phases=[Phase.generate], max_examples=200)
@given(field_trees("ModelConnection"), field_trees("AlgorithmConnection"), st.integers(1, 3))
def test_lists_and_the_fields_below_them_cost_no_more_than_estimated(
    models: FieldTree, algorithms: FieldTree, first: int
) -> None:
    document = lists_document(models, algorithms, first)
    assume(validate(GRAPH, parse(document)) == [])
    assert calls_made(document) <= estimated(document).calls


FILTERS = [
    "ownership: OWN",
    "ownership: PLATFORM",
    "framework: PYTORCH",
    "readiness: READY",
    "approval: APPROVED",
    'nameContains: "a"',
    'kinds: [QIANFAN]',
    'createdAt: {from: "2024-05-15T00:00:00Z"}',
    'search: "name am"',
    'types: ["text2text", "LoRA"]',
    'providers: ["pai", "huggingface"]',
    "frameworks: [PYTORCH, PADDLE]",
    'labels: {anyOf: [{key: "stage"}, {key: "none"}]}',
    'latestVersionCreatedAt: {from: "2024-05-11T00:00:00Z"}',
]  # fmt: skip
ORDERS = [
    "",
    ", orderBy: {field: NAME, direction: ASC}",
    ", orderBy: {field: UPDATED_AT, direction: DESC}",
    ", orderBy: {field: LATEST_VERSION_CREATED_AT, direction: DESC}",
]


@settings(slow, phases=[Phase.generate], max_examples=100)
@given(
    field_trees("ModelConnection"),
    st.lists(st.sampled_from(FILTERS), unique_by=lambda text: text.split(":")[0], max_size=3),
    st.sampled_from(ORDERS),
)
def test_filtered_and_sorted_lists_cost_no_more_than_estimated(
    models: FieldTree, filters: list[str], order: str
) -> None:
    document = f"{{ models(filter: {{ {', '.join(filters)} }}{order}) {formatted(models)} }}"
    assume(validate(GRAPH, parse(document)) == [])
    assert calls_made(document) <= estimated(document).calls


# (query, estimated calls, calls made)

SCANNED = 20
"""Pages of fifty rows in the thousand rows read of a list that the gateway sorts or filters."""
LISTS = 3 + SCANNED
"""One page of each sorted list (PAI's two, Qianfan's user list), and the whole preset list."""

TABLE = [
    # Nothing that needs a registry
    ("{ __typename registries { name } }", 0, 0),
    ("{ models { __typename } }", 0, 0),
    ("{ models(first: 0) { nodes { id } } }", 0, 0),
    ('{ model(id: "nonsense") { id } }', 0, 0),
    ('{ model(id: "pai:algorithm/algo-own") { id } }', 0, 0),
    ('{ models(filter: {registries: ["nobody"]}) { nodes { id } } }', 0, 0),
    (f"{{ {PAI_MODEL} @skip(if: true) {{ name }} }}", 0, 0),
    # One object
    (f"{{ {PAI_MODEL} {{ id name latestVersion {{ framework }} }} }}", 1, 1),
    (f"{{ {PAI_MODEL} {{ name versions {{ nodes {{ name }} }} }} }}", 2, 2),
    (f'{{ {PAI_MODEL} {{ version(name: "0.1.0") {{ uri }} }} }}', 2, 2),
    (f"{{ {PAI_VERSION} {{ name model {{ name }} }} }}", 2, 2),
    (f"{{ {QIANFAN_MODEL} {{ name versions {{ nodes {{ name }} }} latestVersion {{ id }} }} }}", 1, 1),
    (f"{{ {QIANFAN_VERSION} {{ inputSchema model {{ name }} }} }}", 2, 2),
    (f"{{ {PAI_ALGORITHM} {{ displayName }} }}", 1, 1),
    # The same object in several places, and several objects
    (f"{{ a: {PAI_MODEL} {{ name }} b: {PAI_MODEL} {{ task }} }}", 1, 1),
    ('{ nodes(ids: ["pai:model/model-a", "qianfan:model/am-1", "pai:model/model-a"]) { id } }', 2, 2),
    (
        """{ _entities(representations: [
          {__typename: "Model", id: "pai:model/model-a"}, {__typename: "Model", id: "qianfan:model/am-1"},
          {__typename: "Model", registryName: "pai", nativeId: "model-a"}, {__typename: "Nothing"}
        ]) { ... on Model { name } } }""",
        2,
        2,
    ),
    # Objects without versions and unknown ids are estimated by the worst case
    ('{ model(id: "pai:model/model-empty") { versions { nodes { id } } } }', 2, 2),
    (f"{{ {PAI_MODEL} {{ versions {{ nodes {{ id }} }} }} }}", 2, 1),
    ('{ modelVersion(id: "qianfan:model/am-2/version/amv-11") { name } }', 2, 2),
    (f"{{ {QIANFAN_VERSION} {{ name }} }}", 2, 1),
    # Lists: the clouds of these tests are small, so no list has a second page
    ("{ models(first: 49, filter: {ownership: OWN}) { nodes { name latestVersion { framework } } } }", 2 + 49, 2 + 1),
    ("{ models(first: 49, filter: {kinds: [PAI]}) { nodes { name latestVersion { framework } } } }", 2, 2),
    ("{ models(first: 50, filter: {kinds: [PAI]}) { nodes { name } } }", 4, 2),
    ("{ models { totalCount } }", LISTS, 4),
    ("{ a: models { totalCount } b: models(first: 7) { nodes { id } } }", LISTS, 4),
    ("{ models(first: 10) { nodes { versions { nodes { name } } } } }", LISTS + 10, 4 + 5),
    ("{ models(first: 100) { nodes { versions { nodes { name } } } } }", LISTS + 2 * 3 + 100, 4 + 5),
    ("{ models(orderBy: {field: NAME, direction: ASC}) { nodes { id } } }", 4 * SCANNED, 4),
    # A filter that costs a call for each row reads at most a hundred rows of an unsorted list
    ("{ models(filter: {framework: PYTORCH}) { totalCount } }", 2 * SCANNED + 2 * (2 + 100), 4 + 2),
    ('{ algorithms(filter: {kinds: [QIANFAN]}) { nodes { versions { nodes { spec { image } } } } } }', 1, 1),
    ("{ algorithms(first: 5) { nodes { versions { nodes { name } } } } }", 2 * SCANNED + 1 + 5 * SCANNED, 3 + 3),
]  # fmt: skip


@pytest.mark.parametrize(("query", "cost", "calls"), TABLE, ids=[query for query, _, _ in TABLE])
def test_a_query_has_this_estimated_cost_and_makes_these_calls(query: str, cost: int, calls: int) -> None:
    assert estimated(query).calls == cost
    assert calls_made(query) == calls


PAGE = text("docs/clients.md")
CALLS, OBJECTS = (
    re.findall(r"^\| `(\{ models.*\})` \| (\d+): ", table, re.MULTILINE)
    for table in (PAGE.partition("| query | objects |")[::2])
)


@pytest.mark.parametrize(("query", "calls"), CALLS)
def test_the_documented_estimates_of_calls_are_correct(query: str, calls: str) -> None:
    assert estimated(query).calls == int(calls)


@pytest.mark.parametrize(("query", "objects"), OBJECTS)
def test_the_documented_estimates_of_objects_are_correct(query: str, objects: str) -> None:
    assert estimated(query).objects == int(objects)


def test_the_documentation_shows_the_refusal_of_an_expensive_query() -> None:
    assert (len(CALLS), len(OBJECTS)) == (6, 3)
    assert str(QueryTooExpensive(int(CALLS[-1][1]), DEFAULT_BOUNDS.calls)) in PAGE


def test_an_estimate_depends_on_the_variables() -> None:
    below = "{ nodes { versions @include(if: $yes) { nodes { id } } } }"
    query = f"query ($n: Int!, $yes: Boolean = false) {{ models(first: $n) {below} }}"
    assert estimated(query, n=10).calls == LISTS
    assert estimated(query, n=10, yes=True).calls == LISTS + 10
    assert estimated(query, n=30, yes=True).calls == LISTS + 30


def test_an_estimate_depends_on_the_bounds_of_lists() -> None:
    bounds = Bounds(rows=100, detail_rows=10, seconds=1.0, calls=1)
    assert estimated("{ models { totalCount } }", bounds).calls == 3 + 2
    assert (
        estimated("{ models(filter: {readiness: READY, kinds: [QIANFAN]}) { totalCount } }", bounds).calls
        == 2 + 1 + 2 * 50
    )


def test_a_plan_has_each_call_with_its_count_and_reason() -> None:
    query = "{ own: models(first: 3, filter: {ownership: OWN}) { nodes { versions { nodes { inputSchema } } } } }"
    assert list(estimated(query)) == [
        CostLine("own", "pai", "ListModels", 1, "list own"),
        CostLine("own", "qianfan", "userList", 1, "list user"),
        CostLine("own.nodes", "pai", "ListModelVersions", 3, "versions, for each of 3, if all rows are of pai"),
        CostLine("own.nodes", "qianfan", "modelDetail", 3, "versions, for each of 3, if all rows are of qianfan"),
        CostLine(
            "own.nodes.versions.nodes",
            "qianfan",
            "modelVersionDetail",
            60,
            "inputSchema, for each of 60, if all rows are of qianfan",
        ),
    ]
    assert estimated(query).calls == 1 + 1 + 3 + 60


def test_deferred_and_streamed_parts_are_planned_separately() -> None:
    """In one part, the call for a version's schemas supplies its name too; a deferred part is planned alone."""
    below = "{ name ... @defer(if: %s) { inputSchema } }"
    query = f"{{ {QIANFAN_VERSION} {below} }}"
    assert estimated(query % "false").calls == estimated(query % "true").calls == 2
    query = "{ models(first: 5, filter: {kinds: [QIANFAN]}) { nodes { versions(first: 9) { nodes %s { ioMode } } } } }"
    together = estimated(query % "").calls
    assert together == 1 + SCANNED + 5
    assert estimated(query % "@stream(initialCount: 1)").calls > together


def test_a_cycle_of_objects_is_estimated_in_little_time() -> None:
    """Every level needs the same calls, so the time does not grow with the number of paths."""
    below = "name"
    for _ in range(40):
        below = f"latestVersion {{ framework model {{ {below} }} }}"
    shallow = estimated("{ models(first: 5) { nodes { latestVersion { framework model { name } } } } }")
    assert estimated(f"{{ models(first: 5) {{ nodes {{ {below} }} }} }}").calls >= shallow.calls


# The limit during execution


async def test_an_operation_makes_no_more_calls_than_its_limit() -> None:
    """The limit also holds for an operation without an estimate."""
    clouds = FakeClouds()
    document = DOCUMENTS.read("{ models(first: 9) { nodes { name versions { totalCount } } } registries { name } }")
    bounds = Bounds(rows=1000, detail_rows=100, seconds=20.0, calls=6)
    result = await SCHEMA.execute(None, {}, OperationContext(document.node, PlanExecution(clouds.registries, bounds)))
    assert len(clouds.calls) == 6
    assert result.data == {"models": None, "registries": [{"name": "pai"}, {"name": "qianfan"}]}
    [error] = list(result.errors or ())
    assert isinstance(error, GraphQLError)
    assert isinstance(error.original_error, QueryTooExpensive)
    assert error.original_error.allowed == 6
