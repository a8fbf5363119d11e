"""Where lists end, over HTTP: registries whose pages are smaller than requested, empty, repeated or cut, and the limits
of the gateway itself."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.config.settings import CatalogSettings, LimitsSettings
from tests.conftest import Answer, Client, pai, qianfan, served, settings
from tests.scripted_registry import (
    Script,
    ScriptedRegistry,
    chain,
    marked_pages,
    model_set,
    pai_algorithm,
    pai_model,
    pai_pages,
    pai_version,
    qianfan_model,
    qianfan_pages,
    scripted,
    time_of,
)

Row = dict[str, Any]

MODELS = """query ($first: Int = 50, $after: String, $filter: ModelFilter, $orderBy: ModelOrder) {
  list: models(first: $first, after: $after, filter: $filter, orderBy: $orderBy) {
    nodes { id } pageInfo { hasNextPage endCursor } totalCount %s } }"""
ALGORITHMS = """query ($first: Int = 50, $after: String, $filter: AlgorithmFilter) {
  list: algorithms(first: $first, after: $after, filter: $filter) {
    nodes { id } pageInfo { hasNextPage endCursor } totalCount %s } }"""
VERSIONS = """query ($first: Int = 50, $after: String, $filter: ModelVersionFilter) {
  model(id: "r:model/m1") { list: versions(first: $first, after: $after, filter: $filter) {
    nodes { id } pageInfo { hasNextPage endCursor } totalCount %s } } }"""
ALGORITHM_VERSIONS = """query ($first: Int = 50, $after: String) {
  algorithm(id: "r:algorithm/a1") { list: versions(first: $first, after: $after) {
    nodes { id } pageInfo { hasNextPage endCursor } totalCount %s } } }"""
COVERAGE = "coverage { state rowsRead totalCount error { code message } }"


@dataclass
class Scene:
    """A gateway over one registry with the name r."""

    registry: ScriptedRegistry
    gateway: Client


@asynccontextmanager
async def over(kind: str, catalog: CatalogSettings | None = None, **answers: Script) -> AsyncIterator[Scene]:
    """Serve a gateway over a scripted registry of a kind: pai, qianfan (v1), or v2."""
    async with AsyncExitStack() as stack:
        registry = await stack.enter_async_context(scripted(**answers))
        configured = pai(registry.url, "r") if kind == "pai" else qianfan(registry.url, "r", api=API[kind])
        sections = {"catalog": catalog or CatalogSettings(), "limits": LimitsSettings(calls=50_000)}
        gateway = await stack.enter_async_context(served(settings(configured, **sections)))
        yield Scene(registry, gateway)


API = {"qianfan": "v1", "v2": "v2"}


def list_in(answer: Answer) -> Any:
    """Return the list in an answer, which may have errors beside it."""
    data = answer.body["data"]
    return data["list"] if "list" in data else next(iter(data.values()))["list"]


@dataclass
class Walk:
    """The pages of a list, from the first to the last: the ids, and the coverage of each page."""

    ids: list[str]
    coverage: list[Row]
    last: Row

    @property
    def states(self) -> list[str]:
        return [one["state"] for one in self.coverage]


async def walk(gateway: Client, query: str, most: int = 100, **arguments: Any) -> Walk:
    """Read all pages, as a client does."""
    ids: list[str] = []
    coverage: list[Row] = []
    after = None
    for _ in range(most):
        page = list_in(await gateway.query(query % COVERAGE, **arguments, after=after))
        ids += [row["id"].rpartition("/")[2] for row in page["nodes"]]
        coverage += page["coverage"]
        if not page["pageInfo"]["hasNextPage"]:
            return Walk(ids, coverage, page)
        assert page["pageInfo"]["endCursor"] not in (None, after)
        after = page["pageInfo"]["endCursor"]
    raise AssertionError("The pages do not end.")


async def errors(gateway: Client, query: str, **arguments: Any) -> list[tuple[str, list[Any]]]:
    """Return the codes and paths of the errors that a client sees that does not select the coverage."""
    answer = await gateway.query(query % "", **arguments)
    return [(error["extensions"]["code"], error["path"]) for error in answer.body.get("errors", ())]


# Pages that are smaller than requested


def numbered_lists(cap: int | None, counts: bool) -> dict[str, tuple[str, str, list[str], dict[str, Script]]]:
    """Lists of 100 rows whose pages have numbers: the kind, the query, the ids in order, and the answers."""
    numbers = range(100)
    by_id = sorted(f"am-{number}" for number in numbers)
    algorithms = [pai_algorithm(number) for number in numbers]
    return {
        "models": (
            "pai",
            MODELS,
            [f"m{number}" for number in numbers],
            {"own_models": pai_pages("Models", [pai_model(number) for number in numbers], cap, counts)},
        ),
        "versions": (
            "pai",
            VERSIONS,
            [f"v{number}" for number in numbers],
            {
                "models_object": lambda parameters: pai_model(1),
                "models_versions": pai_pages("Versions", [pai_version(number) for number in numbers], cap, counts),
            },
        ),
        "algorithms": (
            "pai",
            ALGORITHMS,
            [f"a{number}" for number in numbers],
            {"own_algorithms": pai_pages("Algorithms", algorithms[::-1], cap, counts)},
        ),
        "versions of an algorithm": (
            "pai",
            ALGORITHM_VERSIONS,
            [f"v{number}" for number in numbers],
            {
                "algorithms_object": lambda parameters: pai_algorithm(1),
                "algorithms_versions": pai_pages(
                    "AlgorithmVersions",
                    [{"AlgorithmVersion": f"v{n}", "GmtCreateTime": f"{time_of(n)}Z"} for n in numbers][::-1],
                    cap,
                    counts,
                ),
            },
        ),
        "user models": (
            "qianfan",
            MODELS,
            [f"am-{number}" for number in numbers],
            {
                "userList": qianfan_pages(
                    [qianfan_model(number, createTime=f"{time_of(number)}Z") for number in numbers], cap, counts
                )
            },
        ),
        "preset models": (
            "qianfan",
            MODELS,
            by_id,
            {"presetList": qianfan_pages([qianfan_model(number) for number in numbers], cap, counts)},
        ),
    }


NUMBERED = list(numbered_lists(None, True))


@pytest.mark.parametrize("counts", [True, False], ids=["counted", "not counted"])
@pytest.mark.parametrize("cap", [20, 7, 50])
@pytest.mark.parametrize("name", NUMBERED)
async def test_a_list_ends_when_the_registry_has_sent_all_rows_however_small_its_pages_are(
    name: str, cap: int, counts: bool
) -> None:
    kind, query, ids, answers = numbered_lists(cap, counts)[name]
    async with over(kind, **answers) as scene:
        for first in (50, 33):
            read = await walk(scene.gateway, query, first=first)
            assert read.ids == ids
            assert {*read.states} == {"COMPLETE"}
            assert read.last["totalCount"] in ((100,) if counts else (100, None))
        assert await errors(scene.gateway, query) == []


@pytest.mark.parametrize("name", NUMBERED)
async def test_a_registry_that_skips_the_rows_above_its_page_size_is_not_complete(name: str) -> None:
    """It sends at most 20 rows, but numbers its pages by the size requested: rows 21 to 50 are on no page."""
    kind, query, ids, answers = numbered_lists(None, True)[name]
    list_name = next(reversed(answers))

    def first_rows(parameters: Any) -> Any:
        answer = answers[list_name](parameters)
        for holder in (answer, answer.get("result", {})):
            for key, value in holder.items():
                holder[key] = value[:20] if isinstance(value, list) else value
        return answer

    async with over(kind, **{**answers, list_name: first_rows}) as scene:
        read = await walk(scene.gateway, query)
        assert len(read.ids) == 40
        assert {*read.ids} < {*ids}
        assert read.states[-1] == "PARTIAL"
        assert read.last["coverage"][0]["error"]["code"] == "LIST_INCOMPLETE"


# Pages without rows


@pytest.mark.parametrize("name", ["customModelSetList", "systemModelSetList"])
@pytest.mark.parametrize("empty", [[], [None, None]], ids=["no rows", "nulls"])
async def test_a_page_without_rows_is_not_the_end_while_the_registry_has_a_next_marker(name: str, empty: Any) -> None:
    call = {"customModelSetList": "DescribeCustomModelSets", "systemModelSetList": "DescribeSystemModelSets"}[name]
    pages = chain(empty, [model_set(1)], empty, empty, [model_set(2)], empty)
    async with over("v2", **{call: marked_pages(name, pages)}) as scene:
        read = await walk(scene.gateway, MODELS)
        assert read.ids == ["am-1", "am-2"]
        assert read.states == ["PARTIAL" if empty else "COMPLETE"]
        assert scene.registry.calls[call] == 6


@pytest.mark.parametrize("name", NUMBERED)
async def test_a_page_without_rows_is_not_the_end_while_the_registry_counts_more_rows(name: str) -> None:
    """The second of three pages is empty: the registry counts 100 rows and sends 80 of them."""
    kind, query, _, answers = numbered_lists(40, True)[name]
    list_name = next(reversed(answers))

    def without_the_second(parameters: Any) -> Any:
        answer = answers[list_name](parameters)
        if 2 in (parameters.get("pageNo"), int(parameters.get("PageNumber", 0))):
            for holder in (answer, answer.get("result", {})):
                for key, value in holder.items():
                    holder[key] = [] if isinstance(value, list) else value
        return answer

    async with over(kind, **{**answers, list_name: without_the_second}) as scene:
        read = await walk(scene.gateway, query)
        assert len(read.ids) == 60
        assert read.last["totalCount"] == 100
        assert read.states[-1] == "PARTIAL"


async def test_the_next_marker_is_followed_if_the_registry_does_not_say_whether_the_list_is_truncated() -> None:
    def answer(parameters: Any) -> Any:
        first = "marker" not in parameters
        info = {"nextMarker": "p2"} if first else {}
        return {"result": {"customModelSetList": [model_set(1 if first else 2)], "pageInfo": info}}

    async with over("v2", DescribeCustomModelSets=answer) as scene:
        read = await walk(scene.gateway, MODELS)
        assert (read.ids, read.states) == (["am-1", "am-2"], ["COMPLETE"])


LAST_PAGES: dict[str, Row] = {
    "the documented form": {"pageInfo": {"isTruncated": False}},
    "text": {"pageInfo": {"isTruncated": "false"}},
    "a number": {"pageInfo": {"isTruncated": 0}},
    "an old marker": {"pageInfo": {"isTruncated": False, "nextMarker": "p2"}},
    "an empty marker": {"pageInfo": {"nextMarker": ""}},
    "no information": {},
}
CUT_PAGES: dict[str, Row] = {
    **{f"truncated: {value!r}": {"pageInfo": {"isTruncated": value}} for value in (True, "true", "True", 1, None, [])},
    **{f"an empty marker, {value!r}": {"pageInfo": {"isTruncated": value, "nextMarker": ""}} for value in (True, "x")},
    **{f"a marker that is {value!r}": {"pageInfo": {"nextMarker": value}} for value in ({}, ["p2"], True)},
    **{f"page information that is {value!r}": {"pageInfo": value} for value in (None, [], "x", "", 1)},
}
SETS = {"DescribeCustomModelSets": "customModelSetList", "DescribeSystemModelSets": "systemModelSetList"}


@pytest.mark.parametrize("call", SETS)
@pytest.mark.parametrize("case", LAST_PAGES)
async def test_a_registry_reports_the_last_page_in_several_ways(case: str, call: str) -> None:
    page = {"result": {SETS[call]: [model_set(1)], **LAST_PAGES[case]}}
    async with over("v2", **{call: lambda _: page}) as scene:
        read = await walk(scene.gateway, MODELS)
        assert (read.ids, read.states) == (["am-1"], ["COMPLETE"])
        assert await errors(scene.gateway, MODELS) == []


@pytest.mark.parametrize("call", SETS)
@pytest.mark.parametrize("case", CUT_PAGES)
async def test_a_page_after_which_rows_may_follow_without_a_marker_is_not_complete(case: str, call: str) -> None:
    page = {"result": {SETS[call]: [model_set(1)], **CUT_PAGES[case]}}
    async with over("v2", **{call: lambda _: page}) as scene:
        read = await walk(scene.gateway, MODELS)
        assert (read.ids, read.states) == (["am-1"], ["PARTIAL"])
        assert await errors(scene.gateway, MODELS) == [("LIST_INCOMPLETE", ["list"])]


@pytest.mark.parametrize("truncated", [True, "true", 1, None])
async def test_a_marker_is_followed_whatever_the_type_of_the_flag_beside_it(truncated: Any) -> None:
    def answer(parameters: Any) -> Any:
        last = "marker" in parameters
        info = {"isTruncated": False} if last else {"isTruncated": truncated, "nextMarker": 2}
        return {"result": {"customModelSetList": [model_set(2 if last else 1)], "pageInfo": info}}

    async with over("v2", DescribeCustomModelSets=answer) as scene:
        read = await walk(scene.gateway, MODELS)
        assert (read.ids, read.states) == (["am-1", "am-2"], ["COMPLETE"])


# Lists that never end


ENDLESS = {
    "a marker that refers to its own page": {"": ([model_set(1)], "p2"), "p2": ([model_set(2)], "p2")},
    "markers in a circle": {
        "": ([model_set(1)], "p2"),
        "p2": ([model_set(2)], "p3"),
        "p3": ([model_set(3)], "p2"),
    },
    "markers in a circle without rows": {"": ([model_set(1)], "p2"), "p2": ([], "p3"), "p3": ([], "p2")},
    "new markers of the same rows": chain(*[[model_set(1), model_set(2)]] * 500),
    "a next page without its marker": {"": ([model_set(1)], "")},
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_a_list_of_markers_that_does_not_end_is_cut(name: str) -> None:
    async with over("v2", DescribeCustomModelSets=marked_pages("customModelSetList", ENDLESS[name])) as scene:
        read = await walk(scene.gateway, MODELS)
        assert len(read.ids) == len(set(read.ids)) >= 1
        assert read.states == ["PARTIAL"]
        assert read.last["coverage"][0]["error"]["code"] == "LIST_INCOMPLETE"
        assert scene.registry.calls["DescribeCustomModelSets"] <= 4
        assert await errors(scene.gateway, MODELS) == [("LIST_INCOMPLETE", ["list"])]


@pytest.mark.parametrize("name", NUMBERED)
@pytest.mark.parametrize("total", [None, 1_000_000])
async def test_a_registry_that_sends_the_same_page_for_every_number_is_cut(name: str, total: int | None) -> None:
    kind, query, _, answers = numbered_lists(None, True)[name]
    list_name = next(reversed(answers))

    def first_page(parameters: Any) -> Any:
        numbers = {key: 1 if key in ("PageNumber", "pageNo") else value for key, value in parameters.items()}
        answer = answers[list_name](numbers)
        for holder, key in ((answer, "TotalCount"), (answer.get("result", {}), "total")):
            if key in holder:
                holder[key] = total
        return answer

    async with over(kind, **{**answers, list_name: first_page}) as scene:
        read = await walk(scene.gateway, query)
        assert len(read.ids) == len(set(read.ids)) == 50
        assert read.states[-1] == "PARTIAL"
        assert sum(scene.registry.calls.values()) <= 25


@pytest.mark.parametrize("name", NUMBERED)
async def test_a_registry_that_counts_rows_that_it_never_sends_is_not_asked_for_all_of_their_pages(name: str) -> None:
    kind, query, ids, answers = numbered_lists(None, True)[name]
    list_name = next(reversed(answers))

    def boasting(parameters: Any) -> Any:
        answer = answers[list_name](parameters)
        for holder, key in ((answer, "TotalCount"), (answer.get("result", {}), "total")):
            if key in holder:
                holder[key] = 2_000_000
        return answer

    async with over(kind, CatalogSettings(scan_rows=1000), **{**answers, list_name: boasting}) as scene:
        read = await walk(scene.gateway, query)
        assert read.ids == ids
        assert read.states[-1] == "PARTIAL"
        assert sum(scene.registry.calls.values()) <= 60


@pytest.mark.parametrize("total", [0, 3, -1])
@pytest.mark.parametrize("name", NUMBERED)
async def test_a_count_below_the_number_of_rows_sent_is_not_believed(name: str, total: int) -> None:
    kind, query, ids, answers = numbered_lists(None, True)[name]
    list_name = next(reversed(answers))

    def modest(parameters: Any) -> Any:
        answer = answers[list_name](parameters)
        for holder, key in ((answer, "TotalCount"), (answer.get("result", {}), "total")):
            if key in holder:
                holder[key] = total
        return answer

    async with over(kind, **{**answers, list_name: modest}) as scene:
        read = await walk(scene.gateway, query)
        assert read.ids == ids
        assert {*read.states} == {"COMPLETE"}
        assert read.last["totalCount"] in (None, 100)


# Rows that are left out


@pytest.mark.parametrize("odd", [None, "text", {}], ids=["null", "text", "no id"])
@pytest.mark.parametrize("name", NUMBERED)
async def test_a_list_with_a_row_that_has_no_id_is_not_complete(name: str, odd: Any) -> None:
    kind, query, ids, answers = numbered_lists(None, True)[name]
    list_name = next(reversed(answers))

    def with_an_odd_row(parameters: Any) -> Any:
        answer = answers[list_name](parameters)
        for holder in (answer, answer.get("result", {})):
            for value in holder.values():
                if isinstance(value, list) and value:
                    value[len(value) // 2] = odd
        return answer

    async with over(kind, **{**answers, list_name: with_an_odd_row}) as scene:
        read = await walk(scene.gateway, query)
        assert len(read.ids) == 98
        assert {*read.ids} < {*ids}
        assert {*read.states} == {"PARTIAL"}
        assert read.last["totalCount"] == 100
        path = ["list"] if query in (MODELS, ALGORITHMS) else [query.split("(id")[0].split()[-1], "list"]
        assert await errors(scene.gateway, query) == [("LIST_INCOMPLETE", path)]


async def test_a_catalogue_with_an_entry_that_has_no_key_is_not_complete() -> None:
    scales = [{"parameterScale": "LoRA"}, {"parameterScale": None}, None]
    mode = {"trainMode": "SFT", "supportParameterScale": scales}
    catalogue = [{"model": "ERNIE", "supportTrainMode": [mode, "?"]}, None]
    async with over("qianfan", DescribeFineTuningSupportModels=lambda _: {"result": catalogue}) as scene:
        read = await walk(scene.gateway, ALGORITHMS)
        assert len(read.ids) == 1
        assert read.states == ["PARTIAL"]
        assert await errors(scene.gateway, ALGORITHMS) == [("LIST_INCOMPLETE", ["list"])]


ODD_CATALOGUES: dict[str, Any] = {
    f"{key} is {value!r}": value_in
    for value in ("x", {"parameterScale": "LoRA"}, 1, "")
    for key, value_in in {
        "supportTrainMode": {"model": "ODD", "supportTrainMode": value},
        "supportParameterScale": {
            "model": "ODD",
            "supportTrainMode": [{"trainMode": "SFT", "supportParameterScale": value}],
        },
    }.items()
}


@pytest.mark.parametrize("case", ODD_CATALOGUES)
async def test_a_catalogue_with_another_value_in_place_of_a_list_is_not_complete(case: str) -> None:
    mode = {"trainMode": "SFT", "supportParameterScale": [{"parameterScale": "LoRA"}]}
    catalogue = [{"model": "ERNIE", "supportTrainMode": [mode]}, ODD_CATALOGUES[case]]
    async with over("qianfan", DescribeFineTuningSupportModels=lambda _: {"result": catalogue}) as scene:
        read = await walk(scene.gateway, ALGORITHMS)
        assert (len(read.ids), read.states) == (1, ["PARTIAL"])
        assert await errors(scene.gateway, ALGORITHMS) == [("LIST_INCOMPLETE", ["list"])]


VERSION = {"modelVersionId": 7, "modelVersionIdStr": "amv-7", "version": "1", "createTime": "2026-01-01T00:00:00Z"}
SHORT_LISTS: dict[str, tuple[str, str, Row, list[str]]] = {
    **{
        f"v1 versions that are {value!r}": ("qianfan", "modelDetail", {"modelVersionList": value}, [])
        for value in ({"a": VERSION}, {}, "x", "", 1)
    },
    "v1 versions with a null": ("qianfan", "modelDetail", {"modelVersionList": [VERSION, None]}, ["amv-7"]),
    "v1 fewer versions than counted": (
        "qianfan",
        "modelDetail",
        {"modelVersionList": [VERSION], "versionCount": 5},
        ["amv-7"],
    ),
    "v1 no versions, but counted": ("qianfan", "modelDetail", {"modelVersionList": None, "versionCount": 2}, []),
    **{
        f"v2 ids that are {value!r}": ("v2", "DescribeModelSet", {"modelIds": value, "modelNames": ["1"]}, [])
        for value in ("x", "", {"amv-7": 1}, 1)
    },
    "v2 no ids, but names": ("v2", "DescribeModelSet", {"modelIds": None, "modelNames": ["1"]}, []),
    "v2 more names than ids": (
        "v2",
        "DescribeModelSet",
        {"modelIds": ["amv-7"], "modelNames": ["1", "2"]},
        ["amv-7"],
    ),
    "v2 an id that is null": ("v2", "DescribeModelSet", {"modelIds": ["amv-7", None]}, ["amv-7"]),
}
VERSIONS_OF_A_SET = """{ model(id: "r:model/am-1") { list: versions(first: 50) {
  nodes { id } pageInfo { hasNextPage } totalCount %s } } }"""


@pytest.mark.parametrize("case", SHORT_LISTS)
async def test_a_list_of_versions_inside_an_object_is_not_complete_if_some_are_missing(case: str) -> None:
    kind, call, members, ids = SHORT_LISTS[case]
    model = model_set(1) if kind == "v2" else {"modelId": 1, "modelIdStr": "am-1", "modelName": "n1"}
    async with over(kind, **{call: lambda _: {"result": {**model, **members}}}) as scene:
        answer = await scene.gateway.query(VERSIONS_OF_A_SET % COVERAGE)
        [coverage] = list_in(answer)["coverage"]
        assert [row["id"].rpartition("/")[2] for row in list_in(answer)["nodes"]] == ids
        assert (coverage["state"], coverage["error"]["code"]) == ("PARTIAL", "LIST_INCOMPLETE")
        assert await errors(scene.gateway, VERSIONS_OF_A_SET) == [("LIST_INCOMPLETE", ["model", "list"])]
        latest = await scene.gateway.query('{ model(id: "r:model/am-1") { latestVersion { id } } }')
        assert latest.body["data"] == {"model": {"latestVersion": None}}
        assert latest.codes == ["LIST_INCOMPLETE"]


@pytest.mark.parametrize(
    ("kind", "call", "members"),
    [
        ("qianfan", "modelDetail", {"modelVersionList": None}),
        ("qianfan", "modelDetail", {"modelVersionList": [], "versionCount": 0}),
        ("v2", "DescribeModelSet", {"modelIds": None, "modelNames": None}),
    ],
)
async def test_an_object_without_versions_has_a_complete_list(kind: str, call: str, members: Row) -> None:
    model = model_set(1) if kind == "v2" else {"modelId": 1, "modelIdStr": "am-1", "modelName": "n1"}
    async with over(kind, **{call: lambda _: {"result": {**model, **members}}}) as scene:
        assert list_in(await scene.gateway.query(VERSIONS_OF_A_SET % COVERAGE))["coverage"][0]["state"] == "COMPLETE"
        assert await errors(scene.gateway, VERSIONS_OF_A_SET) == []
        latest = await scene.gateway.query('{ model(id: "r:model/am-1") { latestVersion { id } } }')
        assert latest.body == {"data": {"model": {"latestVersion": None}}}


# Limits of the gateway


async def test_a_search_that_a_limit_cuts_is_partial_has_an_error_and_goes_on() -> None:
    """The five oldest of 2,500 models have the wanted owner."""
    rows = [pai_model(number, UserId="colleague" if number >= 2495 else "others") for number in range(2500)]
    async with over("pai", own_models=pai_pages("Models", rows)) as scene:
        wanted = {"owner": "colleague"}
        first = await scene.gateway.query(MODELS % "", filter=wanted)
        assert list_in(first)["nodes"] == []
        assert list_in(first)["pageInfo"]["hasNextPage"]
        [error] = first.body["errors"]
        assert (error["path"], error["extensions"]["code"]) == (["list"], "LIST_INCOMPLETE")
        assert error["extensions"]["registry"] == "r"

        read = await walk(scene.gateway, MODELS, filter=wanted)
        assert read.ids == [f"m{number}" for number in range(2495, 2500)]
        assert read.states == ["PARTIAL", "PARTIAL", "COMPLETE"]
        assert [one["rowsRead"] for one in read.coverage] == [1000, 1000, 600]


CUT: dict[str, tuple[str, str, dict[str, Any], dict[str, Script]]] = {
    "a filter in the order of the registry": (
        "pai",
        MODELS,
        {"filter": {"owner": "w"}},
        {"own_models": pai_pages("Models", [pai_model(n, UserId="w" if n % 50 == 7 else "o") for n in range(500)])},
    ),
    "an order that the registry does not have": (
        "pai",
        MODELS,
        {"orderBy": {"field": "NAME", "direction": "ASC"}},
        {"own_models": pai_pages("Models", [pai_model(number) for number in range(500)])},
    ),
    "an order and a filter that few rows pass": (
        "pai",
        MODELS,
        {"orderBy": {"field": "UPDATED_AT", "direction": "ASC"}, "filter": {"owner": "w"}},
        {"own_models": pai_pages("Models", [pai_model(n, UserId="w" if n > 495 else "o") for n in range(500)])},
    ),
    "a list without an order": (
        "qianfan",
        MODELS,
        {},
        {"presetList": qianfan_pages([qianfan_model(number) for number in range(500)])},
    ),
    "a list without an order and a count": (
        "qianfan",
        MODELS,
        {},
        {"presetList": qianfan_pages([qianfan_model(number) for number in range(500)], 30, counts=False)},
    ),
    "a list of markers": (
        "v2",
        MODELS,
        {},
        {
            "DescribeCustomModelSets": marked_pages(
                "customModelSetList", chain(*[[model_set(n * 10 + i) for i in range(10)] for n in range(50)])
            )
        },
    ),
    "a list of markers with a filter that few rows pass": (
        "v2",
        MODELS,
        {"filter": {"nameEquals": "n499"}},
        {
            "DescribeCustomModelSets": marked_pages(
                "customModelSetList", chain(*[[model_set(n * 10 + i) for i in range(10)] for n in range(50)])
            )
        },
    ),
    "algorithms": (
        "pai",
        ALGORITHMS,
        {},
        {"own_algorithms": pai_pages("Algorithms", [pai_algorithm(number) for number in range(500)])},
    ),
    "versions with a filter": (
        "pai",
        VERSIONS,
        {"filter": {"label": {"key": "k", "value": "w"}}},
        {
            "models_object": lambda parameters: pai_model(1),
            "models_versions": pai_pages(
                "Versions",
                [
                    pai_version(n, Labels=[{"Key": "k", "Value": "w" if n in (3, 180, 499) else "o"}])
                    for n in range(500)
                ],
            ),
        },
    ),
    "versions without an order": (
        "pai",
        ALGORITHM_VERSIONS,
        {},
        {
            "algorithms_object": lambda parameters: pai_algorithm(1),
            "algorithms_versions": pai_pages("AlgorithmVersions", [{"AlgorithmVersion": f"v{n}"} for n in range(500)]),
        },
    ),
    "a filter that costs a call for each row": (
        "qianfan",
        MODELS,
        {"filter": {"framework": "PYTORCH"}},
        {
            "userList": qianfan_pages(
                [qianfan_model(n, createTime=f"{time_of(n)}Z", versionCount=1) for n in range(500)]
            ),
            "modelDetail": lambda parameters: {
                "result": {
                    "modelId": 1,
                    "modelIdStr": parameters["modelId"],
                    "modelVersionList": [
                        {
                            "modelVersionId": 1,
                            "modelVersionIdStr": "amv-1",
                            "framework": "Pytorch" if parameters["modelId"] in ("am-3", "am-499") else "paddle",
                        }
                    ],
                }
            },
        },
    ),
}


@pytest.mark.parametrize("name", CUT)
async def test_a_list_that_a_limit_cuts_goes_on_to_its_last_row(name: str) -> None:
    kind, query, arguments, answers = CUT[name]
    async with over(kind, CatalogSettings(scan_rows=100_000, scan_detail_rows=10_000), **answers) as scene:
        whole = await walk(scene.gateway, query, **arguments)
        assert {*whole.states} == {"COMPLETE"}
    async with over(kind, CatalogSettings(scan_rows=100, scan_detail_rows=100), **answers) as scene:
        first = await scene.gateway.query(query % "", **arguments)
        [error] = first.body["errors"]
        assert error["extensions"]["code"] == "LIST_INCOMPLETE"
        assert list_in(first)["pageInfo"]["hasNextPage"]
        assert list_in(first)["pageInfo"]["endCursor"] is not None
        read = await walk(scene.gateway, query, **arguments)
        assert sorted(read.ids) == sorted(whole.ids)
        assert "PARTIAL" in read.states
        assert read.states[-1] == "COMPLETE"


async def test_each_list_of_versions_that_a_limit_cuts_has_an_error_at_its_own_path() -> None:
    models = [pai_model(number) for number in range(3)]

    def versions(parameters: Any) -> Any:
        return pai_pages("Versions", [pai_version(n, Labels=[{"Key": "k", "Value": "o"}]) for n in range(300)])(
            parameters
        )

    query = """{ models(first: 3) { edges { node { id
      some: versions(filter: {label: {key: "k", value: "w"}}) { nodes { id } pageInfo { hasNextPage endCursor } }
      all: versions { nodes { name } } } } } }"""
    async with over(
        "pai", CatalogSettings(scan_rows=100), own_models=pai_pages("Models", models), models_versions=versions
    ) as scene:
        answer = await scene.gateway.query(query)
        assert [error["path"] for error in answer.body["errors"]] == [
            ["models", "edges", place, "node", "some"] for place in range(3)
        ]
        assert {*answer.codes} == {"LIST_INCOMPLETE"}
        for edge in answer.body["data"]["models"]["edges"]:
            assert edge["node"]["some"]["nodes"] == []
            assert edge["node"]["some"]["pageInfo"]["hasNextPage"]
            assert edge["node"]["some"]["pageInfo"]["endCursor"] is not None
            assert len(edge["node"]["all"]["nodes"]) == 20
        assert answer.headers["cache-control"] == "no-store"


async def test_a_deferred_list_of_versions_that_a_limit_cuts_has_its_error_in_the_payload() -> None:
    rows = [pai_version(n, Labels=[{"Key": "k", "Value": "o"}]) for n in range(300)]
    query = """{ model(id: "r:model/m1") { name ... @defer {
      versions(filter: {label: {key: "k", value: "w"}}) { nodes { id } } } } }"""
    async with over(
        "pai",
        CatalogSettings(scan_rows=100),
        models_object=lambda parameters: pai_model(1),
        models_versions=pai_pages("Versions", rows),
    ) as scene:
        headers = {"Accept": "multipart/mixed, application/json"}
        answer = await scene.gateway.request("POST", json={"query": query}, headers=headers)
        assert '"LIST_INCOMPLETE"' in answer.body
        assert '"path":["model","versions"]' in answer.body.replace(" ", "")


@pytest.mark.parametrize("after", ["", None])
async def test_an_empty_cursor_is_the_first_page(after: str | None) -> None:
    async with over("pai", own_models=pai_pages("Models", [pai_model(number) for number in range(9)])) as scene:
        query = (
            "query ($after: String) { models(first: 3, after: $after) { nodes { id } pageInfo { hasPreviousPage } } }"
        )
        page = (await scene.gateway.query(query, after=after)).data["models"]
        assert [row["id"] for row in page["nodes"]] == ["r:model/m0", "r:model/m1", "r:model/m2"]
        assert not page["pageInfo"]["hasPreviousPage"]


# Objects that are on a later page of a list


@pytest.mark.parametrize("cap", [20, 50])
@pytest.mark.parametrize("counts", [True, False])
async def test_the_latest_version_of_an_algorithm_is_found_on_any_page(cap: int, counts: bool) -> None:
    """The list of versions has no documented order. Here the newest is on the last page."""
    rows = [{"AlgorithmVersion": f"v{n}", "GmtCreateTime": f"{time_of(n)}Z"} for n in range(70)][::-1]
    async with over(
        "pai",
        own_algorithms=pai_pages("Algorithms", [pai_algorithm(1)]),
        algorithms_object=lambda parameters: pai_algorithm(1),
        algorithms_versions=pai_pages("AlgorithmVersions", rows, cap, counts),
    ) as scene:
        query = """{ algorithm(id: "r:algorithm/a1") { latestVersion { id name } }
          algorithms { nodes { latestVersion { id name } } } }"""
        data = (await scene.gateway.query(query)).data
        newest = {"id": "r:algorithm/a1/version/v0", "name": "v0"}
        assert data["algorithm"]["latestVersion"] == newest
        assert [row["latestVersion"] for row in data["algorithms"]["nodes"]] == [newest]


async def test_the_latest_version_is_an_error_if_the_list_of_versions_is_incomplete() -> None:
    rows = [{"AlgorithmVersion": f"v{n}"} for n in range(70)]

    def first_page(parameters: Any) -> Any:
        return pai_pages("AlgorithmVersions", rows)({**parameters, "PageNumber": 1})

    async with over(
        "pai", algorithms_object=lambda parameters: pai_algorithm(1), algorithms_versions=first_page
    ) as scene:
        answer = await scene.gateway.query('{ algorithm(id: "r:algorithm/a1") { latestVersion { name } } }')
        assert answer.body["data"] == {"algorithm": {"latestVersion": None}}
        assert answer.codes == ["LIST_INCOMPLETE"]


@pytest.mark.parametrize(
    ("wanted", "found", "codes"),
    [("train", "r:algorithm/a65", []), ("trai", None, []), ("lost", None, ["LIST_INCOMPLETE"])],
)
async def test_an_algorithm_that_a_version_was_trained_with_is_found_on_any_page(
    wanted: str, found: str | None, codes: list[str]
) -> None:
    """The filter by name matches loosely: the wanted algorithm is on the second page. A list that ends too early proves
    nothing."""
    names = ["training" if n != 65 else "train" for n in range(70)]
    rows = [{"AlgorithmId": f"a{n}", "AlgorithmName": name, "AlgorithmProvider": "pai"} for n, name in enumerate(names)]
    version = pai_version(1, TrainingSpec={"AlgorithmName": wanted, "AlgorithmProvider": "pai"})

    def algorithms(parameters: Any) -> Any:
        answer = pai_pages("Algorithms", rows)(parameters)
        return answer | ({"TotalCount": 80} if parameters["AlgorithmName"] == "lost" else {})

    async with over(
        "pai",
        models_object=lambda parameters: pai_model(1),
        models_versions=pai_pages("Versions", [version]),
        public_algorithms=algorithms,
    ) as scene:
        query = '{ model(id: "r:model/m1") { versions { nodes { trainedWith { algorithm { id } } } } } }'
        answer = await scene.gateway.query(query)
        [node] = answer.body["data"]["model"]["versions"]["nodes"]
        assert node["trainedWith"] == [{"algorithm": None if found is None else {"id": found}}]
        assert answer.codes == codes
