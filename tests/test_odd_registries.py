"""Random registries whose lists are capped, empty, shifting, repeated or self-referring, over HTTP.

`ODD_EXAMPLES=2000` with `--timeout 0` runs the test for longer.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gateway.config.settings import CatalogSettings, LimitsSettings
from tests.conftest import Client, pai, qianfan, served, settings
from tests.scripted_registry import Parameters, Row, ScriptedRegistry, model_set, pai_model, qianfan_model, scripted

EXAMPLES: Final = int(os.environ.get("ODD_EXAMPLES", "40"))
LIMITS: Final = (50, 1000)
"""The values of `catalog.scan_rows`."""
KINDS: Final = ("pai", "qianfan", "v2")
NEWEST, OLDEST, BY_NAME = [
    {"field": name, "direction": direction}
    for name, direction in (("CREATED_AT", "DESC"), ("CREATED_AT", "ASC"), ("NAME", "ASC"))
]

QUERY = """query ($first: Int!, $after: String, $orderBy: ModelOrder) {
  models(first: $first, after: $after, orderBy: $orderBy) {
    nodes { id } pageInfo { hasNextPage endCursor } totalCount
    coverage { state rowsRead totalCount error { code } } } }"""


@dataclass
class OddList:
    """A list and what is odd about it.

    ``cap`` is the largest number of rows on a page. ``count`` is what the registry counts: the number of rows and this
    surplus, or a number that is wrong in any case (as text), or nothing (None). The rows at the positions in ``odd``
    have no id. Pages in ``empty`` have no rows: in a list of markers they come before the page, in others in its place.
    Each page after ``clamp`` has the rows, or leads to the page, of ``clamp``. A list of markers may be ``unmarked``:
    its last page announces another one. At each call in ``changes`` a row is inserted (True) or deleted (False).
    """

    size: int
    cap: int
    count: int | str | None = 0
    odd: Mapping[int, Any] = field(default_factory=dict)
    empty: frozenset[int] = frozenset()
    clamp: int | None = None
    unmarked: bool = False
    changes: Mapping[int, bool] = field(default_factory=dict)
    calls: int = 0

    def rows(self) -> list[int]:
        """Return the numbers of the rows, newest first, after the changes so far."""
        numbers = list(range(self.size))
        for call, is_insert in sorted(self.changes.items()):
            if call < self.calls:
                numbers = [-1 - call, *numbers] if is_insert else numbers[1:]
        return numbers

    @property
    def stable(self) -> set[int]:
        """The rows with an id that are there before and after all changes."""
        deleted = sum(not is_insert for is_insert in self.changes.values())
        return {*range(deleted, self.size)} - {*self.odd}

    def is_odd(self, is_marked: bool) -> bool:
        """Whether the registry breaks a promise of its own. Small and empty pages are none."""
        wrong = self.count != 0 and self.count is not None and not (is_marked or isinstance(self.count, str))
        return bool(self.odd or self.clamp or self.unmarked or self.changes or wrong or (self.empty and not is_marked))

    def page(self, number: int, size: int, is_ascending: bool) -> tuple[list[int], int | None]:
        """Return the rows of a numbered page, and the count."""
        rows = self.rows()
        self.calls += 1
        size = min(size, self.cap)
        number = number if self.clamp is None else min(number, self.clamp)
        listed = rows[::-1] if is_ascending else rows
        found = [] if number in self.empty else listed[(number - 1) * size : number * size]
        count = self.count if self.count is None else len(rows) + self.count if type(self.count) is int else self.count
        return found, None if count is None else int(count)

    def marked(self, marker: str) -> tuple[list[int], str | None, bool]:
        """Return the rows of a marked page, the next marker, and whether there is another page."""
        self.calls += 1
        pages: list[list[int]] = []
        for at in range(0, max(self.size, 1), self.cap):
            pages += [[]] * (at // self.cap + 1 in self.empty) + [list(range(self.size))[at : at + self.cap]]
        at = int(marker or 0)
        following = at + 1 if at + 1 < len(pages) else None
        if self.clamp is not None and at >= self.clamp:
            following = min(self.clamp, len(pages) - 1)
        is_truncated = following is not None or self.unmarked
        return pages[at], None if following is None else str(following), is_truncated


@dataclass
class Gateways:
    """A gateway for each kind of registry and each limit, over one scripted registry for each kind."""

    loop: asyncio.AbstractEventLoop
    clients: dict[tuple[str, int], Client]
    registries: dict[str, ScriptedRegistry]

    def walk(self, kind: str, limit: int, arguments: Mapping[str, Any]) -> list[Row]:
        return self.loop.run_until_complete(walk(self.clients[kind, limit], arguments))


async def walk(client: Client, arguments: Mapping[str, Any]) -> list[Row]:
    """Return all pages of a list, as a client reads them."""
    pages: list[Row] = []
    cursors: set[str | None] = {None}
    while len(pages) < 400:
        after = pages[-1]["pageInfo"]["endCursor"] if pages else None
        page: Row = (await client.query(QUERY, **arguments, after=after)).data["models"]
        pages.append(page)
        if not page["pageInfo"]["hasNextPage"]:
            return pages
        assert page["pageInfo"]["endCursor"] not in cursors
        cursors.add(page["pageInfo"]["endCursor"])
    raise AssertionError("The pages do not end.")


@pytest.fixture(scope="module")
def gateways() -> Iterator[Gateways]:
    loop = asyncio.new_event_loop()
    stack = AsyncExitStack()

    async def serve() -> Gateways:
        registries = {kind: await stack.enter_async_context(scripted()) for kind in KINDS}
        clients = {}
        for kind, registry in registries.items():
            api = "v2" if kind == "v2" else "v1"
            configured = pai(registry.url, "r") if kind == "pai" else qianfan(registry.url, "r", api=api)
            for limit in LIMITS:
                sections = {"catalog": CatalogSettings(scan_rows=limit), "limits": LimitsSettings(calls=1000)}
                clients[kind, limit] = await stack.enter_async_context(served(settings(configured, **sections)))
        return Gateways(loop, clients, registries)

    yield loop.run_until_complete(serve())
    loop.run_until_complete(stack.aclose())
    loop.close()


def script(odd: OddList, registry: ScriptedRegistry, kind: str) -> None:
    """Let a registry answer with an odd list."""

    def answer_pai(parameters: Parameters) -> Any:
        ascending = parameters.get("Order") == "ASC"
        found, count = odd.page(int(parameters["PageNumber"]), int(parameters["PageSize"]), ascending)
        rows = [odd.odd[number] if number in odd.odd else pai_model(number) for number in found]
        return {"Models": rows, **({} if count is None else {"TotalCount": count})}

    def answer_qianfan(parameters: Parameters) -> Any:
        found, count = odd.page(parameters["pageNo"], parameters["pageSize"], False)
        rows = [odd.odd[number] if number in odd.odd else qianfan_model(number) for number in found]
        return {"result": {"items": rows, **({} if count is None else {"total": count})}}

    def answer_v2(parameters: Parameters) -> Any:
        found, following, is_truncated = odd.marked(parameters.get("marker", ""))
        rows = [odd.odd[number] if number in odd.odd else model_set(number) for number in found]
        info = {"isTruncated": is_truncated, **({} if following is None else {"nextMarker": following})}
        return {"result": {"customModelSetList": rows, "pageInfo": info}}

    name, answer = {
        "pai": ("own models", answer_pai),
        "qianfan": ("presetList", answer_qianfan),
        "v2": ("DescribeCustomModelSets", answer_v2),
    }[kind]
    registry.answers = {name: answer}
    registry.calls.clear()


@st.composite
def odd_lists(draw: st.DrawFn, kind: str) -> OddList:
    size, cap = draw(st.integers(0, 180)), draw(st.integers(3, 60))
    pages = st.integers(1, 12)
    odd = OddList(size, cap)
    for oddity in draw(st.sets(st.sampled_from(["count", "odd", "empty", "clamp", "changes"]), max_size=2)):
        if oddity == "count" and kind != "v2":
            odd.count = draw(st.sampled_from([None, "0", "-1", 1, 40, 1_000_000]))
        elif oddity == "odd":
            odd.odd = draw(st.dictionaries(st.integers(0, max(size - 1, 0)), st.sampled_from([None, "x", {}, 5])))
            odd.odd = {number: row for number, row in odd.odd.items() if number < size}
        elif oddity == "empty":
            odd.empty = draw(st.frozensets(pages, max_size=4))
        elif oddity == "clamp":
            odd.clamp = draw(pages)
        elif oddity == "changes" and kind != "v2":
            odd.changes = draw(st.dictionaries(st.integers(1, 8), st.booleans(), min_size=1, max_size=3))
        elif oddity == "changes":
            odd.unmarked = True
    return odd


Case = tuple[str, OddList, int, int, Row]
"""The kind of registry, its list, the limit of the gateway, and the size and the order of the pages."""

cases = st.sampled_from(KINDS).flatmap(
    lambda kind: st.tuples(
        st.just(kind),
        odd_lists(kind),
        st.sampled_from(LIMITS),
        st.integers(5, 100),
        st.sampled_from([NEWEST, OLDEST, BY_NAME]),
    )
)


@hypothesis_settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@given(cases)
def test_no_list_is_complete_without_all_of_its_rows(
    gateways: Gateways, case: tuple[str, OddList, int, int, Row]
) -> None:
    kind, odd, limit, first, order = case
    is_marked, is_native = kind == "v2", kind == "pai" and order != BY_NAME
    lies = odd.count is None or isinstance(odd.count, str)
    assume(not (lies and (odd.empty or odd.changes)))  # an end that the registry reports, though there is more
    assume(set(odd.changes.values()) != {True, False})  # its count may be the same before and after
    assume(not odd.changes or is_native or limit == 1000)  # rows may move from one scan to the other
    odd.calls = 0
    script(odd, gateways.registries[kind], kind)
    pages = gateways.walk(kind, limit, {"first": first, "orderBy": order})
    calls = gateways.registries[kind].calls.total()

    prefix = "m" if kind == "pai" else "am-"
    numbers = [int(row["id"].removeprefix(f"r:model/{prefix}")) for page in pages for row in page["nodes"]]
    coverage = [page["coverage"][0] for page in pages]
    assert len(numbers) == len({*numbers}) or odd.changes
    assert {*numbers}.isdisjoint(odd.odd)
    assert all((one["error"] is None) == (one["state"] == "COMPLETE") for one in coverage)
    assert {one["error"]["code"] for one in coverage if one["error"]} <= {"LIST_INCOMPLETE"}
    assert calls <= 110 * len(pages)

    states = {one["state"] for one in coverage}
    if states == {"COMPLETE"}:
        assert odd.stable <= {*numbers}
        assert not odd.odd
    if len(pages) == 1 and states == {"COMPLETE"}:
        [page] = pages
        assert page["totalCount"] in (None, len(numbers))
        assert coverage[0]["rowsRead"] >= (page["totalCount"] or 0)
    if not odd.is_odd(is_marked):
        assert sorted(numbers) == list(range(odd.size))
        assert coverage[-1]["state"] == "COMPLETE"
        if is_native or limit == 1000:
            assert states == {"COMPLETE"}
        if is_native:
            assert numbers == sorted(numbers, reverse=order == OLDEST)
