"""Operations over cached responses have the same results, and use the same calls, as operations without a cache."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from graphql.execution.values import VariableValues
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.app import lifetimes, registries
from gateway.catalog.bounds import DEFAULT_BOUNDS
from gateway.catalog.plan_execution import PlanExecution
from gateway.config.settings import CacheSettings
from gateway.execution.operation_plan import PlannedOperation
from gateway.execution.strawberry_context import OperationContext
from gateway.schema.schema import GRAPHQL_SCHEMA, SCHEMA
from gateway.upstream.cache import BoundedMemory, Cache
from gateway.upstream.caching_client import CachingClient
from tests.catalog.clouds import DOCUMENTS, PAI_MODELS, SETTINGS, FakeClouds
from tests.catalog.test_selection_property import ROOTS, field_trees, formatted, object_queries, slow
from tests.execution.comparison import bind, compile_document, execute_compiled
from tests.execution.comparison import execute as reference


def with_cache() -> FakeClouds:
    """Return clouds behind a cache with a stopped clock."""
    clouds = FakeClouds()
    cache = Cache(BoundedMemory(1000, 10**8), None, 1000, lambda: 0)
    clouds.registries = registries(SETTINGS, CachingClient(clouds, cache, lifetimes(CacheSettings()), 0))
    for registry in clouds.registries.values():
        registry.now = cache.now
    return clouds


async def execute(clouds: FakeClouds, document: str, projected: bool = False) -> tuple[Any, Any, set[tuple[str, str]]]:
    """Return the data, the errors and the calls of an operation; executed by projection on request, where supported."""
    operation, read = PlanExecution(clouds.registries), DOCUMENTS.read(document)
    context = OperationContext(read.node, operation)
    planned = None if read.errors else PlannedOperation(GRAPHQL_SCHEMA, read.node, read.operation(None))
    result: Any = await (
        planned.bind(VariableValues({}, {})).execute(context)
        if projected and planned is not None and planned.projected
        else SCHEMA.execute(None, {}, context)
    )
    calls = {(call.registry, call.name) for call in operation.calls}
    data = orjson.loads(orjson.dumps(result.data))  # rows may be encoded already
    return timeless(data), [error.formatted for error in result.errors or ()], calls


def split(result: tuple[Any, Any, set[tuple[str, str]]]) -> tuple[Any, set[tuple[str, str]]]:
    data, errors, calls = result
    return (data, errors), calls


def timeless(data: Any) -> Any:
    """Return data without the ages of lists, which depend on the responses received before the page was complete."""
    if isinstance(data, dict):
        return {key: timeless(value) for key, value in data.items() if key != "age"}
    return [timeless(value) for value in data] if isinstance(data, list) else data


@st.composite
def documents(draw: st.DrawFn) -> list[str]:
    """Operations over objects or a list, all of them twice."""
    texts = []
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            roots = [
                f'{ROOTS[entity]}(id: "{text}"){formatted(tree)}' for entity, text, tree in draw(object_queries(2))
            ]
        else:
            roots = [f"models(first: {draw(st.integers(1, 4))}){formatted(draw(field_trees('ModelConnection')))}"]
        texts.append("{ " + " ".join(f"r{number}: {root}" for number, root in enumerate(roots)) + " }")
    return [*texts, *texts]


VERSIONS = "versions(first: 1) { totalCount pageInfo { hasNextPage } nodes { id name } }"
OLDEST = "versions(orderBy: {field: CREATED_AT, direction: ASC}) { nodes { id name framework } }"


@slow
@given(documents())
@example([f"{{ models {{ nodes {{ id {VERSIONS} oldest: {OLDEST} }} }} }}"] * 3)
@example([f'{{ model(id: "pai:model/model-a") {{ a: {OLDEST} {VERSIONS} version(name: "0.1.0") {{ uri }} }} }}'] * 3)
@example([f'{{ model(id: "qianfan:model/{key}") {{ id {VERSIONS} }} }}' for key in ("1", "am-1", "1", "am-1")])
def test_cached_responses_lead_to_the_same_results(documents: Sequence[str]) -> None:
    async def run() -> None:
        executed, projected = with_cache(), with_cache()
        for document in documents:
            expected, calls = split(await execute(FakeClouds(), document))
            for result, used in (
                split(await execute(executed, document)),
                split(await execute(projected, document, projected=True)),
            ):
                assert result == expected
                assert used <= calls

    asyncio.run(run())


LABELS = '{ models(first: 3, filter: {registries: ["pai"]}) { nodes { name labels { key } } } }'


def test_objects_in_cached_rows_count_for_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row is encoded once. Later responses with it are as large as the first one."""
    monkeypatch.setitem(PAI_MODELS[1][0], "Labels", [{"Key": str(number), "Value": "x"} for number in range(200)])
    planned = compile_document(LABELS)
    assert planned is not None
    clouds = with_cache()

    async def run() -> None:
        for objects, codes in ((150, ["QUERY_TOO_EXPENSIVE"]), (300, []), (150, ["QUERY_TOO_EXPENSIVE"]), (300, [])):
            bounds = replace(DEFAULT_BOUNDS, objects=objects)
            outcome = await execute_compiled(clouds, LABELS, bind(LABELS, planned, {}), bounds)
            assert [error["extensions"]["code"] for error in outcome.errors] == codes

    asyncio.run(run())


def test_rows_are_encoded_for_the_fields_of_each_operation() -> None:
    texts = (
        "{ models(first: 3) { nodes { a: name b: name id } } }",
        "{ models(first: 3) { nodes { id b: name a: name } } }",
        "{ other: models(first: 3) { nodes { id } nodes { b: name } more: nodes { type } } }",
        "{ models(first: 3) { edges { node { name } } nodes { id } } }",
    )
    clouds = with_cache()

    async def run() -> None:
        for text in (*texts, *texts):
            planned = compile_document(text)
            assert planned is not None
            outcome = await execute_compiled(clouds, text, bind(text, planned, {}))
            assert outcome == await reference(FakeClouds(), text, {})

    asyncio.run(run())
