"""Merged pages, compared with a reference that filters and sorts all rows in memory."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from typing import Any
from zlib import crc32

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.catalog.cursors import VERSION, Cursor, CursorScope, PagePosition, in_base64
from gateway.catalog.ids import Ref
from gateway.catalog.merge import Page, Row, StreamReader, merge
from gateway.catalog.orders import Order, SortKey
from gateway.errors import InvalidCursor, RegistryError, RegistryUnavailable

SORTED, UNSORTED, KEYLESS = "sorted", "unsorted", "keyless"
STYLES = (SORTED, UNSORTED, KEYLESS)

NEWEST_FIRST = Order()
ORDERS = [Order(name, descending) for name in ("created_at", "updated_at", "name") for descending in (True, False)]
EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
NO_BOUND = 10_000

quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

Filter = Callable[[Row], bool]


def row(name: str, value: int | None, order: Order = NEWEST_FIRST) -> Row:
    """A row with this name. Its sort value is a time, in seconds after an epoch, or a text."""
    ref = Ref("r", "Model", (name,))
    text = None if value is None else text_value(value) if order.field == "name" else time_value(value)
    return order.key_of(text, str(ref)), ref


def time_value(number: int) -> str:
    return (EPOCH + timedelta(seconds=number)).isoformat()


def text_value(number: int) -> str:
    """One of fifteen texts in several scripts, with characters inside and outside the Basic Multilingual Plane."""
    return "aBz模𝄞"[number % 5] * (1 + number // 5 % 3)


def all_pass(row: Row) -> bool:
    return True


def random_filter(draw_number: int, of_sixteen: int) -> Filter:
    """A filter that about this many rows of sixteen pass, depending on the row's id alone."""
    return lambda row: crc32(f"{draw_number} {row[1]}".encode()) % 16 < of_sixteen


@dataclass
class Upstream:
    """One list of a registry, which may change and fail between two pages of a client, and records the pages read.

    A list that ``filters`` leaves out the rows that do not pass, so its count is exact. Of any other list, the gateway
    reads all rows and filters them itself.
    """

    name: str
    style: str
    rows: list[Row]
    size: int = 3
    counts: bool = True
    passes: Filter = all_pass
    filters: bool = False
    lazy: bool = False
    marked: bool = False
    """Whether its pages have markers instead of numbers. Nothing then counts its rows."""
    max_rows: int = NO_BOUND
    failing: Callable[[int], bool] = lambda number: False
    pages_read: list[int] = field(default_factory=list)

    @property
    def passing(self) -> list[Row]:
        return sorted(filter(self.passes, self.rows))

    @property
    def exact(self) -> bool:
        return self.filters or self.passes is all_pass

    def listed(self) -> list[Row]:
        """Rows as the list has them: by value if sorted, with ties in any order; otherwise in no order."""
        rows = self.passing if self.filters else self.rows
        mixed = sorted(rows, key=lambda row: crc32(str(row[1]).encode()))
        return sorted(mixed, key=lambda row: row[0][:2]) if self.style == SORTED else mixed

    async def read_page(self, at: int | str) -> Page:
        assert isinstance(at, str) == (self.marked and at != 1)
        number = int(at)
        await asyncio.sleep(0)
        self.pages_read.append(number)
        if self.failing(number):
            raise RegistryUnavailable("r")
        rows = self.listed()
        end = number * self.size
        found = rows[end - self.size : end]
        ends = (found[0][0], found[-1][0]) if found else None
        ids = {key[2] for key, _ in found}
        total = len(rows) if self.counts and not self.marked else None
        marker = str(number + 1) if end < len(rows) else None
        following = marker if self.marked else number + 1
        return Page([*filter(self.passes, found)], ids, ends, len(found), total, following)

    def reader(self, start: Cursor | None = None) -> StreamReader:
        reader = StreamReader(
            "r",
            self.name,
            self.read_page,
            sorted=self.style == SORTED,
            max_rows=self.max_rows,
            keyless=self.style == KEYLESS,
            lazy=self.lazy,
            exact=self.exact,
        )
        if start is not None:
            reader.start(start)
        return reader


@dataclass
class World:
    """Lists of one order, and the filter of the request."""

    lists: list[Upstream]
    order: Order = NEWEST_FIRST
    passes: Filter = all_pass

    @property
    def scope(self) -> CursorScope:
        return CursorScope("Model", self.order)

    @property
    def passing(self) -> list[str]:
        """The reference: all rows that pass, sorted, each row once."""
        return names(sorted({row for upstream in self.lists for row in upstream.passing}))

    def set_all(self, **what: Any) -> None:
        """Set attributes of every list."""
        for upstream in self.lists:
            for name, value in what.items():
                setattr(upstream, name, value)


@dataclass
class Answer:
    rows: list[Row]
    cursors: list[Cursor]
    end: Cursor | None
    more: bool
    failures: list[RegistryError]
    cut: set[str]
    """The lists that stopped at their bound, from which the next page continues."""
    totals: dict[str, int | None]
    pages_read: dict[str, set[int]]
    """The pages read, by list. Reading a page twice within an operation costs nothing."""


def read(world: World, size: int, after: Cursor | None = None) -> Answer:
    """Read one page as a client does, with the cursor encoded as text."""
    for upstream in world.lists:
        upstream.pages_read.clear()
    scope = world.scope
    start = None if after is None else scope.decode(scope.encode(after))
    readers = [upstream.reader(start) for upstream in world.lists]
    merged = asyncio.run(merge(readers, size))
    assert merged.rows == [] or merged.end == merged.cursors[-1]
    return Answer(
        merged.rows,
        merged.cursors,
        merged.end,
        merged.more,
        [reader.error for reader in readers if reader.error is not None],
        {reader.name for reader in readers if reader.cut},
        {reader.name: reader.total for reader in readers},
        {upstream.name: set(upstream.pages_read) for upstream in world.lists},
    )


def pages(world: World, size: int, after: Cursor | None = None) -> Iterator[Answer]:
    """Read all pages, as a client does. The lists may change between two pages."""
    for _ in range(300):
        answer = read(world, size, after)
        yield answer
        if not answer.more:
            return
        after = answer.end
    raise AssertionError("The pages do not end.")


def names(rows: Iterable[Row]) -> list[str]:
    return [ref.keys[0] for _, ref in rows]


def all_names(pages: Iterable[Answer]) -> list[str]:
    """Return the names of the rows of several pages."""
    return names(row for page in pages for row in page.rows)


sizes = st.integers(1, 7)
bounds = st.integers(1, 12)


@st.composite
def worlds(
    draw: st.DrawFn,
    styles: Sequence[str] = STYLES,
    shared: bool = True,
    filtered: bool = True,
    orders: Sequence[Order] = ORDERS,
) -> World:
    """Up to four lists of any style and order, with ties, rows without a value, and rows in several lists."""
    order = draw(st.sampled_from(orders))
    some = st.none() | st.integers(0, draw(st.sampled_from([2, 8, 1000])))
    passes = (
        draw(st.builds(random_filter, st.integers(0, 99), st.sampled_from([0, 1, 4, 8, 15]))) if filtered else all_pass
    )
    common = [row(f"common-{i}", draw(some), order) for i in range(draw(st.integers(0, 4)))] if shared else []
    lists = []
    for number in range(draw(st.integers(1, 4))):
        style = draw(st.sampled_from(styles))
        drawn = draw(st.lists(st.none() if style == KEYLESS else some, max_size=24))
        rows = [row(f"{number}-{i:02}", value, order) for i, value in enumerate(drawn)]
        rows += [one for one in common if (style != KEYLESS or one[0][0] == 1) and draw(st.booleans())]
        upstream = Upstream(f"s{number}", style, rows, draw(st.integers(1, 7)), draw(st.booleans()), passes)
        upstream.filters = filtered and draw(st.booleans())
        upstream.lazy = filtered and not upstream.filters and draw(st.booleans())
        lists.append(upstream)
    return World(lists, order, passes)


# Lists that do not change


@quick
@given(worlds(), sizes)
def test_all_pages_together_have_every_passing_row_once_and_in_order(world: World, size: int) -> None:
    assert all_names(pages(world, size)) == world.passing


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_every_order_holds_across_lists_and_pages(order: Order) -> None:
    """Two lists have one row of every value each; a third has rows without a value."""
    one = [row(f"{value}-one", value, order) for value in range(5)]
    two = [row(f"{value}-two", value, order) for value in reversed(range(5))]
    none = [row(f"none-{i}", None, order) for i in range(3)]
    world = World([Upstream("s", SORTED, one), Upstream("u", UNSORTED, two), Upstream("k", KEYLESS, none)], order)
    rising = [1, 0, 2, 3, 4] if order.field == "name" else [0, 1, 2, 3, 4]
    values = rising[::-1] if order.descending else rising
    with_value = [f"{value}-{number}" for value in values for number in ("one", "two")]
    assert all_names(pages(world, 3)) == [*with_value, "none-0", "none-1", "none-2"]


@quick
@given(worlds(), sizes)
def test_every_page_but_the_last_is_full(world: World, size: int) -> None:
    *before, last = pages(world, size)
    assert all(len(page.rows) == size for page in before)
    assert len(last.rows) <= size


@quick
@given(worlds(), sizes)
def test_a_next_page_that_exists_is_always_announced(world: World, size: int) -> None:
    """A list without an exact count may announce a next page that turns out to be empty."""
    seen = 0
    for page in pages(world, size):
        seen += len(page.rows)
        assert page.more or seen == len(world.passing)


@quick
@given(worlds(shared=False, filtered=False), sizes)
def test_lists_with_exact_counts_announce_a_next_page_exactly_when_there_is_one(world: World, size: int) -> None:
    """The lists count their rows, are not filtered by the gateway, and do not overlap."""
    world.set_all(counts=True)
    seen = 0
    for page in pages(world, size):
        seen += len(page.rows)
        assert page.more == (seen < len(world.passing))


@quick
@given(worlds(), sizes, st.data())
def test_a_client_can_continue_from_any_row_of_a_page(world: World, size: int, data: st.DataObject) -> None:
    whole = world.passing
    page = data.draw(st.sampled_from(list(pages(world, size))))
    for one, cursor in zip(page.rows, page.cursors, strict=True):
        rest = whole[whole.index(one[1].keys[0]) + 1 :]
        assert names(read(world, 7, cursor).rows) == rest[:7]


# Lists with markers, from which no earlier page can be reached


@quick
@given(worlds(styles=[SORTED]), sizes, st.data())
def test_lists_with_markers_lose_and_repeat_no_rows(world: World, size: int, data: st.DataObject) -> None:
    """Rows with the same value may be on several pages of a list, in another order than on the pages of the client."""
    world.set_all(marked=True)
    answers = list(pages(world, size))
    assert all_names(answers) == world.passing
    page = data.draw(st.sampled_from(answers))
    for one, cursor in zip(page.rows, page.cursors, strict=True):
        rest = world.passing[world.passing.index(one[1].keys[0]) + 1 :]
        assert all_names(pages(world, 7, cursor)) == rest


@quick
@given(worlds(styles=[SORTED], shared=False), sizes, bounds, st.integers(1, 5))
def test_lists_with_markers_that_stop_or_fail_lose_and_repeat_no_rows(
    world: World, size: int, max_rows: int, failing: int
) -> None:
    world.set_all(marked=True, max_rows=max_rows, failing=lambda number: number == failing)
    first = read(world, size)
    repair(world)
    seen = names(first.rows)
    if first.more or first.failures:
        seen += all_names(pages(world, size, first.end))
    for upstream in world.lists:
        assert [name for name in seen if name in names(upstream.rows)] == names(upstream.passing)
    assert len(seen) == len(world.passing)


# Lists that change between two pages


@dataclass(frozen=True)
class Step:
    """Failures and changes around one page. Lists are named by their index."""

    broken: Sequence[int | None] = ()
    """The page from which on each list fails while the page is read."""
    gone: Iterable[tuple[int, int]] = ()
    """Rows deleted after the page, as (index of the list, index of the row)."""
    new: Sequence[tuple[int, int | None]] = ()
    """Rows inserted after the page, as (index of the list, value)."""

    def fail(self, world: World) -> None:
        for upstream, first_bad in zip(world.lists, chain(self.broken, repeat(None)), strict=False):
            upstream.failing = lambda number, bad=first_bad: bad is not None and number >= bad

    def change_rows(self, world: World, number: int) -> set[str]:
        """Delete and insert rows, and return the names of the deleted ones."""
        deleted = {
            world.lists[place].rows[i]
            for place, i in self.gone
            if place < len(world.lists) and i < len(world.lists[place].rows)
        }
        for upstream in world.lists:
            upstream.rows = [one for one in upstream.rows if one not in deleted]
        for i, (place, value) in enumerate(self.new):
            if place < len(world.lists):
                upstream = world.lists[place]
                value = None if upstream.style == KEYLESS else value
                upstream.rows.append(row(f"new-{number}-{i}", value, world.order))
        return set(names(deleted))


lists = st.integers(0, 3)
steps = st.lists(
    st.builds(
        Step,
        st.lists(st.none() | st.integers(1, 4), max_size=4),
        st.sets(st.tuples(lists, st.integers(0, 23)), max_size=24),
        st.lists(st.tuples(lists, st.none() | st.integers(0, 9)), max_size=12),
    ),
    min_size=1,
    max_size=6,
)


@quick
@given(worlds(shared=False), sizes, steps)
def test_rows_that_stay_appear_exactly_once_while_others_are_inserted_and_deleted(
    world: World, size: int, steps: list[Step]
) -> None:
    stayed = set(world.passing)
    seen: list[str] = []
    for number, (page, step) in enumerate(zip(pages(world, size), chain(steps, repeat(Step())), strict=False)):
        seen += names(page.rows)
        stayed -= step.change_rows(world, number)
    assert len(seen) == len(set(seen))
    assert stayed <= set(seen)


# Failures


def repair(world: World) -> None:
    world.set_all(failing=lambda number: False)


@quick
@given(worlds(shared=False), sizes, steps)
def test_a_list_that_recovers_from_failures_loses_and_repeats_no_rows(
    world: World, size: int, steps: list[Step]
) -> None:
    """Failures last for any number of pages and start at any upstream page; then every list works again."""
    seen: list[str] = []
    cursor: Cursor | None = None
    for step in steps:
        step.fail(world)
        page = read(world, size, cursor)
        seen += names(page.rows)
        cursor = page.cursors[-1] if page.cursors else cursor
    repair(world)
    while len(seen) < 1000 and (page := read(world, size, cursor)).rows:
        seen += names(page.rows)
        cursor = page.cursors[-1]
    assert sorted(seen) == sorted(world.passing)


@quick
@given(worlds(shared=False), sizes, steps)
def test_continuing_from_any_row_of_a_page_without_a_failed_list_loses_and_repeats_no_rows(
    world: World, size: int, steps: list[Step]
) -> None:
    """The cursor of a row in the middle of a page covers all rows up to it, as the cursor of the last row does."""
    steps[0].fail(world)
    page = read(world, size)
    repair(world)
    for number, cursor in enumerate(page.cursors, 1):
        given = names(page.rows[:number])
        assert sorted(given + all_names(pages(world, 7, cursor))) == sorted(world.passing)


def test_a_recovered_list_does_not_restart_the_others() -> None:
    """While `b` failed, the pages went past its rows. After its recovery they come next, and no row comes twice."""
    a = Upstream("a", SORTED, [row(f"a{i}", time) for i, time in enumerate((90, 80, 70, 60, 50))])
    b = Upstream("b", SORTED, [row(f"b{i}", time) for i, time in enumerate((95, 85, 75))])
    world = World([a, b])
    b.failing = lambda number: True
    ahead = read(world, 4)
    assert names(ahead.rows) == ["a0", "a1", "a2", "a3"]

    repair(world)
    caught_up = read(world, 2, ahead.cursors[-1])
    assert names(caught_up.rows) == ["b0", "b1"]
    assert names(read(world, 2, caught_up.cursors[-1]).rows) == ["b2", "a4"]


def test_a_failure_ends_only_its_own_list_and_is_reported() -> None:
    healthy = Upstream("healthy", SORTED, [row("x", 1), row("y", 0)])
    broken = Upstream("broken", SORTED, [row(f"b{i}", 9 - i) for i in range(9)], failing=lambda number: number > 1)
    answer = read(World([healthy, broken]), 7)
    assert names(answer.rows) == ["b0", "b1", "x", "y"]
    assert [error.code for error in answer.failures] == ["REGISTRY_UNAVAILABLE"]
    assert answer.cursors[-1].own == {"broken": row("b1", 8)[0]}


# Pages read


def pages_needed(upstream: Upstream, given: Sequence[Row]) -> int:
    """Return how many pages of a sorted list are needed to rule out that its next row belongs to the page.

    Ties are sorted by id after they are read, so all rows with the next row's value and the row after them are needed.
    """
    rows = sorted(upstream.listed())
    left = [one for one in upstream.passing if one not in given]
    if not left:
        return -(-len(rows) // upstream.size)
    same = [one for one in rows if one[0][:2] <= left[0][0][:2]]
    return -(-min(len(same) + 1, len(rows)) // upstream.size)


@quick
@given(worlds(styles=(SORTED,), shared=False), sizes)
def test_the_first_page_reads_only_the_pages_of_sorted_lists_that_it_needs(world: World, size: int) -> None:
    world.set_all(counts=True)
    answer = read(world, size)
    for upstream in world.lists:
        needed = max(1, pages_needed(upstream, answer.rows))
        assert answer.pages_read[upstream.name] == set(range(1, len(answer.pages_read[upstream.name]) + 1))
        assert len(answer.pages_read[upstream.name]) <= needed


@quick
@given(worlds(shared=False), sizes)
def test_unsorted_lists_are_read_in_full_and_lists_without_values_last(world: World, size: int) -> None:
    """A list without values has its first page read earlier for its count, unless each row would cost a call."""
    world.set_all(counts=True)
    answer = read(world, size)
    all_have_values = all(key[0] == 0 for key, _ in answer.rows) and len(answer.rows) == size
    for upstream in world.lists:
        whole = list(range(1, max(1, -(-len(upstream.listed()) // upstream.size)) + 1))
        if upstream.style == UNSORTED:
            assert sorted(upstream.pages_read) == whole
        if upstream.style == KEYLESS:
            not_yet = [] if upstream.lazy else [1]
            assert sorted(upstream.pages_read) == (not_yet if all_have_values else whole)


@quick
@given(st.lists(st.integers(0, 3), min_size=20, max_size=120), sizes)
def test_a_deep_page_reads_two_or_three_pages_of_each_unchanged_list(places: list[int], size: int) -> None:
    """All times differ and an upstream page has seven rows. A client page reads the upstream page of its last row, the
    next one, and one more if it is nearly as large, because the last row of a page waits for the next page."""
    world = World(
        [
            Upstream(
                f"s{i}", SORTED, [row(f"{time:03}", time) for time, place in enumerate(places) if place == i], size=7
            )
            for i in range(4)
        ]
    )
    for answer in pages(world, size):
        for pages_read in answer.pages_read.values():
            assert len(pages_read) <= (2 if size <= 5 else 3)


def test_a_list_without_rows_on_a_page_is_not_read_from_its_start_for_the_next_page() -> None:
    """The cursor is deep in the old list when a long run of rows from the new list begins."""
    old = Upstream("old", SORTED, [row(f"old{i:02}", 1000 - i) for i in range(20)] + [row("last", 0)])
    new = Upstream("new", SORTED, [row(f"new{i:02}", 500 - i) for i in range(20)])
    pages_read = [answer.pages_read["old"] for answer in pages(World([old, new]), 4)]
    assert [len(numbers) for numbers in pages_read[5:]] == [1] * len(pages_read[5:])


def test_a_list_that_failed_is_not_read_from_its_start_when_it_is_back() -> None:
    deep = Upstream("deep", SORTED, [row(f"deep{i:02}", -i) for i in range(30)])
    other = Upstream("other", SORTED, [row(f"other{i:02}", -i) for i in range(30)])
    world = World([deep, other])
    *_, before = [page for page, _ in zip(pages(world, 4), range(6), strict=False)]
    deep.failing = lambda number: True
    missed = read(world, 4, before.cursors[-1])
    assert len(missed.failures) == 1
    repair(world)
    assert min(read(world, 4, missed.cursors[-1]).pages_read["deep"]) >= max(before.pages_read["deep"]) - 1


def test_lists_are_read_at_the_same_time() -> None:
    arrived: list[str] = []

    async def run() -> None:
        everyone = asyncio.Event()

        def page_reader(name: str) -> Callable[[int], asyncio.Future[Page]]:
            only = row(name, 1)

            async def one(number: int) -> Page:
                arrived.append(name)
                if len(arrived) == 3:
                    everyone.set()
                await everyone.wait()
                return Page([only], {only[0][2]}, (only[0], only[0]), 1, 1, None)

            return one

        readers = [
            StreamReader("r", name, page_reader(name), sorted=True, max_rows=NO_BOUND) for name in ("a", "b", "c")
        ]
        async with asyncio.timeout(5):
            merged = await merge(readers, 3)
        assert names(merged.rows) == ["a", "b", "c"]
        assert not merged.more

    asyncio.run(run())


# Bounds of lists that the gateway sorts


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("style", [UNSORTED, KEYLESS])
def test_a_scan_stops_at_its_bound_and_reports_it(style: str, counts: bool) -> None:
    rows = [row(f"{i:03}", None if style == KEYLESS else i) for i in range(100)]
    upstream = Upstream("long", style, rows, size=6, counts=counts, max_rows=20)
    reader = upstream.reader()
    merged = asyncio.run(merge([reader], 7))
    assert len(merged.rows) == 7
    assert reader.cut
    assert sorted(upstream.pages_read) == [1, 2, 3, 4]
    assert reader.read == 24
    assert reader.total == (100 if counts else None)


@pytest.mark.parametrize("counts", [True, False])
def test_a_scan_that_ends_before_its_bound_is_complete(counts: bool) -> None:
    """A list without a count ends with a page without rows."""
    upstream = Upstream("whole", UNSORTED, [row(f"{i:03}", i) for i in range(19)], size=5, counts=counts, max_rows=20)
    reader = upstream.reader()
    asyncio.run(merge([reader], 7))
    assert not reader.cut
    assert reader.total == 19
    assert sorted(upstream.pages_read) == ([1, 2, 3, 4] if counts else [1, 2, 3, 4, 5])


@quick
@given(worlds(styles=(UNSORTED, KEYLESS), shared=False), sizes, bounds)
def test_rows_within_the_bound_of_a_scan_are_returned_in_order(world: World, size: int, max_rows: int) -> None:
    """The rows up to the page that reaches the bound are a window of the list. The next window follows when all rows
    of this one are delivered."""
    world.set_all(max_rows=max_rows)
    seen = all_names(pages(world, size))
    assert sorted(seen) == sorted(world.passing)
    for upstream in world.lists:
        listed, window = upstream.listed(), -(-max_rows // upstream.size) * upstream.size
        windows = [sorted(filter(upstream.passes, listed[at : at + window])) for at in range(0, len(listed), window)]
        in_order = names(row for rows in windows for row in rows)
        assert [name for name in seen if name in in_order] == in_order


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("style", STYLES)
def test_a_page_without_passing_rows_does_not_end_a_list(style: str, counts: bool) -> None:
    last = "zz" if style == KEYLESS else "00"
    rows = [row(f"{i:02}", None if style == KEYLESS else i) for i in range(20)] + [row("zz", None)]
    world = World([Upstream("s", style, rows, counts=counts, passes=lambda row: row[1].keys == (last,))])
    assert all_names(pages(world, 5)) == [last]


# Bounds of sorted lists that the gateway filters


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize(("max_rows", "pages_read"), [(1, 1), (5, 1), (6, 2), (20, 4)])
def test_the_search_for_a_passing_row_stops_at_the_bound_of_a_sorted_list(
    counts: bool, max_rows: int, pages_read: int
) -> None:
    rows = [row(f"{i:03}", i) for i in range(100)]
    upstream = Upstream("long", SORTED, rows, size=5, counts=counts, passes=lambda row: False, max_rows=max_rows)
    reader = upstream.reader()
    merged = asyncio.run(merge([reader], 7))
    assert merged.rows == []
    assert merged.more
    assert reader.cut
    assert sorted(upstream.pages_read) == list(range(1, pages_read + 1))
    assert reader.read == 5 * pages_read
    assert reader.total is None


def test_a_page_that_stopped_at_a_bound_continues_where_it_stopped() -> None:
    """Every tenth row passes; the search stops after two pages of four rows."""
    found = [f"{i:02}" for i in range(5, 60, 10)]
    rows = [row(f"{i:02}", -i) for i in range(60)]
    sparse = Upstream("sparse", SORTED, rows, size=4, passes=lambda row: row[1].keys[0][1] == "5", max_rows=8)
    dense = Upstream("dense", SORTED, [row(f"d{i}", -i) for i in range(0, 50, 2)])
    world = World([sparse, dense])
    first = read(world, 10)
    assert names(first.rows)[:5] == ["d0", "d2", "d4", "05", "d6"]
    assert first.cut == {"sparse"}

    rest = list(pages(world, 10, first.cursors[-1]))
    assert [name for name in names(first.rows) + all_names(rest) if name in found] == found
    assert all(min(page.pages_read["sparse"]) > 1 for page in rest)


def test_rows_searched_after_the_last_row_of_a_page_are_not_searched_again() -> None:
    """Only the sixth row passes; the search for another one stops after the second page of four rows."""
    rows = [row(f"{i:02}", -i) for i in range(60)]
    world = World([Upstream("sparse", SORTED, rows, size=4, passes=lambda row: row[1].keys == ("05",), max_rows=8)])
    page = read(world, 10)
    assert names(page.rows) == ["05"]
    assert page.pages_read["sparse"] == {1, 2}
    assert read(world, 10, page.cursors[-1]).pages_read["sparse"] == {2, 3}


@pytest.mark.parametrize("size", [1, 3, 30])
def test_passing_rows_on_every_page_do_not_extend_the_search(size: int) -> None:
    """One row of every page of five passes. The bound is forty rows, so one merged page reads at most eight pages."""
    rows = [row(f"{i:03}", -i) for i in range(500)]
    upstream = Upstream("sparse", SORTED, rows, size=5, passes=lambda row: row[1].keys[0][2] in "05", max_rows=40)
    assert len(read(World([upstream]), size).pages_read["sparse"]) <= 8


def ties_and_others() -> World:
    """A list with two pages of ties and one row after them, and a list with rows to continue from."""
    ties = Upstream("ties", SORTED, [row(f"{i}", 0) for i in range(6)] + [row("6", -1)], max_rows=9)
    return World([ties, Upstream("others", SORTED, [row(f"other-{i}", -2 - i) for i in range(4)])])


def test_ties_already_returned_are_not_repeated_when_the_rest_of_them_reach_the_bound() -> None:
    """A page that ends in the second page of ties reads it, then the first, then the second again: nine rows."""
    seen = all_names(pages(ties_and_others(), 1))
    assert [name for name in seen if "other" not in name] == ["0", "1", "2", "3", "4", "5", "6"]


@pytest.mark.parametrize(
    ("values", "max_rows"),
    [
        pytest.param(range(0, -30, -1), 3, id="a bound of one page"),
        pytest.param([0] * 29 + [-29], 6, id="more rows of one value than the bound"),
    ],
)
def test_every_page_moves_a_list_that_stopped_closer_to_its_next_row(values: Sequence[int], max_rows: int) -> None:
    """The other list has enough rows to continue from."""
    rows = [row(f"{i:02}", value) for i, value in enumerate(values)]
    searched = Upstream("searched", SORTED, rows, passes=lambda row: row[1].keys == ("29",), max_rows=max_rows)
    other = Upstream("other", SORTED, [row(f"x{i:02}", -i) for i in range(60)])
    world = World([searched, other])
    answers = [page for page, _ in zip(pages(world, 2), range(25), strict=False)]
    assert "29" in all_names(answers)


@quick
@given(worlds(shared=False), sizes, bounds)
@example(ties_and_others(), 1, 9)
def test_lists_that_stop_at_their_bounds_lose_and_repeat_no_rows(world: World, size: int, max_rows: int) -> None:
    """Every page is in order, every list is in order across all pages, and the lists that never stopped are in order
    together. A list that stopped may continue with rows that belong on an earlier page."""
    for upstream in world.lists:
        upstream.max_rows = max_rows if upstream.style == SORTED else NO_BOUND
    answers = list(pages(world, size))
    seen = all_names(answers)
    stopped = {name for answer in answers for name in answer.cut}

    assert all(page.rows == sorted(page.rows) for page in answers)
    for upstream in world.lists:
        assert [name for name in seen if name in names(upstream.rows)] == names(upstream.passing)
    steady = World([upstream for upstream in world.lists if upstream.name not in stopped]).passing
    assert [name for name in seen if name in steady] == steady
    assert len(seen) == len(world.passing)


@quick
@given(worlds(shared=False), sizes, bounds, steps)
@example(ties_and_others(), 1, 9, [Step()])
def test_rows_that_stay_appear_exactly_once_whatever_changes_fails_or_stops(
    world: World, size: int, max_rows: int, steps: list[Step]
) -> None:
    for upstream in world.lists:
        upstream.max_rows = max_rows if upstream.style == SORTED else NO_BOUND
    stayed = set(world.passing)
    seen: list[str] = []
    cursor: Cursor | None = None
    for number, step in enumerate(steps):
        step.fail(world)
        page = read(world, size, cursor)
        seen += names(page.rows)
        cursor = page.cursors[-1] if page.cursors else cursor
        stayed -= step.change_rows(world, number)
    repair(world)
    seen += all_names(pages(world, size, cursor))
    assert len(seen) == len(set(seen))
    assert stayed <= set(seen)


# Totals


@quick
@given(worlds(), sizes, bounds | st.just(NO_BOUND), steps)
def test_a_total_is_the_number_of_passing_rows_or_none(
    world: World, size: int, max_rows: int, steps: list[Step]
) -> None:
    """This holds on every page, whatever fails or stops."""
    world.set_all(max_rows=max_rows)
    cursor: Cursor | None = None
    for step in steps:
        step.fail(world)
        page = read(world, size, cursor)
        for upstream in world.lists:
            assert page.totals[upstream.name] in (None, len(upstream.passing))
        cursor = page.cursors[-1] if page.cursors else cursor


@quick
@given(worlds(), sizes)
def test_lists_with_exact_counts_and_lists_read_in_full_have_a_total(world: World, size: int) -> None:
    for page in pages(world, size):
        for upstream in world.lists:
            counted = upstream.exact and upstream.counts
            if (counted and not upstream.lazy) or upstream.style == UNSORTED:
                assert page.totals[upstream.name] == len(upstream.passing)


# Cursors

moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)).map(datetime.isoformat)
scopes = st.builds(CursorScope, st.text(), st.sampled_from(ORDERS))


def keys(order: Order) -> st.SearchStrategy[SortKey]:
    return st.builds(order.key_of, st.none() | (st.text() if order.field == "name" else moments), st.text())


def cursors(order: Order) -> st.SearchStrategy[Cursor]:
    counts = st.integers(0, 9999)
    positions = st.builds(PagePosition, st.integers(1, 9999) | st.text(min_size=1, max_size=8), counts, counts, counts)
    pages = st.dictionaries(st.text(max_size=8), positions, max_size=3)
    own = st.dictionaries(st.text(max_size=8), st.none() | keys(order), max_size=3)
    return st.builds(Cursor, keys(order), pages, own) | st.builds(
        Cursor, st.none(), st.dictionaries(st.text(max_size=8), positions, min_size=1, max_size=3), own
    )


scopes_and_cursors = scopes.flatmap(lambda scope: st.tuples(st.just(scope), cursors(scope.order)))
"""A scope and a cursor of that scope."""


@quick
@given(scopes_and_cursors)
def test_a_cursor_can_be_encoded_and_decoded(drawn: tuple[CursorScope, Cursor]) -> None:
    scope, cursor = drawn
    text = scope.encode(cursor)
    assert scope.decode(text) == cursor
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@quick
@given(scopes_and_cursors, scopes)
def test_a_cursor_of_another_scope_is_refused(drawn: tuple[CursorScope, Cursor], other: CursorScope) -> None:
    scope, cursor = drawn
    if scope != other:
        with pytest.raises(InvalidCursor):
            other.decode(scope.encode(cursor))


@pytest.mark.parametrize("other", ORDERS[1:], ids=str)
def test_a_cursor_of_another_order_is_refused_even_if_its_row_has_no_value(other: Order) -> None:
    """Without values, the keys of all orders are equal."""
    text = CursorScope("Model", NEWEST_FIRST).encode(Cursor(row("x", None)[0]))
    with pytest.raises(InvalidCursor):
        CursorScope("Model", other).decode(text)


@quick
@given(scopes_and_cursors, st.data())
def test_a_truncated_cursor_is_refused(drawn: tuple[CursorScope, Cursor], data: st.DataObject) -> None:
    scope, cursor = drawn
    text = scope.encode(cursor)
    with pytest.raises(InvalidCursor):
        scope.decode(text[: data.draw(st.integers(0, len(text) - 1))])


@quick
@given(scopes_and_cursors, st.data())
def test_a_cursor_with_any_character_replaced_is_refused(
    drawn: tuple[CursorScope, Cursor], data: st.DataObject
) -> None:
    scope, cursor = drawn
    text = scope.encode(cursor)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda character: character != text[place]))
    with pytest.raises(InvalidCursor):
        scope.decode(text[:place] + other + text[place + 1 :])


@given(scopes, st.text() | st.text("ABCabc012-_=", max_size=40))
@example(CursorScope("Model", NEWEST_FIRST), "")
@example(CursorScope("Model", NEWEST_FIRST), "=")
@example(CursorScope("Model", NEWEST_FIRST), "\ud800")
@example(CursorScope("Model", NEWEST_FIRST), "A" * 10_000)
def test_text_that_is_not_a_cursor_is_refused(scope: CursorScope, text: str) -> None:
    with pytest.raises(InvalidCursor, match=r"^The cursor in `after` does not belong to this list"):
        scope.decode(text)


@quick
@given(scopes_and_cursors, st.sampled_from(["=", "==", " ", "\n"]))
def test_a_cursor_has_only_one_encoding(drawn: tuple[CursorScope, Cursor], appended: str) -> None:
    scope, cursor = drawn
    with pytest.raises(InvalidCursor):
        scope.decode(scope.encode(cursor) + appended)


KEY = [0, 1, "x"]


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param([None, {}, {}], id="no key"),
        pytest.param([KEY, {}], id="too little"),
        pytest.param([KEY, {}, {}, {}], id="too much"),
        pytest.param([[0, "a", "x"], {}, {}], id="a key of names"),
        pytest.param(None, id="nothing"),
        pytest.param([5, {}, {}], id="a key that is none"),
        pytest.param([KEY, 5, {}], id="pages that are none"),
        pytest.param([KEY, {"s": [0, 0]}, {}], id="a page before the first"),
        pytest.param([KEY, {"s": [True, 0]}, {}], id="a page that is neither a number nor a marker"),
        pytest.param([KEY, {"s": ["", 0]}, {}], id="an empty marker"),
        pytest.param([KEY, {"s": ["m" * 5000, 0]}, {}], id="a long marker"),
        pytest.param([KEY, {"s": [2, -1]}, {}], id="a page after less than no row"),
        pytest.param([KEY, {"s": [2, "1"]}, {}], id="an offset that is text"),
        pytest.param([KEY, {"s": 2}, {}], id="a page without an offset"),
        pytest.param([KEY, {}, 5], id="keys of lists that are none"),
        pytest.param([KEY, {}, {"s": 5}], id="a list with a key that is none"),
    ],
)
def test_a_malformed_cursor_with_a_valid_checksum_is_refused(forged: Any) -> None:
    """The checksum is not secret: clients can compute it."""
    scope = CursorScope("Model", NEWEST_FIRST)
    body = bytes([VERSION]) + orjson.dumps(forged)
    with pytest.raises(InvalidCursor):
        scope.decode(in_base64(scope._check(body) + body))
