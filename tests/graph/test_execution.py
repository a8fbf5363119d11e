"""What is not compiled is executed over records: as graphql-core alone does it, and sooner the second time."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from graphql import get_introspection_query, get_operation_ast, get_variable_values, parse

from gateway.execution.documents import Document
from gateway.execution.ways import LONGEST, Way, shaping
from gateway.schema.schema import CORE
from tests.catalog.clouds import DOCUMENTS
from tests.graph.answers import clouds, executed, over_records, recorded
from tests.graph.test_compiled import FAILED, REFUSED, RULES
from tests.graph.test_findings import LIST, MODEL, ROOT, found
from tests.graph.test_wholes import World

META = '__type(name: "Query") { name }'
"""Beside it nothing is compiled."""

ALL = {name: (document, {}) for name, document in RULES.items()} | REFUSED | FAILED
ALL |= {
    "the whole schema": (get_introspection_query(), {}),
    "the schema beside a model": (f"{{ __schema {{ queryType {{ name }} }} {ROOT} }}", {}),
    "what composers ask": ("{ _service { __typename sdl } }", {}),
}


@pytest.mark.parametrize(("document", "variables"), ALL.values(), ids=ALL)
def test_the_executor_over_records_answers_what_graphql_core_alone_answers(
    document: str, variables: dict[str, Any]
) -> None:
    expected = asyncio.run(executed(clouds(frozenset()), document, variables))
    assert recorded(document, variables) == [expected, expected]


SHAPED = """
query ($id: ID!, $with: Boolean = true, $first: Int = 1, $filter: ModelVersionFilter) {
    model(id: $id) {
        name @include(if: $with) versions(first: $first, filter: $filter) { nodes { name } } ...More
    }
    __type(name: "Query") { name }
}
fragment More on Model { labels { key } version(name: "0.1.0") { labels { key value @skip(if: $with) } } }
"""

VALUES: Sequence[Mapping[str, Any]] = (
    {},
    {"with": False},
    {"first": 2},
    {"first": None},
    {"first": 0},
    {"with": None},
    {"filter": {"label": {"key": "k"}}},
    {"filter": {"label": {"key": "k", "value": None}}},
    {"filter": None},
    {"filter": {"format": "SAVED_MODEL"}},
    {"filter": {"format": "NO_FORMAT"}},
    {"id": "pai:model/gone"},
    {},
)


def test_each_value_of_a_variable_has_its_own_answer() -> None:
    async def run() -> None:
        for values in (*VALUES, *reversed(VALUES)):
            variables = {"id": "pai:model/model-a", **values}
            expected = await executed(clouds(frozenset()), SHAPED, variables)
            assert await over_records(clouds(frozenset()), SHAPED, variables) == expected, values

    asyncio.run(run())


def test_variables_shape_an_operation_but_in_the_arguments_of_its_root_fields() -> None:
    tree = parse("""
        query ($id: ID!, $a: Int, $b: Boolean!, $c: Boolean!, $d: Int, $e: Int, $unused: Int) {
            model(id: $id) @include(if: $b) { versions(first: $a) { nodes { id @skip(if: $c) } } }
            ... on Query { models(first: $d) { totalCount } }
            ...F
        }
        fragment F on Query { algorithms(first: $e) { totalCount } }
    """)
    operation, fragment = tree.definitions
    assert operation is get_operation_ast(tree)
    assert shaping(operation, [fragment]) == ["a", "b", "c", "e"]  # type: ignore[list-item]


def way_of(document: Document, variables: dict[str, Any]) -> Way:
    operation = document.operation(None)
    coerced = get_variable_values(CORE, operation.variable_definitions or (), variables)
    assert not isinstance(coerced, list)
    fragments = {one.name.value: one for one in document.node.definitions[1:]}  # type: ignore[union-attr]
    return document.ways.of(operation, fragments, coerced.coerced)  # type: ignore[arg-type]


def test_what_was_worked_out_is_used_again_and_grows_no_more() -> None:
    """Holds graphql-core to what the executor knows of it."""
    document = DOCUMENTS.read(SHAPED)
    variables = {"id": "pai:model/model-a", "first": 3}
    recorded(SHAPED, variables)
    way = way_of(document, variables)
    assert way.roots is not None
    known = dict(way.held), dict(way.subfields), dict(way.selections)
    assert all(known)
    assert sum(held is not None for _, held in way.held.values()) > sum(held is None for _, held in way.held.values())
    recorded(SHAPED, variables | {"id": "pai:model/model-b"})
    assert way_of(document, variables) is way
    assert (dict(way.held), dict(way.subfields), dict(way.selections)) == known


def test_long_values_are_not_kept() -> None:
    document = DOCUMENTS.read(SHAPED)
    variables = {"id": "x", "filter": {"label": {"key": "k" * LONGEST}}}
    assert way_of(document, variables) is not way_of(document, variables)


# What was found before


@pytest.fixture
def world() -> World:
    """Keeps findings, and no whole answers."""
    return World(room=0, findings=1_000_000)


def beside_meta(text: str) -> str:
    return text.rstrip().removesuffix("}") + META + " }"


async def test_what_was_found_is_given_again_compiled_or_not(world: World) -> None:
    model, _ = await found(world, beside_meta(MODEL))
    for text in (MODEL, beside_meta(MODEL)):
        data, before = await found(world, text)
        assert (data["model"], before) == (model["model"], True)
    models, before = await found(world, LIST)
    assert not before
    data, before = await found(world, beside_meta(LIST))
    assert (data["models"], before) == (models["models"], True)


async def test_of_two_root_fields_neither_is_kept(world: World) -> None:
    for _ in range(2):
        _, before = await found(world, beside_meta(f"{{ {ROOT} registries {{ name }} }}"))
        assert not before


async def test_what_is_of_the_moment_is_told_as_it_is(world: World) -> None:
    for _ in range(2):
        _, before = await found(world, beside_meta("{ models { coverage { age } } }"))
        assert not before
