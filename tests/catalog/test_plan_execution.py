"""The execution of plans: objects alone and beside others, failed calls, and cancelled operations."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.catalog.ids import Ref
from gateway.catalog.ids import parse as parse_id
from gateway.catalog.plan_execution import PlanExecution
from gateway.catalog.selection import FieldRequest, Selection
from gateway.errors import GatewayError
from tests.catalog import clouds as clouds_module
from tests.catalog.clouds import FakeClouds, pai_model, pai_version
from tests.catalog.test_selection_property import ROOTS, FieldTree, formatted, object_queries, slow

OTHERS = {
    "pai": ("qianfan:model/am-2", "qianfan modelDetail am-2"),
    "qianfan": ("pai:model/model-empty", "pai GetModel model-empty"),
}
"""An object of another registry, and the call that fetches it."""

VERSION = 'modelVersion(id: "pai:model/model-a/version/0.1.0")'
GET_VERSION = "pai GetModelVersion model-a 0.1.0"


async def execute(document: str, failing: Sequence[str] = ()) -> tuple[Any, list[Any], list[str]]:
    """Return the data of the root field ``y``, the errors, and all calls."""
    clouds = FakeClouds()
    clouds.failing = {*failing}
    result = await clouds.execute(document)
    errors = sorted((str(error.path), error.message) for error in result.errors or ())
    return result.data["y"], errors, sorted(clouds.calls)


@slow
@given(object_queries(1, without=("registry",)), st.data())
def test_an_object_has_the_same_result_alone_and_beside_another(
    queries: list[tuple[str, str, FieldTree]], data: st.DataObject
) -> None:
    [(entity, text, tree)] = queries
    root = f'y: {ROOTS[entity]}(id: "{text}"){formatted(tree)}'
    _, _, calls = asyncio.run(execute(f"{{ {root} }}"))
    failing = data.draw(st.lists(st.sampled_from(calls), unique=True)) if calls else []
    other, call = OTHERS[parse_id(text).registry]
    assume(call not in calls)
    alone = asyncio.run(execute(f"{{ {root} }}", failing))
    beside = asyncio.run(execute(f'{{ x: model(id: "{other}") {{ name }} {root} }}', failing))
    assert beside == (*alone[:2], sorted([*alone[2], call]))


def selecting(*names: str) -> Selection:
    return Selection.of({FieldRequest(name): {} for name in names})


async def test_a_failed_call_is_not_repeated_within_an_operation() -> None:
    clouds = FakeClouds()
    clouds.failing = {"pai GetModel model-a"}
    operation = PlanExecution(clouds.registries)
    for _ in range(2):
        with pytest.raises(GatewayError):
            await operation.entity(Ref("pai", "Model", ("model-a",)), selecting("name"))
    assert clouds.calls == ["pai GetModel model-a"]


@pytest.mark.parametrize(
    ("query", "blocked", "calls"),
    [
        pytest.param(f"{{ {VERSION} {{ name }} }}", [GET_VERSION], [GET_VERSION], id="alone"),
        pytest.param(
            f"{{ {VERSION} {{ trainedWith {{ algorithm {{ name }} }} }} }}", [GET_VERSION], [GET_VERSION], id="a field"
        ),
        pytest.param(
            f"{{ {VERSION} {{ model {{ latestVersion {{ trainedWith {{ algorithm {{ name }} }} }} }} }} }}",
            [GET_VERSION, "pai GetModel model-a"],
            ["pai GetModel model-a", GET_VERSION],
            id="another object",
        ),
    ],
)
async def test_a_cancelled_operation_makes_no_further_calls(
    query: str, blocked: Sequence[str], calls: Sequence[str]
) -> None:
    clouds = FakeClouds()
    clouds.blocked = {call: asyncio.Event() for call in blocked}
    before = asyncio.all_tasks()
    task = asyncio.create_task(clouds.query(query))
    async with asyncio.timeout(5):
        await asyncio.gather(*(clouds.arrived[call].wait() for call in blocked))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for event in clouds.blocked.values():
        event.set()
    while left := asyncio.all_tasks() - before:
        await asyncio.wait(left)
    assert sorted(clouds.calls) == sorted(calls)


names = st.lists(st.sampled_from("abcdef"), unique=True, min_size=1)


@slow
@given(names, st.data(), st.integers(1, 4))
def test_a_page_of_versions_has_the_same_rows_with_and_without_cursors(
    versions: list[str], data: st.DataObject, first: int
) -> None:
    days = data.draw(st.lists(st.integers(1, 3), min_size=len(versions), max_size=len(versions)))
    rows = [pai_version(name, day) for name, day in zip(versions, days, strict=True)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(clouds_module, "PAI_MODELS", [pai_model("m", 1, *rows)])
        page, *_ = asyncio.run(
            execute(
                f'{{ y: model(id: "pai:model/m") {{ versions(first: {first}) {{ totalCount nodes {{ id name }} }} }} }}'
            )
        )
        edges, *_ = asyncio.run(
            execute(
                f'{{ y: model(id: "pai:model/m") {{ versions(first: {first}) '
                "{ totalCount edges { cursor node { id name } } } } }"
            )
        )
    assert page["versions"]["totalCount"] == edges["versions"]["totalCount"] == len(rows)
    assert page["versions"]["nodes"] == [edge["node"] for edge in edges["versions"]["edges"]]
