"""What an operation is said to cost before anything is sent, beside what it then costs."""

import asyncio
import re
from typing import Any

import pytest
from graphql import GraphQLError, get_operation_ast, get_variable_values, parse, validate
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from gateway.catalog.bounds import DEFAULT_BOUNDS, Bounds
from gateway.catalog.cost import Cost, CostLine
from gateway.catalog.operation import Operation
from gateway.errors import QueryTooExpensive
from gateway.execution.context import OperationContext
from gateway.execution.operation_plan import PlannedOperation
from gateway.schema.schema import GRAPHQL_SCHEMA, SCHEMA
from tests.catalog.clouds import DOCUMENTS, Clouds
from tests.catalog.test_calls import PAI_ALGORITHM, PAI_MODEL, PAI_VERSION, QIANFAN_MODEL, QIANFAN_VERSION
from tests.catalog.test_selection_property import GRAPH, Question, plain, questions, slow, two_spellings
from tests.documentation import text


def foreseen(query: str, bounds: Bounds = DEFAULT_BOUNDS, **variables: Any) -> Cost:
    """The forecast of the only operation of a document."""
    document = parse(query)
    operation = get_operation_ast(document)
    assert operation is not None
    coerced = get_variable_values(GRAPHQL_SCHEMA, operation.variable_definitions or (), variables)
    assert not isinstance(coerced, list), coerced
    return PlannedOperation(GRAPHQL_SCHEMA, document, operation).bind(coerced).cost(Clouds().registries, bounds)


def made(document: str) -> int:
    """How many calls the clouds receive."""
    clouds = Clouds()
    asyncio.run(clouds.execute(document))
    return len(clouds.calls)


# No operation makes more calls than were foreseen


@settings(slow, max_examples=200)
@given(two_spellings())
def test_objects_cost_no_more_than_foreseen_however_they_are_asked_for(spellings: tuple[str, str]) -> None:
    said_plainly, said_otherwise = spellings
    cost = foreseen(said_plainly).calls
    assume(validate(GRAPH, parse(said_plainly)) == [])
    assert made(said_plainly) <= cost
    assert foreseen(said_otherwise).calls == cost


@settings(slow, phases=[Phase.generate], max_examples=200)
@given(questions("ModelConnection"), questions("AlgorithmConnection"), st.integers(1, 3))
def test_lists_and_all_below_them_cost_no_more_than_foreseen(
    models: Question, algorithms: Question, first: int
) -> None:
    document = (
        f"{{ a: models(first: {first}) {plain(models)} b: algorithms {plain(algorithms)} c: models {plain(models)} }}"
    )
    assume(validate(GRAPH, parse(document)) == [])
    assert made(document) <= foreseen(document).calls


FILTERS = [
    "ownership: OWN",
    "ownership: PLATFORM",
    "framework: PYTORCH",
    "readiness: READY",
    "approval: APPROVED",
    'nameContains: "a"',
    'kinds: [QIANFAN]',
    'createdAt: {from: "2024-05-15T00:00:00Z"}',
]  # fmt: skip
ORDERS = ["", ", orderBy: {field: NAME, direction: ASC}", ", orderBy: {field: UPDATED_AT, direction: DESC}"]


@settings(slow, phases=[Phase.generate], max_examples=100)
@given(
    questions("ModelConnection"),
    st.lists(st.sampled_from(FILTERS), unique_by=lambda said: said.split(":")[0], max_size=3),
    st.sampled_from(ORDERS),
)
def test_filtered_and_sorted_lists_cost_no_more_than_foreseen(models: Question, filters: list[str], order: str) -> None:
    document = f"{{ models(filter: {{ {', '.join(filters)} }}{order}) {plain(models)} }}"
    assume(validate(GRAPH, parse(document)) == [])
    assert made(document) <= foreseen(document).calls


# What is foreseen, and what happens: (query, forecast, made)

SCANNED = 20
"""Pages of fifty rows that make up the thousand of a list that is sorted or filtered here."""
LISTS = 3 + SCANNED
"""One page of each list that comes in order (PAI's two, Qianfan's user list), and the whole preset list."""

TABLE = [
    # Nothing that a registry would have to say, or that it would be asked
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
    # An id that leads nowhere, or versions that there are none of, cost what the worst case says
    ('{ model(id: "pai:model/model-empty") { versions { nodes { id } } } }', 2, 2),
    (f"{{ {PAI_MODEL} {{ versions {{ nodes {{ id }} }} }} }}", 2, 1),
    ('{ modelVersion(id: "qianfan:model/am-2/version/amv-11") { name } }', 2, 2),
    (f"{{ {QIANFAN_VERSION} {{ name }} }}", 2, 1),
    # Lists: the clouds of these tests are small, and none has a second page
    ("{ models(first: 49, filter: {ownership: OWN}) { nodes { name latestVersion { framework } } } }", 2 + 49, 2 + 1),
    ("{ models(first: 49, filter: {kinds: [PAI]}) { nodes { name latestVersion { framework } } } }", 2, 2),
    ("{ models(first: 50, filter: {kinds: [PAI]}) { nodes { name } } }", 4, 2),
    ("{ models { totalCount } }", LISTS, 4),
    ("{ a: models { totalCount } b: models(first: 7) { nodes { id } } }", LISTS, 4),
    ("{ models(first: 10) { nodes { versions { nodes { name } } } } }", LISTS + 10, 4 + 5),
    ("{ models(first: 100) { nodes { versions { nodes { name } } } } }", LISTS + 2 * 3 + 100, 4 + 5),
    ("{ models(orderBy: {field: NAME, direction: ASC}) { nodes { id } } }", 4 * SCANNED, 4),
    # A filter that costs a call for each row reads no more than a hundred rows of such a list
    ("{ models(filter: {framework: PYTORCH}) { totalCount } }", 2 * SCANNED + 2 * (2 + 100), 4 + 2),
    ('{ algorithms(filter: {kinds: [QIANFAN]}) { nodes { versions { nodes { spec { image } } } } } }', 1, 1),
    ("{ algorithms(first: 5) { nodes { versions { nodes { name } } } } }", 2 * SCANNED + 1 + 5 * SCANNED, 3 + 3),
]  # fmt: skip


@pytest.mark.parametrize(("query", "cost", "calls"), TABLE, ids=[query for query, _, _ in TABLE])
def test_a_query_costs_at_most_this_and_here_that(query: str, cost: int, calls: int) -> None:
    assert foreseen(query).calls == cost
    assert made(query) == calls


PAGE = text("docs/clients.md")
FORECASTS = re.findall(r"^\| `(\{ models.*\})` \| (\d+): ", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("query", "cost"), FORECASTS)
def test_the_documented_forecasts_are_true(query: str, cost: str) -> None:
    assert foreseen(query).calls == int(cost)


def test_the_documentation_shows_the_refusal_of_an_expensive_query() -> None:
    assert len(FORECASTS) == 5
    assert str(QueryTooExpensive(int(FORECASTS[-1][1]), DEFAULT_BOUNDS.calls)) in PAGE


def test_a_forecast_knows_the_variables() -> None:
    below = "{ nodes { versions @include(if: $yes) { nodes { id } } } }"
    query = f"query ($n: Int!, $yes: Boolean = false) {{ models(first: $n) {below} }}"
    assert foreseen(query, n=10).calls == LISTS
    assert foreseen(query, n=10, yes=True).calls == LISTS + 10
    assert foreseen(query, n=30, yes=True).calls == LISTS + 30


def test_a_forecast_knows_how_far_lists_are_read() -> None:
    bounds = Bounds(rows=100, detail_rows=10, seconds=1.0, calls=1)
    assert foreseen("{ models { totalCount } }", bounds).calls == 3 + 2
    assert (
        foreseen("{ models(filter: {readiness: READY, kinds: [QIANFAN]}) { totalCount } }", bounds).calls
        == 2 + 1 + 2 * 50
    )


def test_a_plan_says_what_is_called_how_often_and_why() -> None:
    query = "{ own: models(first: 3, filter: {ownership: OWN}) { nodes { versions { nodes { inputSchema } } } } }"
    assert list(foreseen(query)) == [
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
    assert foreseen(query).calls == 1 + 1 + 3 + 60


def test_what_comes_in_parts_is_planned_in_parts() -> None:
    """At once, the call that tells each version's schemas tells its name too; a list of names comes with its model."""
    below = "{ name ... @defer(if: %s) { inputSchema } }"
    query = f"{{ {QIANFAN_VERSION} {below} }}"
    assert foreseen(query % "false").calls == foreseen(query % "true").calls == 2
    query = "{ models(first: 5, filter: {kinds: [QIANFAN]}) { nodes { versions(first: 9) { nodes %s { ioMode } } } } }"
    together = foreseen(query % "").calls
    assert together == 1 + SCANNED + 5
    assert foreseen(query % "@stream(initialCount: 1)").calls > together


def test_a_circle_of_objects_is_foreseen_once() -> None:
    """Every level asks the same calls again, and however deep it goes, that takes no time."""
    below = "name"
    for _ in range(40):
        below = f"latestVersion {{ framework model {{ {below} }} }}"
    shallow = foreseen("{ models(first: 5) { nodes { latestVersion { framework model { name } } } } }")
    assert foreseen(f"{{ models(first: 5) {{ nodes {{ {below} }} }} }}").calls >= shallow.calls


# What nobody could foresee


async def test_an_operation_makes_no_more_calls_than_it_may() -> None:
    """However it came to that: here nobody asked for a forecast."""
    clouds = Clouds()
    document = DOCUMENTS.read("{ models(first: 9) { nodes { name versions { totalCount } } } registries { name } }")
    bounds = Bounds(rows=1000, detail_rows=100, seconds=20.0, calls=6)
    result = await SCHEMA.execute(None, {}, OperationContext(document.node, Operation(clouds.registries, bounds)))
    assert len(clouds.calls) == 6
    assert result.data == {"models": None, "registries": [{"name": "pai"}, {"name": "qianfan"}]}
    [error] = list(result.errors or ())
    assert isinstance(error, GraphQLError)
    assert isinstance(error.original_error, QueryTooExpensive)
    assert error.original_error.allowed == 6
