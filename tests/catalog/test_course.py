"""The short course of one object alone: it tells what the usual way tells, for the same calls."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.catalog.course import Course
from gateway.catalog.ids import Ref
from gateway.catalog.ids import parse as parse_id
from gateway.catalog.operation import Operation
from gateway.catalog.selection import FieldRequest, Selection
from gateway.errors import GatewayError
from gateway.registries import KINDS
from gateway.registries.kind import Kind
from tests.catalog import clouds as world
from tests.catalog.clouds import Clouds, pai_model, pai_version
from tests.catalog.test_selection_property import ROOTS, Question, asked_objects, plain, slow

OTHERS = {
    "pai": ("qianfan:model/am-2", "qianfan modelDetail am-2"),
    "qianfan": ("pai:model/model-empty", "pai GetModel model-empty"),
}
"""An object of another registry, and the call that tells of it."""

VERSION = 'modelVersion(id: "pai:model/model-a/version/0.1.0")'
GET_VERSION = "pai GetModelVersion model-a 0.1.0"


async def told(document: str, failing: Sequence[str] = ()) -> tuple[Any, list[Any], list[str]]:
    """What a root field named ``y`` is told, its errors, and all calls."""
    clouds = Clouds()
    clouds.failing = {*failing}
    result = await clouds.execute(document)
    errors = sorted((str(error.path), error.message) for error in result.errors or ())
    return result.data["y"], errors, sorted(clouds.calls)


@slow
@given(asked_objects(1, without=("registry",)), st.data())
def test_an_object_is_told_alone_as_beside_another(asked: list[tuple[str, str, Question]], data: st.DataObject) -> None:
    [(entity, text, question)] = asked
    root = f'y: {ROOTS[entity]}(id: "{text}"){plain(question)}'
    _, _, calls = asyncio.run(told(f"{{ {root} }}"))
    failing = data.draw(st.lists(st.sampled_from(calls), unique=True)) if calls else []
    other, call = OTHERS[parse_id(text).registry]
    assume(call not in calls)
    alone = asyncio.run(told(f"{{ {root} }}", failing))
    beside = asyncio.run(told(f'{{ x: model(id: "{other}") {{ name }} {root} }}', failing))
    assert beside == (*alone[:2], sorted([*alone[2], call]))


def asking(*names: str, **below: Sequence[str]) -> Selection:
    asked = {FieldRequest(name): {} for name in names}
    return Selection.of(
        asked | {FieldRequest(name): {FieldRequest(one): {} for one in ones} for name, ones in below.items()}
    )


@pytest.mark.parametrize(
    ("kind", "entity", "selection", "short"),
    [
        pytest.param("pai", "Model", asking("id", "name", "labels"), True, id="one call"),
        pytest.param("pai", "AlgorithmVersion", asking("name", algorithm=["name"]), True, id="a version and its owner"),
        pytest.param(
            "pai", "ModelVersion", asking("name", model=["name"]), False, id="an owner that it does not tell of"
        ),
        pytest.param("qianfan", "ModelVersion", asking("name"), False, id="two calls to choose from"),
        pytest.param("pai", "Model", asking("id", "registry_name"), False, id="whether it is there, by either call"),
        pytest.param("pai", "Model", asking("name", "registry"), False, id="the registry of the moment"),
    ],
)
def test_the_course_is_short_where_nothing_is_left_to_settle(
    kind: str, entity: str, selection: Selection, short: bool
) -> None:
    found: Kind = KINDS[kind]
    assert (Course.of(found, entity, selection.existing) is not None) is short


async def test_what_was_told_alone_is_known_to_whoever_asks_next() -> None:
    clouds = Clouds()
    operation = Operation(clouds.registries)
    version = Ref("pai", "AlgorithmVersion", ("algo-tune", "v1"))
    alone = await operation.entity(version, asking("id", algorithm=["id", "name"]))
    assert alone is not None
    assert (alone["id"], alone["algorithm"]["id"]) == (str(version), str(version.owner))
    assert alone["algorithm"]["name"] == "tune"
    later = await operation.entity(version.owner, asking("name"))
    again = await operation.entity(version, asking("name", "created_at"))
    assert (later or {})["name"] == "tune"
    assert (again or {})["created_at"] == "2024-04-10T09:00:00Z"
    assert clouds.calls == ["pai GetAlgorithmVersion algo-tune v1"]


async def test_the_newest_version_that_was_told_alone_is_not_asked_for() -> None:
    clouds = Clouds()
    operation = Operation(clouds.registries)
    model, newest = Ref("pai", "Model", ("model-a",)), FieldRequest("version", (("name", "0.2.0"),))
    await operation.entity(model, asking("name"))
    found = await operation.entity(model, Selection.of({newest: {FieldRequest("uri"): {}}}))
    assert (found or {})[newest]["uri"] == "oss://bucket/0.2.0"
    assert clouds.calls == ["pai GetModel model-a"]


async def test_an_object_that_failed_is_not_asked_for_again() -> None:
    clouds = Clouds()
    clouds.failing = {"pai GetModel model-a"}
    operation = Operation(clouds.registries)
    for _ in range(2):
        with pytest.raises(GatewayError):
            await operation.entity(Ref("pai", "Model", ("model-a",)), asking("name"))
    assert clouds.calls == ["pai GetModel model-a"]


@pytest.mark.parametrize(
    ("query", "held", "calls"),
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
async def test_what_is_given_up_asks_for_nothing_more(query: str, held: Sequence[str], calls: Sequence[str]) -> None:
    clouds = Clouds()
    clouds.held = {call: asyncio.Event() for call in held}
    before = asyncio.all_tasks()
    task = asyncio.create_task(clouds.query(query))
    async with asyncio.timeout(5):
        await asyncio.gather(*(clouds.arrived[call].wait() for call in held))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for event in clouds.held.values():
        event.set()
    while left := asyncio.all_tasks() - before:
        await asyncio.wait(left)
    assert sorted(clouds.calls) == sorted(calls)


names = st.lists(st.sampled_from("abcdef"), unique=True, min_size=1)


@slow
@given(names, st.data(), st.integers(1, 4))
def test_a_page_of_versions_is_the_same_with_cursors_and_without(
    versions: list[str], data: st.DataObject, first: int
) -> None:
    days = data.draw(st.lists(st.integers(1, 3), min_size=len(versions), max_size=len(versions)))
    rows = [pai_version(name, day) for name, day in zip(versions, days, strict=True)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(world, "PAI_MODELS", [pai_model("m", 1, *rows)])
        page, *_ = asyncio.run(
            told(
                f'{{ y: model(id: "pai:model/m") {{ versions(first: {first}) {{ totalCount nodes {{ id name }} }} }} }}'
            )
        )
        edges, *_ = asyncio.run(
            told(
                f'{{ y: model(id: "pai:model/m") {{ versions(first: {first}) '
                "{ totalCount edges { cursor node { id name } } } } }"
            )
        )
    assert page["versions"]["totalCount"] == edges["versions"]["totalCount"] == len(rows)
    assert page["versions"]["nodes"] == [edge["node"] for edge in edges["versions"]["edges"]]
