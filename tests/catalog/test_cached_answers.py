"""Values derived from answers and cached with them change nothing: operations over cached answers have the answers and
use the calls of operations without a cache."""

import asyncio
from collections.abc import Sequence
from typing import Any

from graphql.execution.values import VariableValues
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.app import lifetimes, registries
from gateway.catalog.operation import Operation
from gateway.config.settings import CacheSettings
from gateway.execution.context import OperationContext
from gateway.execution.operation_plan import PlannedOperation
from gateway.schema.schema import GRAPHQL_SCHEMA, SCHEMA
from gateway.upstream.cache import BoundedMemory, Cache
from gateway.upstream.caching_client import CachingClient
from tests.catalog.clouds import DOCUMENTS, SETTINGS, Clouds
from tests.catalog.test_selection_property import ROOTS, asked_objects, plain, questions, slow


def with_cache() -> Clouds:
    """Clouds behind a cache whose clock stands still."""
    clouds = Clouds()
    cache = Cache(BoundedMemory(1000, 10**8), None, 1000, lambda: 0)
    clouds.registries = registries(SETTINGS, CachingClient(clouds, cache, lifetimes(CacheSettings()), 0))
    return clouds


async def execute(clouds: Clouds, document: str, projected: bool = False) -> tuple[Any, Any, set[tuple[str, str]]]:
    """An operation's data and errors, and the calls that it used; by projection where that is supported."""
    operation, read = Operation(clouds.registries), DOCUMENTS.read(document)
    context = OperationContext(read.node, operation)
    planned = None if read.errors else PlannedOperation(GRAPHQL_SCHEMA, read.node, read.operation(None))
    result: Any = await (
        planned.bind(VariableValues({}, {})).execute(context)
        if projected and planned is not None and planned.projected
        else SCHEMA.execute(None, {}, context)
    )
    calls = {(call.registry, call.name) for call in operation.calls}
    return timeless(result.data), [error.formatted for error in result.errors or ()], calls


def split(result: tuple[Any, Any, set[tuple[str, str]]]) -> tuple[Any, set[tuple[str, str]]]:
    data, errors, calls = result
    return (data, errors), calls


def timeless(data: Any) -> Any:
    """Data without the ages of lists, which depend on the answers received until the page was complete."""
    if isinstance(data, dict):
        return {key: timeless(value) for key, value in data.items() if key != "age"}
    return [timeless(value) for value in data] if isinstance(data, list) else data


@st.composite
def documents(draw: st.DrawFn) -> list[str]:
    """Operations that ask for objects or for a list, and all of that twice. Asked together, an object may be told in
    either form that comes first."""
    made = []
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            roots = [f'{ROOTS[entity]}(id: "{text}"){plain(asked)}' for entity, text, asked in draw(asked_objects(2))]
        else:
            roots = [f"models(first: {draw(st.integers(1, 4))}){plain(draw(questions('ModelConnection')))}"]
        made.append("{ " + " ".join(f"r{number}: {root}" for number, root in enumerate(roots)) + " }")
    return [*made, *made]


VERSIONS = "versions(first: 1) { totalCount pageInfo { hasNextPage } nodes { id name } }"
OLDEST = "versions(orderBy: {field: CREATED_AT, direction: ASC}) { nodes { id name framework } }"


@slow
@given(documents())
@example([f"{{ models {{ nodes {{ id {VERSIONS} oldest: {OLDEST} }} }} }}"] * 3)
@example([f'{{ model(id: "pai:model/model-a") {{ a: {OLDEST} {VERSIONS} version(name: "0.1.0") {{ uri }} }} }}'] * 3)
@example([f'{{ model(id: "qianfan:model/{key}") {{ id {VERSIONS} }} }}' for key in ("1", "am-1", "1", "am-1")])
def test_cached_answers_lead_to_the_same_results(documents: Sequence[str]) -> None:
    async def run() -> None:
        executed, projected = with_cache(), with_cache()
        for document in documents:
            expected, calls = split(await execute(Clouds(), document))
            for result, used in (
                split(await execute(executed, document)),
                split(await execute(projected, document, projected=True)),
            ):
                assert result == expected
                assert used <= calls

    asyncio.run(run())
