"""The totals of lists: exact, or at least, and the same for every page size."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gateway import twins
from gateway.catalog.ids import Ref
from gateway.catalog.lists import total
from gateway.catalog.merge import Page, StreamReader, merge
from gateway.config.settings import CatalogSettings, LimitsSettings
from gateway.errors import RegistryUnavailable
from gateway.twins import Corpus
from tests.conftest import Client, mlflow, pai, qianfan, served, settings
from tests.test_pages import Row, clouds_of

TOTALS = """query ($first: Int!, $after: String, $filter: ModelFilter, $orderBy: ModelOrder) {
  models(first: $first, after: $after, filter: $filter, orderBy: $orderBy) {
    nodes { id } pageInfo { hasNextPage endCursor } totalCount total { count relation }
    coverage { registry { name } state totalCount } } }"""


def counted(page: Row) -> tuple[Any, ...]:
    return page["totalCount"], page["total"], [one["totalCount"] for one in page["coverage"]]


async def totals_of_every_page_size(gateway: Client, **arguments: Any) -> tuple[Any, ...]:
    """Return the totals of a list, which are the same for each page size."""
    pages = [(await gateway.query(TOTALS, first=first, **arguments)).data["models"] for first in (1, 5, 20, 100)]
    found = [counted(page) for page in pages]
    assert found == [found[0]] * 4
    return found[0]


FILTERS: list[Row] = [
    {},
    {"framework": "PYTORCH"},
    {"approvals": ["APPROVED", "REJECTED"]},
    {"nameContains": "qwen"},
    {"search": "qwen instruct"},
    {"type": "lora"},
    {"createdAt": {"from": "2024-03-01T00:00:00Z"}},
    {"createdAt": {"from": "2024-01-15T00:00:00Z", "to": "2024-04-01T00:00:00Z"}, "ownership": "OWN"},
    {"registries": ["mlflow"], "labels": {"anyOf": [{"key": "team"}, {"key": "task"}]}},
]
ORDERS: list[Mapping[str, str] | None] = [
    None,
    {"field": "CREATED_AT", "direction": "ASC"},
    {"field": "UPDATED_AT", "direction": "DESC"},
    {"field": "NAME", "direction": "ASC"},
]


async def test_totals_are_exact_and_do_not_depend_on_the_page_size() -> None:
    async with AsyncExitStack() as stack:
        twin = await stack.enter_async_context(twins.serving(corpus=Corpus(120, mlflow_models=60)))
        registries = pai(twin.url), qianfan(twin.url), mlflow(twin.url)
        gateway = await stack.enter_async_context(served(settings(*registries)))
        for wanted in FILTERS:
            for order in ORDERS:
                total_count, total, parts = await totals_of_every_page_size(gateway, filter=wanted, orderBy=order)
                found: list[str] = []
                after = None
                while True:
                    variables = {"first": 100, "after": after, "filter": wanted, "orderBy": order}
                    page = (await gateway.query(TOTALS, **variables)).data["models"]
                    found += [row["id"] for row in page["nodes"]]
                    assert page["totalCount"] in (None, len(found), total_count)
                    after = page["pageInfo"]["endCursor"]
                    if not page["pageInfo"]["hasNextPage"]:
                        break
                assert total_count == len(found) == sum(parts), (wanted, order)
                assert total == {"count": total_count, "relation": "EXACT"}


@pytest.mark.parametrize("wanted", [{"approval": "APPROVED"}, {"search": "qwen"}, {"frameworks": ["PYTORCH", "KERAS"]}])
async def test_a_list_that_is_longer_than_a_scan_has_at_least_as_many_rows_as_the_scan_found(wanted: Row) -> None:
    async with clouds_of(Corpus(1_000), CatalogSettings(scan_rows=200, scan_detail_rows=20)) as world:
        wanted = {**wanted, "registries": ["pai"]}
        total_count, total, _ = await totals_of_every_page_size(world.gateway, filter=wanted)
        assert total_count is None
        assert total["relation"] == "AT_LEAST"
    async with clouds_of(Corpus(1_000), CatalogSettings(scan_rows=10_000)) as world:
        everything = await totals_of_every_page_size(world.gateway, filter=wanted)
        assert everything[1]["relation"] == "EXACT"
        assert 0 < total["count"] < everything[0]


async def test_a_total_is_read_only_if_it_is_selected() -> None:
    async with clouds_of(Corpus(1_000)) as world:
        query = '{ models(first: 1, filter: {registries: ["pai"], approval: APPROVED}) { nodes { id } %s } }'
        await world.gateway.query(query % "")
        assert world.calls() == {"ListModels": 2}
        await world.gateway.query(query % "total { relation }")
        assert world.calls() == {"ListModels": 11}


async def test_a_count_that_fails_on_a_later_page_is_reported() -> None:
    """The rows of the first page are there, and are a part of the count."""

    async def fetch_page(at: int | str) -> Page:
        if at != 1:
            raise RegistryUnavailable("pai")
        rows = [((0, number, f"id-{number}"), Ref("pai", "Model", (f"m{number}",))) for number in range(4)]
        return Page(rows[:3], [key[2] for key, _ in rows], (rows[0][0], rows[-1][0]), 4, 100, 2)

    reader = StreamReader("pai", "pai/own", fetch_page, sorted=True, max_rows=1000, exact=False)
    merged = await merge([reader], 1)
    assert (len(merged.rows), reader.failure) == (1, None)
    await reader.count()
    assert isinstance(reader.failure, RegistryUnavailable)
    assert total([reader]) == {"count": 3, "relation": "AT_LEAST"}


async def test_versions_have_totals_that_do_not_depend_on_the_page_size() -> None:
    corpus = Corpus(100, mlflow_models=30)
    async with AsyncExitStack() as stack:
        twin = await stack.enter_async_context(twins.serving(corpus=corpus))
        registries = pai(twin.url), qianfan(twin.url), mlflow(twin.url)
        gateway = await stack.enter_async_context(served(settings(*registries, limits=LimitsSettings(calls=10_000))))
        query = """query ($first: Int!, $filter: ModelVersionFilter) { models(first: 100) { nodes { id
          versions(first: $first, filter: $filter) { totalCount total { count relation } } } } }"""
        for wanted in (None, {"frameworks": ["PYTORCH", "KERAS"]}, {"readiness": "READY"}, {"approval": "APPROVED"}):
            found = [
                {
                    row["id"]: row["versions"]
                    for row in (await gateway.query(query, first=first, filter=wanted)).data["models"]["nodes"]
                }
                for first in (1, 3, 100)
            ]
            assert found == [found[0]] * 3
            for versions in found[0].values():
                assert versions["total"] == {"count": versions["totalCount"], "relation": "EXACT"}
