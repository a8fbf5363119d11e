"""Pages whose counts, repeats or times are odd: a list is complete only if every row of it is delivered."""

from typing import Any

import pytest

from tests.scripted_registry import (
    Parameters,
    Script,
    numbered,
    pai_model,
    pai_pages,
    pai_version,
    qianfan_model,
    time_of,
)
from tests.test_ends_of_lists import MODELS, errors, over, walk

INCOMPLETE = [("LIST_INCOMPLETE", ["list"])]
ODD_TIMES = [None, "soon", 7, "0001-01-01T00:00:00Z"]


def pages(rows: list[Any], *totals: Any) -> Script:
    """A list of PAI with a count of its own on each page."""

    def answer(parameters: Parameters) -> Any:
        number = int(parameters["PageNumber"])
        page = numbered(rows, number, int(parameters["PageSize"]), None)
        return {"Models": page, "TotalCount": totals[min(number, len(totals)) - 1]}

    return answer


async def test_a_count_stays_known_when_a_later_page_has_none() -> None:
    rows = [pai_model(number) for number in range(50)]
    async with over("pai", own_models=pages(rows, 100, None)) as scene:
        walked = await walk(scene.gateway, MODELS)
        assert (len(walked.ids), walked.states[-1]) == (50, "PARTIAL")
        assert await errors(scene.gateway, MODELS, first=100) == INCOMPLETE


async def test_a_row_that_comes_twice_on_one_page_counts_once() -> None:
    rows = [pai_model(0), pai_model(0), pai_model(2)]
    async with over("pai", own_models=pages(rows, 3)) as scene:
        walked = await walk(scene.gateway, MODELS)
        assert (walked.ids, walked.states) == (["m0", "m2"], ["PARTIAL"])


async def test_rows_that_overlap_on_two_pages_count_once_over_several_requests() -> None:
    """Each page begins with the last twenty rows of the page before."""
    rows = [pai_model(number) for number in range(100)]

    def overlapping(parameters: Parameters) -> Any:
        start = (int(parameters["PageNumber"]) - 1) * 30
        return {"Models": rows[start : start + 50], "TotalCount": 100}

    async with over("pai", own_models=overlapping) as scene:
        walked = await walk(scene.gateway, MODELS, first=20)
        assert walked.ids == [row["ModelId"] for row in rows] or walked.states[-1] == "PARTIAL"


@pytest.mark.parametrize("odd", ODD_TIMES)
@pytest.mark.parametrize("first", [20, 50])
async def test_a_row_without_a_time_keeps_its_place_in_a_sorted_list(odd: Any, first: int) -> None:
    rows = [pai_model(number) for number in range(101)]
    rows[10] = pai_model(10, GmtCreateTime=odd)
    async with over("pai", own_models=pai_pages("Models", rows)) as scene:
        walked = await walk(scene.gateway, MODELS, first=first)
        assert sorted(walked.ids) == sorted(row["ModelId"] for row in rows)
        assert walked.states[-1] == "COMPLETE"


async def test_a_row_without_a_time_does_not_end_a_range_of_time() -> None:
    rows = [pai_model(number) for number in range(60)]
    rows[49] = pai_model(49, GmtCreateTime=None)
    async with over("pai", own_models=pai_pages("Models", rows)) as scene:
        walked = await walk(scene.gateway, MODELS, filter={"createdAt": {"from": "2000-01-01T00:00:00Z"}})
        assert len(walked.ids) == 59


@pytest.mark.parametrize("at", [0, 229])
async def test_a_list_whose_rows_are_out_of_order_is_not_complete(at: int) -> None:
    rows = [pai_model(number) for number in range(230)]
    rows[at] = pai_model(at, GmtCreateTime=f"{time_of(500 if at == 0 else -500)}Z")
    async with over("pai", own_models=pai_pages("Models", rows)) as scene:
        walked = await walk(scene.gateway, MODELS)
        assert len(set(walked.ids)) == 230 or "PARTIAL" in walked.states


async def test_an_unsorted_list_has_the_rows_without_a_time_at_its_end() -> None:
    rows = [qianfan_model(number, createTime=f"{time_of(number)}Z") for number in range(20)]
    rows[3] = qianfan_model(3, createTime=None)

    def answer(parameters: Parameters) -> Any:
        page = numbered(rows, parameters["pageNo"], parameters["pageSize"], None)
        return {"result": {"items": page, "total": len(rows)}}

    async with over("qianfan", userList=answer) as scene:
        walked = await walk(scene.gateway, MODELS, first=7)
        assert sorted(walked.ids) == sorted(f"am-{number}" for number in range(20))


@pytest.mark.parametrize("cursors", ["", "pageInfo { endCursor }"])
async def test_versions_have_one_order_whether_their_cursors_are_selected_or_not(cursors: str) -> None:
    """A page without cursors is built from the answer alone."""
    versions = [pai_version(number) for number in range(20)]
    versions[5] = pai_version(5, GmtCreateTime=None)
    query = f'{{ model(id: "r:model/m1") {{ versions(first: 20) {{ nodes {{ name }} {cursors} }} }} }}'
    async with over(
        "pai", models_object=lambda _: pai_model(1), models_versions=pai_pages("Versions", versions)
    ) as scene:
        answer = await scene.gateway.query(query)
        assert [row["name"] for row in answer.data["model"]["versions"]["nodes"]] == [f"v{n}" for n in range(20)]
