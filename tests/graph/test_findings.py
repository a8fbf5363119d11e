"""What root fields found, given again: to all who ask the same in any words, never older than what it was made of,
never another's, and never what is of the moment."""

from typing import Any

import orjson
import pytest

from gateway.errors import RegistryUnavailable
from gateway.upstream.caching_client import ANY, Freshness
from tests.graph.test_wholes import World

LIST = "query ($first: Int! = 2) { models(first: $first) { nodes { id name } totalCount } }"
IN_OTHER_WORDS = """
{ all: models(first: 2) { ...F } }
fragment F on ModelConnection { total: totalCount nodes { name id } }
"""
ROOT = 'model(id: "pai:model/model-a") { name versions(first: 1) { nodes { name } } }'
MODEL = f"{{ {ROOT} }}"


@pytest.fixture
def world() -> World:
    """Keeps findings, and no whole answers."""
    return World(room=0, findings=1_000_000)


async def found(world: World, text: str, wanted: Freshness = ANY, only: str = "", **variables: Any) -> tuple[Any, bool]:
    """The data of an answer, and whether it was found before."""
    result = await world.ask(text, wanted, only, **variables)
    assert result.operation is not None
    return orjson.loads(result.body)["data"], bool(result.operation.reused)


async def test_the_same_is_found_once_in_whatever_words_it_is_asked(world: World) -> None:
    first, _ = await found(world, LIST)
    again, before = await found(world, LIST, first=2)
    assert (again, before) == (first, True)
    named, before = await found(world, IN_OTHER_WORDS)
    assert named == {"all": {"total": first["models"]["totalCount"], "nodes": nodes_of(first)}}
    assert before


async def test_two_root_fields_find_each_what_was_found_alone(world: World) -> None:
    model, _ = await found(world, MODEL)
    models, _ = await found(world, LIST)
    both, before = await found(world, f"{{ {ROOT} models(first: 2) {{ nodes {{ id name }} totalCount }} }}")
    assert before
    assert both == model | models


async def test_a_finding_ends_with_the_first_of_what_it_was_made_of(world: World) -> None:
    await found(world, '{ model(id: "pai:model/model-a") { name } }')
    world.now += 30
    await found(world, MODEL)
    world.edition = 2
    world.now += 29
    data, before = await found(world, MODEL)
    assert (data["model"]["name"], before) == ("name of model-a, edition 1", True)
    world.now += 2
    data, before = await found(world, MODEL)
    assert (data["model"]["name"], before) == ("name of model-a, edition 2", False)


async def test_it_says_its_age(world: World) -> None:
    await found(world, MODEL)
    world.now += 50
    result = await world.ask(MODEL)
    assert result.operation is not None
    assert [(one.age, one.fresh_for) for one in result.operation.received()] == [(50.0, 10.0)]


async def test_what_was_purged_is_found_anew(world: World) -> None:
    await found(world, LIST)
    world.edition = 2
    for prefix in world.registries["pai"].cache_prefixes():
        await world.cache.purge(prefix)
    data, before = await found(world, LIST)
    assert not before
    assert {node["name"][-1] for node in nodes_of(data)} >= {"2"}


@pytest.mark.parametrize("wanted", [Freshness(revalidate=True), Freshness(max_age=10.0)], ids=str)
async def test_a_client_that_wants_it_fresher_gets_it_fresher(world: World, wanted: Freshness) -> None:
    await found(world, MODEL)
    world.edition, world.now = 2, world.now + 20
    data, before = await found(world, MODEL, wanted)
    assert (data["model"]["name"], before) == ("name of model-a, edition 2", False)


async def test_who_reads_other_registries_finds_something_else(world: World) -> None:
    for only in ("pai", "qianfan", "", "pai", "qianfan", ""):
        data, _ = await found(world, LIST, only=only, first=100)
        assert {one["id"].partition(":")[0] for one in nodes_of(data)} == ({only} if only else {"pai", "qianfan"})


async def test_what_is_not_whole_is_not_kept(world: World) -> None:
    world.clouds.failing.add("qianfan userList")
    assert (await world.ask(LIST)).codes
    world.clouds.failing.clear()
    assert not (await world.ask(LIST)).codes
    assert (await found(world, LIST))[1]


async def test_what_is_of_the_moment_is_told_as_it_is(world: World) -> None:
    moment = '{ model(id: "pai:model/model-a") { registry { status { state } } } }'
    assert (await found(world, moment))[0]["model"]["registry"]["status"]["state"] == "UNKNOWN"
    world.registries["pai"].health.error = RegistryUnavailable("pai")
    assert (await found(world, moment))[0]["model"]["registry"]["status"]["state"] == "UNAVAILABLE"


async def test_findings_stay_within_their_room() -> None:
    world = World(room=0, findings=1)
    await found(world, MODEL)
    assert not (await found(world, MODEL))[1]


def nodes_of(data: Any) -> Any:
    return data["models"]["nodes"]
