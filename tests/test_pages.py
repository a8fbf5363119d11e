"""Pages of merged lists over HTTP: order, filters, cursors, failures and upstream calls."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

import pytest

from gateway import twins
from gateway.config.settings import CatalogSettings, LimitsSettings
from gateway.twins import Corpus
from tests.conftest import Client, World, pai, qianfan, served, settings, two_clouds

Row = dict[str, Any]

FIELDS = """id registryName name ownership type domain task origin provider workspaceId labels { key value }
  owner { nativeId } createdAt updatedAt latestVersion { framework format readiness approval }"""
PAGE = """query ($first: Int!, $after: String, $filter: ModelFilter, $orderBy: ModelOrder) {
  models(first: $first, after: $after, filter: $filter, orderBy: $orderBy) {
    nodes { %s } pageInfo { hasNextPage endCursor } totalCount
    coverage { registry { name } state totalCount rowsRead error { code } } } }"""


async def walk(gateway: Client, fields: str = "id", first: int = 50, pages: int = 1000, **arguments: Any) -> list[Row]:
    """Read all rows, page by page."""
    rows: list[Row] = []
    after = None
    for _ in range(pages):
        answer = await gateway.query(PAGE % fields, first=first, after=after, **arguments)
        page = answer.data["models"]
        rows += page["nodes"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
        assert len(page["nodes"]) == first
    return rows


@asynccontextmanager
async def clouds_of(corpus: Corpus, catalog: CatalogSettings | None = None) -> AsyncIterator[World]:
    """Serve a gateway over twins with this corpus."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(twins.serving(corpus=corpus))
        other = await stack.enter_async_context(twins.serving(corpus=corpus))
        registries = (pai(one.url), qianfan(other.url))
        gateway_settings = settings(
            *registries, catalog=catalog or CatalogSettings(), limits=LimitsSettings(calls=10_000)
        )
        yield World(one, other, await stack.enter_async_context(served(gateway_settings)))


def listed_creation(row: Row) -> str | None:
    """Return the creation time as in lists: Qianfan's list of platform models has none."""
    return None if (row["registryName"], row["ownership"]) == ("qianfan", "PLATFORM") else row["createdAt"]


def listed_update(row: Row) -> str | None:
    """Return the time of the last change as in lists: Qianfan's list of own models has none."""
    return None if (row["registryName"], row["ownership"]) == ("qianfan", "OWN") else row["updatedAt"]


ORDERS: dict[str, Callable[[Row], str | None]] = {
    "CREATED_AT": listed_creation,
    "UPDATED_AT": listed_update,
    "NAME": lambda row: row["name"],
}


def in_order(rows: list[Row], field: str, direction: str) -> list[str]:
    """Return ids in an order: rows without a value last, ties by id."""
    value = ORDERS[field]
    sort_value = (lambda text: text.rstrip("Z")) if field != "NAME" else (lambda text: text)
    with_value = sorted((row for row in rows if value(row) is not None), key=lambda row: row["id"])
    with_value.sort(key=lambda row: sort_value(value(row)), reverse=direction == "DESC")
    return [row["id"] for row in with_value] + sorted(row["id"] for row in rows if value(row) is None)


@pytest.mark.parametrize("first", [7, 100])
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
@pytest.mark.parametrize("field", ORDERS)
async def test_all_pages_together_are_the_merged_list(world: World, field: str, direction: str, first: int) -> None:
    rows = await walk(world.gateway, FIELDS, first, orderBy={"field": field, "direction": direction})
    assert len(rows) == len({row["id"] for row in rows}) == 207
    assert [row["id"] for row in rows] == in_order(rows, field, direction)


def latest(row: Row, name: str) -> Any:
    return row["latestVersion"] and row["latestVersion"][name]


FILTERS: list[tuple[Row, Callable[[Row], bool]]] = [
    ({"registries": ["qianfan"]}, lambda row: row["registryName"] == "qianfan"),
    ({"kinds": ["PAI"]}, lambda row: row["registryName"] == "pai"),
    ({"ownership": "OWN"}, lambda row: row["ownership"] == "OWN"),
    ({"ownership": "PLATFORM"}, lambda row: row["ownership"] == "PLATFORM"),
    ({"nameContains": "BERT"}, lambda row: "bert" in row["name"].lower()),
    ({"nameContains": "模型"}, lambda row: "模型" in row["name"]),
    ({"nameEquals": "qwen2-7b-instruct"}, lambda row: row["name"] == "qwen2-7b-instruct"),
    ({"nameEquals": "qwen2-7b"}, lambda row: False),
    ({"search": "team"}, lambda row: any("team" in label["key"] for label in row["labels"] or ())),
    ({"type": "Text2Image"}, lambda row: row["type"] == "Text2Image"),
    ({"type": "LoRA"}, lambda row: row["type"] == "LoRA"),
    ({"domain": "nlp"}, lambda row: row["domain"] == "nlp"),
    ({"task": "text-classification"}, lambda row: row["task"] == "text-classification"),
    ({"origin": "HuggingFace"}, lambda row: row["origin"] == "HuggingFace"),
    ({"provider": "pai"}, lambda row: row["provider"] == "pai"),
    ({"workspaceId": "23456"}, lambda row: row["workspaceId"] == "23456"),
    ({"label": {"key": "team"}}, lambda row: any(label["key"] == "team" for label in row["labels"] or ())),
    (
        {"label": {"key": "team", "value": "search"}},
        lambda row: {"key": "team", "value": "search"} in (row["labels"] or ()),
    ),
    ({"owner": "20"}, lambda row: row["owner"] is not None and row["owner"]["nativeId"] == "20"),
    (
        {"createdAt": {"from": "2024-01-01T00:00:00+08:00", "to": "2024-04-01T00:00:00Z"}},
        lambda row: row["createdAt"] is not None and "2023-12-31T16:00:00" <= row["createdAt"] < "2024-04-01T00:00:00",
    ),
    (
        {"updatedAt": {"from": "2024-04-01T00:00:00Z"}},
        lambda row: row["updatedAt"] is not None and row["updatedAt"] >= "2024-04-01T00:00:00",
    ),
    ({"framework": "PYTORCH"}, lambda row: latest(row, "framework") == "PYTORCH"),
    ({"format": "ONNX"}, lambda row: latest(row, "format") == "ONNX"),
    ({"readiness": "FAILED"}, lambda row: latest(row, "readiness") == "FAILED"),
    ({"approval": "APPROVED"}, lambda row: latest(row, "approval") == "APPROVED"),
    ({"ownership": "OWN", "provider": "pai"}, lambda row: False),
    (
        {"ownership": "OWN", "framework": "PADDLE", "nameContains": "_"},
        lambda row: row["ownership"] == "OWN" and latest(row, "framework") == "PADDLE" and "_" in row["name"],
    ),
]


@pytest.mark.parametrize(("wanted", "passes"), FILTERS, ids=[str(wanted) for wanted, _ in FILTERS])
async def test_a_filter_returns_exactly_the_rows_that_pass(
    world: World, wanted: Row, passes: Callable[[Row], bool]
) -> None:
    all_rows = await walk(world.gateway, FIELDS, 100)
    found = await walk(world.gateway, "id", 9, filter=wanted)
    expected = [row["id"] for row in all_rows if passes(row)]
    assert [row["id"] for row in found] == expected
    page = (await world.gateway.query(PAGE % "id", first=100, filter=wanted)).data["models"]
    assert page["totalCount"] in (None, len(expected))
    assert {coverage["state"] for coverage in page["coverage"]} == {"COMPLETE"}


async def test_a_filter_that_no_row_can_pass_makes_no_call(world: World) -> None:
    page = (await world.gateway.query(PAGE % "id", first=9, filter={"domain": "nlp", "kinds": ["QIANFAN"]})).data
    assert page["models"]["nodes"] == []
    assert (page["models"]["totalCount"], page["models"]["pageInfo"]["hasNextPage"]) == (0, False)
    assert [(one["state"], one["totalCount"]) for one in page["models"]["coverage"]] == [("COMPLETE", 0)]
    assert world.calls() == {}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"first": 0}, "BAD_USER_INPUT"),
        ({"first": 101}, "BAD_USER_INPUT"),
        ({"first": 5, "filter": {"registries": ["nowhere"]}}, "BAD_USER_INPUT"),
        ({"first": 5, "filter": {"registries": []}}, "BAD_USER_INPUT"),
        ({"first": 5, "filter": {"nameContains": ""}}, "BAD_USER_INPUT"),
        (
            {"first": 5, "filter": {"createdAt": {"from": "2024-02-01T00:00:00Z", "to": "2024-01-01T00:00:00Z"}}},
            "BAD_USER_INPUT",
        ),
        ({"first": 5, "filter": {"createdAt": {"from": "yesterday"}}}, "BAD_USER_INPUT"),
        ({"first": 5, "filter": {"framework": "COBOL"}}, "BAD_USER_INPUT"),
        ({"first": 5, "after": "x"}, "INVALID_CURSOR"),
        ({"first": 5, "after": "é"}, "INVALID_CURSOR"),
    ],
)
async def test_invalid_arguments_are_refused_without_a_call(world: World, arguments: Row, code: str) -> None:
    answer = await world.gateway.query(PAGE % "id", **arguments)
    assert answer.codes == [code]
    assert world.calls() == {}


async def test_a_cursor_is_valid_for_one_filter_and_order_and_after_a_restart(world: World) -> None:
    page = (await world.gateway.query(PAGE % "id", first=5, filter={"ownership": "OWN"})).data["models"]
    cursor = page["pageInfo"]["endCursor"]
    for other in (
        {},
        {"filter": {"ownership": "PLATFORM"}},
        {"filter": {"ownership": "OWN"}, "orderBy": {"field": "NAME", "direction": "ASC"}},
        {"filter": {"ownership": "OWN"}, "orderBy": {"field": "CREATED_AT", "direction": "ASC"}},
    ):
        assert (await world.gateway.query(PAGE % "id", first=5, after=cursor, **other)).codes == ["INVALID_CURSOR"]
    for broken in (
        cursor[:-1],
        cursor[1:],
        cursor[:9] + ("A" if cursor[9] != "A" else "B") + cursor[10:],
        cursor + "A",
    ):
        answer = await world.gateway.query(PAGE % "id", first=5, after=broken, filter={"ownership": "OWN"})
        assert answer.codes == ["INVALID_CURSOR"]

    async with served(settings(pai(world.pai.url), qianfan(world.qianfan.url))) as restarted:
        there = await restarted.query(PAGE % "id", first=5, after=cursor, filter={"ownership": "OWN"})
    here = await world.gateway.query(PAGE % "id", first=5, after=cursor, filter={"ownership": "OWN"})
    assert there.data["models"]["nodes"] == here.data["models"]["nodes"]


async def test_a_registry_that_fails_on_some_pages_continues_after_its_recovery(world: World) -> None:
    all_rows = await walk(world.gateway, "id registryName", 30)
    rows: list[Row] = []
    after = None
    for number in count(1):
        if number in (3, 4):
            world.qianfan.faults.replace({"*": {"status": 503}})
        answer = await world.gateway.query(PAGE % "id registryName", first=30, after=after)
        world.qianfan.faults.clear()
        page = answer.data["models"]
        states = {one["registry"]["name"]: one["state"] for one in page["coverage"]}
        assert states == {"pai": "COMPLETE", "qianfan": "UNAVAILABLE" if number in (3, 4) else "COMPLETE"}
        rows += page["nodes"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"] and number > 4:
            break
    assert [row["id"] for row in rows[:60]] == [row["id"] for row in all_rows[:60]]
    assert sorted(row["id"] for row in rows) == sorted(row["id"] for row in all_rows)
    for name in ("pai", "qianfan"):
        of_registry = [row["id"] for row in rows if row["registryName"] == name]
        assert of_registry == [row["id"] for row in all_rows if row["registryName"] == name]


async def test_rows_that_stay_appear_once_while_others_are_inserted_and_deleted() -> None:
    corpus = Corpus(120)
    async with clouds_of(corpus) as world:
        before = [row["id"] for row in await walk(world.gateway, "id", 100)]
        seen: list[str] = []
        removed: set[str] = set()
        after = None
        for number in count():
            page = (await world.gateway.query(PAGE % "id", first=11, after=after)).data["models"]
            seen += [row["id"] for row in page["nodes"]]
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
            for gone in (before[number * 11 + 2], before[min(number * 11 + 17, len(before) - 1)]):
                if gone.startswith("pai:model/"):
                    corpus.pai_models.remove(gone.removeprefix("pai:model/"))
                    removed.add(gone)
            corpus.pai_models.insert(
                {
                    "ModelId": f"model-new{number}",
                    "ModelName": "new",
                    "GmtCreateTime": f"2030-01-01T00:00:{number:02}Z",
                    "Versions": [],
                }
            )
        assert len(seen) == len(set(seen))
        assert [one for one in seen if one not in removed] == [one for one in before if one not in removed]


async def test_a_page_in_native_order_costs_one_call_for_each_list_and_a_deep_page_at_most_two() -> None:
    async with clouds_of(Corpus(20_000)) as world:
        selection = "name latestVersion { name }"
        first = (await world.gateway.query(PAGE % selection, first=50)).data["models"]
        assert world.calls() == {"ListModels": 2, "userList": 1, "presetList": 1}
        after = first["pageInfo"]["endCursor"]
        for _ in range(200):
            page = (await world.gateway.query(PAGE % "id", first=50, after=after)).data["models"]
            after = page["pageInfo"]["endCursor"]
            calls = world.calls()
            assert calls["presetList"] == 1
            assert calls["userList"] <= 2
            assert calls["ListModels"] <= 4


async def test_a_scan_of_a_hundred_thousand_models_stops_at_its_bound() -> None:
    async with clouds_of(Corpus(100_000), CatalogSettings(scan_rows=200, scan_detail_rows=20)) as world:
        assert len((await world.gateway.query(PAGE % "id", first=100)).data["models"]["nodes"]) == 100
        by_name = {"field": "NAME", "direction": "ASC"}
        page = (await world.gateway.query(PAGE % "id name", first=50, orderBy=by_name)).data["models"]
        assert [one["state"] for one in page["coverage"]] == ["PARTIAL", "PARTIAL"]
        assert [one["rowsRead"] for one in page["coverage"]] == [400, 400]
        assert [one["totalCount"] for one in page["coverage"]] == [49003, 50006]
        names = [row["name"] for row in page["nodes"]]
        assert names == sorted(names)
        assert sum(world.calls().values()) <= 4 + 16


async def test_a_filtered_list_that_stops_at_its_bound_continues_from_its_cursor() -> None:
    async with clouds_of(Corpus(2_000), CatalogSettings(scan_rows=100, scan_detail_rows=20)) as world:
        wanted = {"registries": ["pai"], "ownership": "OWN", "approval": "REJECTED"}
        rows: list[str] = []
        after, states = None, set()
        for _ in range(100):
            page = (await world.gateway.query(PAGE % "id", first=100, after=after, filter=wanted)).data["models"]
            rows += [row["id"] for row in page["nodes"]]
            states.add(page["coverage"][0]["state"])
            if page["coverage"][0]["state"] == "COMPLETE" and not page["pageInfo"]["hasNextPage"]:
                break
            after = page["pageInfo"]["endCursor"]
    async with clouds_of(Corpus(2_000), CatalogSettings(scan_rows=100_000)) as world:
        assert rows == [row["id"] for row in await walk(world.gateway, "id", 100, filter=wanted)]


async def test_several_registries_of_one_kind_are_merged() -> None:
    async with AsyncExitStack() as stack:
        clouds = [await stack.enter_async_context(twins.serving(models=size)) for size in (10, 20)]
        registries = [pai(cloud.url, f"pai-{i}") for i, cloud in enumerate(clouds)]
        gateway = await stack.enter_async_context(served(settings(*registries)))
        rows = await walk(gateway, "id registryName name", 4)
        assert [row["id"] for row in rows] == list(dict.fromkeys(row["id"] for row in rows))
        shared = "model-rbvg5wzljzjhc9ks92"
        assert {f"pai-0:model/{shared}", f"pai-1:model/{shared}"} <= {row["id"] for row in rows}


DETAILS = """{ models(first: 30, filter: {registries: ["pai"]}) {
  nodes { id versions(first: 3) { nodes { name } } }
  edges { node { versions(first: 3) { totalCount nodes { framework } } } } } }"""


async def test_details_of_a_page_are_fetched_at_the_same_time(world: World) -> None:
    world.pai.faults.replace({"ListModelVersions": {"hang": True}})
    task = asyncio.create_task(world.gateway.query(DETAILS))
    while world.pai.calls["ListModelVersions"] < 30:  # noqa: ASYNC110
        await asyncio.sleep(0)
    world.pai.faults.clear()
    await task


async def test_details_of_a_page_are_fetched_once_each(world: World) -> None:
    assert len((await world.gateway.query(DETAILS)).data["models"]["nodes"]) == 30
    assert world.calls() == {"ListModels": 2, "ListModelVersions": 30}


async def test_versions_can_be_filtered() -> None:
    async with two_clouds() as world:
        text = """query ($filter: ModelVersionFilter) { model(id: "pai:model/model-rbvg5wzljzjhc9ks92") {
          versions(filter: $filter) { totalCount nodes { name } } } }"""
        for wanted, names in (
            ({"approval": "APPROVED"}, ["0.2.0"]),
            ({"approval": "PENDING"}, ["0.1.0"]),
            ({"framework": "TENSORFLOW", "format": "SAVED_MODEL"}, ["0.2.0"]),
            ({"framework": "PYTORCH"}, []),
            ({"sourceType": "CUSTOM"}, ["0.1.0"]),
            ({"label": {"key": "env", "value": "test"}}, ["0.2.0"]),
            ({"label": {"key": "env", "value": "prod"}}, []),
            ({"readiness": "READY"}, []),
        ):
            versions = (await world.gateway.query(text, filter=wanted)).data["model"]["versions"]
            assert [version["name"] for version in versions["nodes"]] == names, wanted
            assert versions["totalCount"] in (None, len(names))


async def test_versions_have_pages(world: World) -> None:
    text = """query ($id: ID!, $after: String) { model(id: $id) { versions(first: 7, after: $after) {
      totalCount nodes { id name createdAt } pageInfo { hasNextPage endCursor } } } }"""
    listed = await world.gateway.query("{ models(first: 100) { nodes { id versions { totalCount } } } }")
    longest = max(listed.data["models"]["nodes"], key=lambda row: row["versions"]["totalCount"])
    assert longest["versions"]["totalCount"] > 50
    rows: list[Row] = []
    after = None
    while True:
        page = (await world.gateway.query(text, id=longest["id"], after=after)).data["model"]["versions"]
        rows += page["nodes"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert len({row["id"] for row in rows}) == len(rows) == longest["versions"]["totalCount"]
    times = [row["createdAt"].rstrip("Z") for row in rows]
    assert times == sorted(times, reverse=True)


async def test_algorithms_of_both_clouds_are_merged_and_filtered(world: World) -> None:
    text = """query ($filter: AlgorithmFilter) { algorithms(first: 100, filter: $filter) {
      totalCount nodes { id name provider registryName workspaceId createdAt latestVersion { name } } } }"""
    page = (await world.gateway.query(text)).data["algorithms"]
    assert page["totalCount"] == len(page["nodes"])
    assert {row["registryName"] for row in page["nodes"]} == {"pai", "qianfan"}
    assert all(row["latestVersion"] for row in page["nodes"])
    for wanted, passes in (
        ({"nameContains": "LLM"}, lambda row: "llm" in row["name"].lower()),
        ({"nameEquals": "llm_training"}, lambda row: row["name"] == "llm_training"),
        ({"provider": "pai"}, lambda row: row["provider"] == "pai"),
        ({"workspaceId": "12345"}, lambda row: row["workspaceId"] == "12345"),
        ({"registries": ["qianfan"]}, lambda row: row["registryName"] == "qianfan"),
    ):
        found = (await world.gateway.query(text, filter=wanted)).data["algorithms"]["nodes"]
        assert found == [row for row in page["nodes"] if passes(row)], wanted
        assert found, wanted


@pytest.mark.parametrize("first", [1, 2, 100])
async def test_a_first_page_of_versions_is_the_same_with_and_without_cursors(world: World, first: int) -> None:
    """Without cursors, the page is built from one answer; with them, from the merged list."""
    query = """query ($first: Int!) { models(first: 50) { nodes { id versions(first: $first) {
        nodes { id name } pageInfo { hasNextPage } totalCount %s } } } }"""
    from_answer = (await world.gateway.query(query % "", first=first)).data["models"]["nodes"]
    merged = (await world.gateway.query(query % "edges { cursor }", first=first)).data["models"]["nodes"]
    assert any(row["versions"]["pageInfo"]["hasNextPage"] for row in merged) == (first < 100)
    assert all(len(row["versions"].pop("edges")) == len(row["versions"]["nodes"]) for row in merged)
    assert from_answer == merged


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"
DOTTED = "\u0130stanbul"
NAMES = (COMPOSED, DECOMPOSED, "CAF\u00c9", "CAFE\u0301", "cafe", DOTTED, "istanbul", "ISTANBUL", "I\u0307stanbul", "x")


def names_of(rows: list[Row]) -> list[str]:
    return sorted(row["name"] for row in rows)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        *(({"nameEquals": name}, [COMPOSED, DECOMPOSED]) for name in (COMPOSED, DECOMPOSED)),
        *(({"nameEquals": name}, [DOTTED, "I\u0307stanbul"]) for name in (DOTTED, "I\u0307stanbul")),
        ({"nameEquals": "cafe"}, ["cafe"]),
        *(
            ({kind: name}, [COMPOSED, DECOMPOSED, "CAF\u00c9", "CAFE\u0301"])
            for kind in ("search", "nameContains")
            for name in (COMPOSED, DECOMPOSED, "CAF\u00c9", "\u00e9", "E\u0301")
        ),
        *(
            ({kind: name}, [DOTTED, "istanbul", "ISTANBUL", "I\u0307stanbul"])
            for kind in ("search", "nameContains")
            for name in (DOTTED, "istanbul", "I\u0307STAN", "\u0131stan")
        ),
    ],
    ids=str,
)
async def test_names_are_found_whatever_their_unicode_composition_and_case(wanted: Row, found: list[str]) -> None:
    corpus = Corpus(0, references=False)
    for number, name in enumerate(NAMES):
        created = f"2024-01-{number + 1:02}T00:00:00Z"
        corpus.pai_models.insert({"ModelId": f"model-{number}", "ModelName": name, "GmtCreateTime": created})
    async with clouds_of(corpus) as world:
        assert names_of(await walk(world.gateway, "id name", filter=wanted)) == sorted(found)


UNSET = ["0001-01-01T00:00:00Z", "0001-01-01T08:05:43+08:05", "0000-00-00 00:00:00", "0000-12-31T16:00:00Z"]


@pytest.mark.parametrize("unset", UNSET)
async def test_the_zero_time_of_a_registry_is_no_time(unset: str) -> None:
    """Such a row comes last in both directions, and no range of times contains it."""
    corpus = Corpus(0, references=False)
    for number, created in enumerate((unset, "2024-01-01T00:00:00Z")):
        corpus.pai_models.insert({"ModelId": f"model-{number}", "ModelName": "m", "GmtCreateTime": created})
    async with clouds_of(corpus) as world:
        for direction in ("ASC", "DESC"):
            order = {"field": "UPDATED_AT", "direction": direction}
            rows = await walk(world.gateway, "createdAt updatedAt", orderBy=order)
            assert {row["createdAt"] for row in rows} == {None, "2024-01-01T00:00:00Z"}
        wanted = {"createdAt": {"to": "2025-01-01T00:00:00Z"}}
        assert len(await walk(world.gateway, "id", filter=wanted)) == 1
