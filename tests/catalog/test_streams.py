"""Merged pages against a reference that holds everything in memory, filters it and sorts it."""

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

from gateway.catalog.cursors import VERSION, Cursor, CursorScope, in_base64
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

Passes = Callable[[Row], bool]


def row(name: str, value: int | None, order: Order = NEWEST_FIRST) -> Row:
    """A row of this name; what it is sorted by is so many seconds after an epoch, or a name of that number."""
    ref = Ref("r", "Model", (name,))
    text = None if value is None else lettered(value) if order.field == "name" else timed(value)
    return order.key_of(text, str(ref)), ref


def timed(number: int) -> str:
    return (EPOCH + timedelta(seconds=number)).isoformat()


def lettered(number: int) -> str:
    """One of fifteen names, in several scripts, in and beyond the first plane."""
    return "aBz模𝄞"[number % 5] * (1 + number // 5 % 3)


def all_pass(row: Row) -> bool:
    return True


def lottery(draw_number: int, of_sixteen: int) -> Passes:
    """A filter that any rows pass, about so many of sixteen; it knows of rows that do not exist yet."""
    return lambda row: crc32(f"{draw_number} {row[1]}".encode()) % 16 < of_sixteen


@dataclass
class Upstream:
    """One list of a registry, which may change and fail between two pages of a client, and notes what it is asked.

    One that ``filters`` leaves out by itself what does not pass, so that its count is exact; of any other the gateway
    reads all rows, and drops what does not pass.
    """

    name: str
    style: str
    rows: list[Row]
    size: int = 3
    counts: bool = True
    passes: Passes = all_pass
    filters: bool = False
    lazy: bool = False
    bound: int = NO_BOUND
    failing: Callable[[int], bool] = lambda number: False
    asked: list[int] = field(default_factory=list)

    @property
    def passing(self) -> list[Row]:
        return sorted(filter(self.passes, self.rows))

    @property
    def exact(self) -> bool:
        return self.filters or self.passes is all_pass

    def listed(self) -> list[Row]:
        """A sorted list keeps an order of its own among rows of one value; any other has no order at all."""
        rows = self.passing if self.filters else self.rows
        mixed = sorted(rows, key=lambda row: crc32(str(row[1]).encode()))
        return sorted(mixed, key=lambda row: row[0][:2]) if self.style == SORTED else mixed

    async def ask(self, number: int) -> Page:
        await asyncio.sleep(0)
        self.asked.append(number)
        if self.failing(number):
            raise RegistryUnavailable("r")
        rows = self.listed()
        end = number * self.size
        found = rows[end - self.size : end]
        ends = (found[0][0], found[-1][0]) if found else None
        more = end < len(rows) if self.counts else len(found) == self.size
        return Page([*filter(self.passes, found)], ends, len(found), len(rows) if self.counts else None, more)

    def reader(self, start: Cursor | None = None) -> StreamReader:
        reader = StreamReader(
            "r",
            self.name,
            self.ask,
            sorted=self.style == SORTED,
            bound=self.bound,
            keyless=self.style == KEYLESS,
            lazy=self.lazy,
            exact=self.exact,
        )
        if start is not None:
            reader.start(start)
        return reader


@dataclass
class World:
    """Lists of one order, and the filter that they are asked for."""

    lists: list[Upstream]
    order: Order = NEWEST_FIRST
    passes: Passes = all_pass

    @property
    def question(self) -> CursorScope:
        return CursorScope("Model", self.order)

    @property
    def passing(self) -> list[str]:
        """The reference: all that passes, sorted, each row once."""
        return names(sorted({row for upstream in self.lists for row in upstream.passing}))

    def change(self, **what: Any) -> None:
        """The same for all lists."""
        for upstream in self.lists:
            for name, value in what.items():
                setattr(upstream, name, value)


@dataclass
class Answer:
    rows: list[Row]
    cursors: list[Cursor]
    more: bool
    failures: list[RegistryError]
    cut: set[str]
    """The sorted lists that stopped at their bound: they go on from there."""
    totals: dict[str, int | None]
    asked: dict[str, set[int]]
    """The pages that were read, by list; reading one twice costs nothing within an operation."""


def read(world: World, size: int, after: Cursor | None = None) -> Answer:
    """One page of a client, whose cursor travels as text."""
    for upstream in world.lists:
        upstream.asked.clear()
    question = world.question
    start = None if after is None else question.decode(question.encode(after))
    readers = [upstream.reader(start) for upstream in world.lists]
    rows, more = asyncio.run(merge(readers, size))
    return Answer(
        [one for one, _ in rows],
        [cursor for _, cursor in rows],
        more,
        [reader.error for reader in readers if reader.error is not None],
        {reader.name for reader in readers if reader.cut and reader.sorted},
        {reader.name: reader.total for reader in readers},
        {upstream.name: set(upstream.asked) for upstream in world.lists},
    )


def pages(world: World, size: int) -> Iterator[Answer]:
    """All pages; the world may be changed before the next one is taken."""
    after: Cursor | None = None
    for _ in range(300):
        answer = read(world, size, after)
        yield answer
        if not (answer.more and answer.rows):
            return
        after = answer.cursors[-1]
    raise AssertionError("The pages do not end.")


def persistent(world: World, size: int, after: Cursor | None = None) -> Iterator[Answer]:
    """All pages for a client who also goes on from the end of one that stopped at a bound, as long as it has an end;
    when nothing at all was found within the bounds, they are widened."""
    for _ in range(300):
        answer = read(world, size, after)
        yield answer
        if not (answer.more or answer.cut):
            return
        if answer.rows:
            after = answer.cursors[-1]
        else:
            for upstream in world.lists:
                upstream.bound *= 2
    raise AssertionError("The pages do not end.")


def names(rows: Iterable[Row]) -> list[str]:
    return [ref.keys[0] for _, ref in rows]


def told(pages: Iterable[Answer]) -> list[str]:
    """The names of all rows of several pages."""
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
    """Up to four lists of any style, in any order; many rows of one value, some without, some in several lists."""
    order = draw(st.sampled_from(orders))
    some = st.none() | st.integers(0, draw(st.sampled_from([2, 8, 1000])))
    passes = draw(st.builds(lottery, st.integers(0, 99), st.sampled_from([0, 1, 4, 8, 15]))) if filtered else all_pass
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


# Nothing changes


@quick
@given(worlds(), sizes)
def test_all_pages_together_are_what_passes_in_order_and_each_row_once(world: World, size: int) -> None:
    assert told(pages(world, size)) == world.passing


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_every_order_is_kept_across_lists_and_pages(order: Order) -> None:
    """Two lists have every value between them twice, a third has what has none."""
    one = [row(f"{value}-one", value, order) for value in range(5)]
    two = [row(f"{value}-two", value, order) for value in reversed(range(5))]
    none = [row(f"none-{i}", None, order) for i in range(3)]
    world = World([Upstream("s", SORTED, one), Upstream("u", UNSORTED, two), Upstream("k", KEYLESS, none)], order)
    rising = [1, 0, 2, 3, 4] if order.field == "name" else [0, 1, 2, 3, 4]
    values = rising[::-1] if order.descending else rising
    with_value = [f"{value}-{said}" for value in values for said in ("one", "two")]
    assert told(pages(world, 3)) == [*with_value, "none-0", "none-1", "none-2"]


@quick
@given(worlds(), sizes)
def test_every_page_but_the_last_is_full(world: World, size: int) -> None:
    *before, last = pages(world, size)
    assert all(len(page.rows) == size for page in before)
    assert len(last.rows) <= size


@quick
@given(worlds(), sizes)
def test_no_further_page_is_promised_only_when_there_is_none(world: World, size: int) -> None:
    """A list that counts nothing, or nothing that passes, may promise a page that turns out empty, but a page that
    exists is never denied."""
    seen = 0
    for page in pages(world, size):
        seen += len(page.rows)
        assert page.more or seen == len(world.passing)


@quick
@given(worlds(shared=False, filtered=False), sizes)
def test_a_further_page_is_promised_exactly_when_there_is_one(world: World, size: int) -> None:
    """Lists that count, are not filtered here, and do not overlap: every promise is kept."""
    world.change(counts=True)
    seen = 0
    for page in pages(world, size):
        seen += len(page.rows)
        assert page.more == (seen < len(world.passing))


@quick
@given(worlds(), sizes, st.data())
def test_any_row_of_a_page_may_be_gone_on_from(world: World, size: int, data: st.DataObject) -> None:
    whole = world.passing
    page = data.draw(st.sampled_from(list(pages(world, size))))
    for one, cursor in zip(page.rows, page.cursors, strict=True):
        rest = whole[whole.index(one[1].keys[0]) + 1 :]
        assert names(read(world, 7, cursor).rows) == rest[:7]


# Rows come and go between two pages


@dataclass(frozen=True)
class Step:
    """What happens around a page, with lists by their place in the world."""

    broken: Sequence[int | None] = ()
    """From which page on each list fails while the page is read."""
    gone: Iterable[tuple[int, int]] = ()
    """Which rows are deleted after it: the list, and the row by its place there."""
    new: Sequence[tuple[int, int | None]] = ()
    """Which rows are inserted after it: the list, and the value."""

    def fail(self, world: World) -> None:
        for upstream, first_bad in zip(world.lists, chain(self.broken, repeat(None)), strict=False):
            upstream.failing = lambda number, bad=first_bad: bad is not None and number >= bad

    def stir(self, world: World, number: int) -> set[str]:
        """Change the lists; the names of the rows that were deleted."""
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
def test_rows_that_stay_are_seen_once_whatever_comes_and_goes(world: World, size: int, steps: list[Step]) -> None:
    stayed = set(world.passing)
    seen: list[str] = []
    for number, (page, step) in enumerate(zip(pages(world, size), chain(steps, repeat(Step())), strict=False)):
        seen += names(page.rows)
        stayed -= step.stir(world, number)
    assert len(seen) == len(set(seen))
    assert stayed <= set(seen)


# Failures


def mend(world: World) -> None:
    world.change(failing=lambda number: False)


@quick
@given(worlds(shared=False), sizes, steps)
def test_a_list_that_fails_and_comes_back_loses_nothing_and_repeats_nothing(
    world: World, size: int, steps: list[Step]
) -> None:
    """Failures last for any number of pages, at any page of the upstream; then everything answers again."""
    seen: list[str] = []
    cursor: Cursor | None = None
    for step in steps:
        step.fail(world)
        page = read(world, size, cursor)
        seen += names(page.rows)
        cursor = page.cursors[-1] if page.cursors else cursor
    mend(world)
    while len(seen) < 1000 and (page := read(world, size, cursor)).rows:
        seen += names(page.rows)
        cursor = page.cursors[-1]
    assert sorted(seen) == sorted(world.passing)


@quick
@given(worlds(shared=False), sizes, steps)
def test_after_any_row_of_a_page_that_misses_a_list_nothing_is_lost_or_repeated(
    world: World, size: int, steps: list[Step]
) -> None:
    """A cursor between the rows of the page stands for all rows up to it, as that of the last one does."""
    steps[0].fail(world)
    page = read(world, size)
    mend(world)
    for number, cursor in enumerate(page.cursors, 1):
        given = names(page.rows[:number])
        assert sorted(given + told(persistent(world, 7, cursor))) == sorted(world.passing)


def test_a_list_that_came_back_does_not_make_the_others_start_again() -> None:
    """While `b` was away the page went far ahead of it; when it is back, its old rows come, and no row comes twice."""
    a = Upstream("a", SORTED, [row(f"a{i}", time) for i, time in enumerate((90, 80, 70, 60, 50))])
    b = Upstream("b", SORTED, [row(f"b{i}", time) for i, time in enumerate((95, 85, 75))])
    world = World([a, b])
    b.failing = lambda number: True
    ahead = read(world, 4)
    assert names(ahead.rows) == ["a0", "a1", "a2", "a3"]

    mend(world)
    caught_up = read(world, 2, ahead.cursors[-1])
    assert names(caught_up.rows) == ["b0", "b1"]
    assert names(read(world, 2, caught_up.cursors[-1]).rows) == ["b2", "a4"]


def test_a_failure_ends_its_own_list_only_and_says_why() -> None:
    healthy = Upstream("healthy", SORTED, [row("x", 1), row("y", 0)])
    broken = Upstream("broken", SORTED, [row(f"b{i}", 9 - i) for i in range(9)], failing=lambda number: number > 1)
    answer = read(World([healthy, broken]), 7)
    assert names(answer.rows) == ["b0", "b1", "x", "y"]
    assert [error.code for error in answer.failures] == ["REGISTRY_UNAVAILABLE"]
    assert answer.cursors[-1].own == {"broken": row("b1", 8)[0]}


# What it costs


def pages_needed(upstream: Upstream, given: Sequence[Row]) -> int:
    """The page of a sorted list that shows where its first row that passes and is not given out ends: rows of one
    value are sorted by id here, so all of them must be there, and the row after them says that they are."""
    rows = sorted(upstream.list_name())
    left = [one for one in upstream.passing if one not in given]
    if not left:
        return -(-len(rows) // upstream.size)
    same = [one for one in rows if one[0][:2] <= left[0][0][:2]]
    return -(-min(len(same) + 1, len(rows)) // upstream.size)


@quick
@given(worlds(styles=(SORTED,), shared=False), sizes)
def test_the_first_page_reads_no_page_of_a_sorted_list_that_it_does_not_need(world: World, size: int) -> None:
    world.change(counts=True)
    answer = read(world, size)
    for upstream in world.lists:
        needed = max(1, pages_needed(upstream, answer.rows))
        assert answer.asked[upstream.name] == set(range(1, len(answer.asked[upstream.name]) + 1))
        assert len(answer.asked[upstream.name]) <= needed


@quick
@given(worlds(shared=False), sizes)
def test_an_unsorted_list_is_read_whole_once_and_a_list_without_values_only_when_its_turn_comes(
    world: World, size: int
) -> None:
    """Its first page is read before that, for its count; but not where each row would cost a call of its own."""
    world.change(counts=True)
    answer = read(world, size)
    all_have_values = all(key[0] == 0 for key, _ in answer.rows) and len(answer.rows) == size
    for upstream in world.lists:
        whole = list(range(1, max(1, -(-len(upstream.list_name()) // upstream.size)) + 1))
        if upstream.style == UNSORTED:
            assert sorted(upstream.asked) == whole
        if upstream.style == KEYLESS:
            not_yet = [] if upstream.lazy else [1]
            assert sorted(upstream.asked) == (not_yet if all_have_values else whole)


@quick
@given(st.lists(st.integers(0, 3), min_size=20, max_size=120), sizes)
def test_a_deep_page_reads_two_or_three_pages_of_each_list_that_did_not_change(places: list[int], size: int) -> None:
    """All times differ, and an upstream page holds seven rows: the page of the last row, the next one, and for client
    pages that are nearly as large one more, because a page's last row waits for the next page."""
    world = World(
        [
            Upstream(
                f"s{i}", SORTED, [row(f"{time:03}", time) for time, place in enumerate(places) if place == i], size=7
            )
            for i in range(4)
        ]
    )
    for answer in pages(world, size):
        for asked in answer.asked.values():
            assert len(asked) <= (2 if size <= 5 else 3)


def test_a_list_that_gave_nothing_to_a_page_is_not_read_from_its_start_for_the_next() -> None:
    """The old list is deep in its pages when a long run of newer rows of the other one begins."""
    old = Upstream("old", SORTED, [row(f"old{i:02}", 1000 - i) for i in range(20)] + [row("last", 0)])
    new = Upstream("new", SORTED, [row(f"new{i:02}", 500 - i) for i in range(20)])
    asked = [answer.asked["old"] for answer in pages(World([old, new]), 4)]
    assert [len(pages_read) for pages_read in asked[5:]] == [1] * len(asked[5:])


def test_a_list_that_failed_is_not_read_from_its_start_when_it_is_back() -> None:
    deep = Upstream("deep", SORTED, [row(f"deep{i:02}", -i) for i in range(30)])
    other = Upstream("other", SORTED, [row(f"other{i:02}", -i) for i in range(30)])
    world = World([deep, other])
    *_, before = [page for page, _ in zip(pages(world, 4), range(6), strict=False)]
    deep.failing = lambda number: True
    missed = read(world, 4, before.cursors[-1])
    assert len(missed.failures) == 1
    mend(world)
    assert min(read(world, 4, missed.cursors[-1]).asked["deep"]) >= max(before.asked["deep"]) - 1


def test_lists_are_read_at_the_same_time() -> None:
    arrived: list[str] = []

    async def run() -> None:
        everyone = asyncio.Event()

        def ask(name: str) -> Callable[[int], asyncio.Future[Page]]:
            only = row(name, 1)

            async def one(number: int) -> Page:
                arrived.append(name)
                if len(arrived) == 3:
                    everyone.set()
                await everyone.wait()
                return Page([only], (only[0], only[0]), 1, 1, more=False)

            return one

        readers = [StreamReader("r", name, ask(name), sorted=True, bound=NO_BOUND) for name in ("a", "b", "c")]
        async with asyncio.timeout(5):
            rows, more = await merge(readers, 3)
        assert names(one for one, _ in rows) == ["a", "b", "c"]
        assert not more

    asyncio.run(run())


# The bound of a list that is sorted here


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("style", [UNSORTED, KEYLESS])
def test_a_scan_stops_at_its_bound_and_says_so(style: str, counts: bool) -> None:
    rows = [row(f"{i:03}", None if style == KEYLESS else i) for i in range(100)]
    upstream = Upstream("long", style, rows, size=6, counts=counts, bound=20)
    reader = upstream.reader()
    given, _ = asyncio.run(merge([reader], 7))
    assert len(given) == 7
    assert reader.cut
    assert sorted(upstream.asked) == [1, 2, 3, 4]
    assert reader.read == 24
    assert reader.total == (100 if counts else None)


@pytest.mark.parametrize("counts", [True, False])
def test_a_scan_that_ends_at_its_bound_is_whole(counts: bool) -> None:
    upstream = Upstream("whole", UNSORTED, [row(f"{i:03}", i) for i in range(19)], size=5, counts=counts, bound=20)
    reader = upstream.reader()
    asyncio.run(merge([reader], 7))
    assert not reader.cut
    assert reader.total == 19
    assert sorted(upstream.asked) == [1, 2, 3, 4]


@quick
@given(worlds(styles=(UNSORTED, KEYLESS), shared=False), sizes, bounds)
def test_what_lies_within_the_bound_of_a_scan_is_given_out_in_order(world: World, size: int, bound: int) -> None:
    """Each list is as if it ended with the page that reaches the bound."""
    world.change(bound=bound)
    within = []
    for upstream in world.lists:
        listed = upstream.list_name()[: -(-bound // upstream.size) * upstream.size]
        within += filter(upstream.passes, listed)
    assert told(pages(world, size)) == names(sorted(within))


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("style", STYLES)
def test_pages_of_which_nothing_passes_do_not_end_a_list(style: str, counts: bool) -> None:
    last = "zz" if style == KEYLESS else "00"
    rows = [row(f"{i:02}", None if style == KEYLESS else i) for i in range(20)] + [row("zz", None)]
    world = World([Upstream("s", style, rows, counts=counts, passes=lambda row: row[1].keys == (last,))])
    assert told(pages(world, 5)) == [last]


# The bound of a list that comes sorted and is filtered here


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize(("bound", "asked"), [(1, 1), (5, 1), (6, 2), (20, 4)])
def test_a_sorted_list_is_not_read_beyond_its_bound_in_search_of_a_row(counts: bool, bound: int, asked: int) -> None:
    rows = [row(f"{i:03}", i) for i in range(100)]
    upstream = Upstream("long", SORTED, rows, size=5, counts=counts, passes=lambda row: False, bound=bound)
    reader = upstream.reader()
    given, _ = asyncio.run(merge([reader], 7))
    assert not given
    assert reader.cut
    assert sorted(upstream.asked) == list(range(1, asked + 1))
    assert reader.read == 5 * asked
    assert reader.total is None


def test_a_page_that_stopped_at_the_bound_is_gone_on_from_where_it_stopped() -> None:
    """Every tenth row passes; two pages of four rows are read at a time before the search is given up."""
    found = [f"{i:02}" for i in range(5, 60, 10)]
    rows = [row(f"{i:02}", -i) for i in range(60)]
    sparse = Upstream("sparse", SORTED, rows, size=4, passes=lambda row: row[1].keys[0][1] == "5", bound=8)
    dense = Upstream("dense", SORTED, [row(f"d{i}", -i) for i in range(0, 50, 2)])
    world = World([sparse, dense])
    first = read(world, 10)
    assert names(first.rows)[:5] == ["d0", "d2", "d4", "05", "d6"]
    assert first.cut == {"sparse"}

    rest = list(persistent(world, 10, first.cursors[-1]))
    assert [name for name in names(first.rows) + told(rest) if name in found] == found
    assert all(min(page.asked["sparse"]) > 1 for page in rest)


def test_what_was_searched_behind_the_last_row_of_a_page_is_not_searched_again() -> None:
    """The sixth row passes; the search for another one ends with the second page of four rows."""
    rows = [row(f"{i:02}", -i) for i in range(60)]
    world = World([Upstream("sparse", SORTED, rows, size=4, passes=lambda row: row[1].keys == ("05",), bound=8)])
    page = read(world, 10)
    assert names(page.rows) == ["05"]
    assert page.asked["sparse"] == {1, 2}
    assert read(world, 10, page.cursors[-1]).asked["sparse"] == {2, 3}


@pytest.mark.parametrize("size", [1, 3, 30])
def test_rows_that_pass_on_every_page_do_not_lengthen_the_search(size: int) -> None:
    """One row of every page of five passes, and forty are looked at: no more than eight pages for one of the merge."""
    rows = [row(f"{i:03}", -i) for i in range(500)]
    upstream = Upstream("sparse", SORTED, rows, size=5, passes=lambda row: row[1].keys[0][2] in "05", bound=40)
    assert len(read(World([upstream]), size).asked["sparse"]) <= 8


def ties_and_others() -> World:
    """Two pages of rows of one value and a third behind them, beside a list that has rows to go on with."""
    ties = Upstream("ties", SORTED, [row(f"{i}", 0) for i in range(6)] + [row("6", -1)], bound=9)
    return World([ties, Upstream("others", SORTED, [row(f"other-{i}", -2 - i) for i in range(4)])])


def test_what_was_given_out_of_a_value_is_not_repeated_when_the_rest_of_it_reaches_the_bound() -> None:
    """A page that ends in the second page of a value reads that, then the first and then the second again: nine."""
    seen = told(persistent(ties_and_others(), 1))
    assert [name for name in seen if "other" not in name] == ["0", "1", "2", "3", "4", "5", "6"]


@pytest.mark.parametrize(
    ("values", "bound"),
    [
        pytest.param(range(0, -30, -1), 3, id="a bound of one page"),
        pytest.param([0] * 29 + [-29], 6, id="more rows of one value than the bound"),
    ],
)
def test_every_page_brings_a_list_that_stops_closer_to_its_next_row(values: Sequence[int], bound: int) -> None:
    """The other list has rows enough to go on from."""
    rows = [row(f"{i:02}", value) for i, value in enumerate(values)]
    searched = Upstream("searched", SORTED, rows, passes=lambda row: row[1].keys == ("29",), bound=bound)
    other = Upstream("other", SORTED, [row(f"x{i:02}", -i) for i in range(60)])
    world = World([searched, other])
    answers = [page for page, _ in zip(persistent(world, 2), range(25), strict=False)]
    assert "29" in told(answers)


@quick
@given(worlds(shared=False), sizes, bounds)
@example(ties_and_others(), 1, 9)
def test_lists_that_stop_at_their_bounds_lose_nothing_and_repeat_nothing(world: World, size: int, bound: int) -> None:
    """What remains of the order: every page is in order, every list is in order across all pages, and so are all
    those lists together that never stopped. A list that stopped may come back with rows that belong further up."""
    for upstream in world.lists:
        upstream.bound = bound if upstream.style == SORTED else NO_BOUND
    answers = list(persistent(world, size))
    seen = told(answers)
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
def test_whatever_changes_fails_and_stops_rows_that_stay_are_seen_once(
    world: World, size: int, bound: int, steps: list[Step]
) -> None:
    for upstream in world.lists:
        upstream.bound = bound if upstream.style == SORTED else NO_BOUND
    stayed = set(world.passing)
    seen: list[str] = []
    cursor: Cursor | None = None
    for number, step in enumerate(steps):
        step.fail(world)
        page = read(world, size, cursor)
        seen += names(page.rows)
        cursor = page.cursors[-1] if page.cursors else cursor
        stayed -= step.stir(world, number)
    mend(world)
    seen += told(persistent(world, size, cursor))
    assert len(seen) == len(set(seen))
    assert stayed <= set(seen)


# How many there are


@quick
@given(worlds(), sizes, bounds | st.just(NO_BOUND), steps)
def test_a_total_is_the_number_of_rows_that_pass_or_none(
    world: World, size: int, bound: int, steps: list[Step]
) -> None:
    """On any page, whatever fails or stops."""
    world.change(bound=bound)
    cursor: Cursor | None = None
    for step in steps:
        step.fail(world)
        page = read(world, size, cursor)
        for upstream in world.lists:
            assert page.totals[upstream.name] in (None, len(upstream.passing))
        cursor = page.cursors[-1] if page.cursors else cursor


@quick
@given(worlds(), sizes)
def test_lists_that_count_what_passes_and_lists_that_were_read_whole_have_a_total(world: World, size: int) -> None:
    for page in pages(world, size):
        for upstream in world.lists:
            counted = upstream.exact and upstream.counts
            if (counted and not upstream.lazy) or upstream.style == UNSORTED:
                assert page.totals[upstream.name] == len(upstream.passing)


# Cursors

moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)).map(datetime.isoformat)
questions = st.builds(CursorScope, st.text(), st.sampled_from(ORDERS))


def keys(order: Order) -> st.SearchStrategy[SortKey]:
    return st.builds(order.key_of, st.none() | (st.text() if order.field == "name" else moments), st.text())


def cursors(order: Order) -> st.SearchStrategy[Cursor]:
    pages = st.dictionaries(st.text(max_size=8), st.integers(1, 10_000), max_size=3)
    own = st.dictionaries(st.text(max_size=8), st.none() | keys(order), max_size=3)
    return st.builds(Cursor, keys(order), pages, own)


asked = questions.flatmap(lambda question: st.tuples(st.just(question), cursors(question.order)))
"""A question, and any place in the answer."""


@given(asked)
def test_a_cursor_survives_its_travel_as_text(asked: tuple[CursorScope, Cursor]) -> None:
    question, cursor = asked
    text = question.encode(cursor)
    assert question.decode(text) == cursor
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(asked, questions)
def test_a_cursor_of_another_question_is_refused(asked: tuple[CursorScope, Cursor], other: CursorScope) -> None:
    question, cursor = asked
    if question != other:
        with pytest.raises(InvalidCursor):
            other.decode(question.encode(cursor))


@pytest.mark.parametrize("other", ORDERS[1:], ids=str)
def test_a_cursor_of_another_order_is_refused_even_if_no_row_has_a_value(other: Order) -> None:
    """The keys alone look the same."""
    text = CursorScope("Model", NEWEST_FIRST).encode(Cursor(row("x", None)[0]))
    with pytest.raises(InvalidCursor):
        CursorScope("Model", other).decode(text)


@given(asked, st.data())
def test_a_cursor_that_was_cut_short_is_refused(asked: tuple[CursorScope, Cursor], data: st.DataObject) -> None:
    question, cursor = asked
    text = question.encode(cursor)
    with pytest.raises(InvalidCursor):
        question.decode(text[: data.draw(st.integers(0, len(text) - 1))])


@given(asked, st.data())
def test_a_cursor_with_another_character_anywhere_is_refused(
    asked: tuple[CursorScope, Cursor], data: st.DataObject
) -> None:
    question, cursor = asked
    text = question.encode(cursor)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda character: character != text[place]))
    with pytest.raises(InvalidCursor):
        question.decode(text[:place] + other + text[place + 1 :])


@given(questions, st.text() | st.text("ABCabc012-_=", max_size=40))
@example(CursorScope("Model", NEWEST_FIRST), "")
@example(CursorScope("Model", NEWEST_FIRST), "=")
@example(CursorScope("Model", NEWEST_FIRST), "\ud800")
@example(CursorScope("Model", NEWEST_FIRST), "A" * 10_000)
def test_text_that_never_was_a_cursor_is_refused(question: CursorScope, text: str) -> None:
    with pytest.raises(InvalidCursor, match=r"^The cursor in `after` does not belong to this list"):
        question.decode(text)


@given(asked, st.sampled_from(["=", "==", " ", "\n"]))
def test_a_cursor_has_one_spelling(asked: tuple[CursorScope, Cursor], appended: str) -> None:
    question, cursor = asked
    with pytest.raises(InvalidCursor):
        question.decode(question.encode(cursor) + appended)


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
        pytest.param([KEY, {"s": 0}, {}], id="a page before the first"),
        pytest.param([KEY, {"s": "1"}, {}], id="a page that is text"),
        pytest.param([KEY, {}, 5], id="keys of lists that are none"),
        pytest.param([KEY, {}, {"s": 5}], id="a list with a key that is none"),
    ],
)
def test_a_forged_cursor_is_refused_even_if_its_check_is_right(forged: Any) -> None:
    """The check is no secret: whoever reads the source can make one."""
    question = CursorScope("Model", NEWEST_FIRST)
    body = bytes([VERSION]) + orjson.dumps(forged)
    with pytest.raises(InvalidCursor):
        question.decode(in_base64(question._check(body) + body))
