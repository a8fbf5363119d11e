"""Merged pages against a reference that holds everything in memory and sorts it."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from zlib import crc32

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.catalog import streams
from gateway.catalog.cursors import Cursor, Key, decode, encode
from gateway.catalog.ids import Ref
from gateway.catalog.streams import Page, Reader, Row, merge
from gateway.errors import InvalidCursor, RegistryError, RegistryUnavailable

QUESTION = "Model newest first"
SORTED, UNSORTED, KEYLESS = "sorted", "unsorted", "keyless"

FORGETS_PAGES = pytest.mark.xfail(
    strict=True, reason="Reader.given_page starts at 1: a resumed list that gives nothing to a page forgets its place"
)
FORGETS_THE_FURTHEST = pytest.mark.xfail(
    strict=True, reason="place() goes by the last row, which may lie before what other lists have given long ago"
)
DIVIDES_BY_ZERO = pytest.mark.xfail(
    strict=True, reason="Reader._scan divides by the number of rows of the first page", raises=ZeroDivisionError
)

quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def row(name: str, time: int | None) -> Row:
    """A row as `sort_key` makes it: newest first, those without a time last, ties by id."""
    ref = Ref("r", "Model", (name,))
    return ((1, 0, str(ref)) if time is None else (0, -time, str(ref))), ref


@dataclass
class Upstream:
    """One list of a registry, which may change and fail between two pages of a client, and notes what it is asked."""

    name: str
    style: str
    rows: list[Row]
    size: int = 3
    counts: bool = True
    failing: Callable[[int], bool] = lambda number: False
    asked: list[int] = field(default_factory=list)

    def ordered(self) -> list[Row]:
        """A sorted list keeps an order of its own among rows of one time; any other has no order at all."""
        mixed = sorted(self.rows, key=lambda row: crc32(str(row[1]).encode()))
        return sorted(mixed, key=lambda row: row[0][:2]) if self.style == SORTED else mixed

    async def ask(self, number: int) -> Page:
        await asyncio.sleep(0)
        self.asked.append(number)
        if self.failing(number):
            raise RegistryUnavailable("r")
        rows = self.ordered()
        end = number * self.size
        found = rows[end - self.size : end]
        more = end < len(rows) if self.counts else len(found) == self.size
        return Page(found, len(rows) if self.counts else None, more)

    def reader(self, start: Cursor | None) -> Reader:
        reader = Reader("r", self.name, self.ask, sorted=self.style == SORTED, keyless=self.style == KEYLESS)
        if start is not None:
            reader.after, reader.page = start.after(self.name), start.pages.get(self.name, 1)
        return reader


@dataclass
class Answer:
    rows: list[Row]
    cursors: list[Cursor]
    more: bool
    failures: list[RegistryError]
    asked: dict[str, set[int]]
    """The pages that were read, by stream; reading one twice costs nothing within an operation."""


def read(world: Sequence[Upstream], size: int, after: Cursor | None = None) -> Answer:
    """One page of a client, whose cursor travels as text."""
    for upstream in world:
        upstream.asked.clear()
    start = None if after is None else decode(encode(after, QUESTION), QUESTION)
    readers = [upstream.reader(start) for upstream in world]
    rows, more = asyncio.run(merge(readers, size))
    return Answer(
        [one for one, _ in rows],
        [cursor for _, cursor in rows],
        more,
        [reader.error for reader in readers if reader.error is not None],
        {upstream.name: set(upstream.asked) for upstream in world},
    )


def pages(world: Sequence[Upstream], size: int) -> Iterator[Answer]:
    """All pages; the world may be changed before the next one is taken."""
    after: Cursor | None = None
    for _ in range(1000):
        answer = read(world, size, after)
        yield answer
        if not (answer.more and answer.rows):
            return
        after = answer.cursors[-1]
    raise AssertionError("The pages do not end.")


def names(rows: Iterable[Row]) -> list[str]:
    return [ref.keys[0] for _, ref in rows]


def reference(world: Sequence[Upstream]) -> list[str]:
    return names(sorted({one for upstream in world for one in upstream.rows}))


@st.composite
def worlds(draw: st.DrawFn, styles: Sequence[str] = (SORTED, UNSORTED, KEYLESS), shared: bool = True) -> list[Upstream]:
    """Up to four lists of any style; many rows of one time, some without a time, some in several lists."""
    world = []
    times = st.none() | st.integers(0, draw(st.sampled_from([2, 8, 1000])))
    common = [row(f"common-{i}", draw(times)) for i in range(draw(st.integers(0, 4)))] if shared else []
    for number in range(draw(st.integers(1, 4))):
        style = draw(st.sampled_from(styles))
        drawn = draw(st.lists(st.just(None) if style == KEYLESS else times, max_size=24))
        rows = [row(f"{number}-{i:02}", time) for i, time in enumerate(drawn)]
        rows += [one for one in common if (style != KEYLESS or one[0][0] == 1) and draw(st.booleans())]
        world.append(Upstream(f"s{number}", style, rows, draw(st.integers(1, 7)), draw(st.booleans())))
    return world


sizes = st.integers(1, 7)


# Nothing changes


@quick
@given(worlds(), sizes)
def test_all_pages_together_are_the_sorted_whole_and_each_row_once(world: list[Upstream], size: int) -> None:
    assert names(one for page in pages(world, size) for one in page.rows) == reference(world)


@quick
@given(worlds(), sizes)
def test_every_page_but_the_last_is_full(world: list[Upstream], size: int) -> None:
    *before, last = pages(world, size)
    assert all(len(page.rows) == size for page in before)
    assert len(last.rows) <= size


@quick
@given(worlds(), sizes)
def test_no_further_page_is_promised_only_when_there_is_none(world: list[Upstream], size: int) -> None:
    """A list that counts nothing may promise a page that turns out empty, but a page that exists is never denied."""
    seen = 0
    for page in pages(world, size):
        seen += len(page.rows)
        assert page.more or seen == len(reference(world))


@quick
@given(worlds(shared=False), sizes)
def test_a_further_page_is_promised_exactly_when_there_is_one(world: list[Upstream], size: int) -> None:
    """Lists that count, and do not overlap: every promise is kept."""
    for upstream in world:
        upstream.counts = True
    seen = 0
    for page in pages(world, size):
        seen += len(page.rows)
        assert page.more == (seen < len(reference(world)))


@quick
@given(worlds(), sizes, st.data())
def test_any_row_of_a_page_may_be_gone_on_from(world: list[Upstream], size: int, data: st.DataObject) -> None:
    whole = reference(world)
    page = data.draw(st.sampled_from(list(pages(world, size))))
    for one, cursor in zip(page.rows, page.cursors, strict=True):
        rest = whole[whole.index(one[1].keys[0]) + 1 :]
        assert names(read(world, 7, cursor).rows) == rest[:7]


# Rows come and go between two pages


@quick
@given(worlds(styles=(SORTED, UNSORTED, KEYLESS), shared=False), sizes, st.data())
def test_rows_that_stay_are_seen_once_whatever_comes_and_goes(
    world: list[Upstream], size: int, data: st.DataObject
) -> None:
    stayed = set(reference(world))
    seen: list[str] = []
    for number, page in enumerate(pages(world, size)):
        seen += names(page.rows)
        if number > 6:
            continue
        for upstream in world:
            gone = data.draw(st.sets(st.sampled_from(upstream.rows), max_size=9)) if upstream.rows else set()
            new = data.draw(st.lists(st.integers(0, 9), max_size=5))
            upstream.rows = [one for one in upstream.rows if one not in gone]
            upstream.rows += [
                row(f"new-{upstream.name}-{number}-{i}", None if upstream.style == KEYLESS else time)
                for i, time in enumerate(new)
            ]
            stayed -= set(names(gone))
    assert len(seen) == len(set(seen))
    assert stayed <= set(seen)


# Failures


@FORGETS_THE_FURTHEST
@quick
@given(worlds(shared=False), sizes, st.data())
def test_a_list_that_fails_and_comes_back_loses_nothing_and_repeats_nothing(
    world: list[Upstream], size: int, data: st.DataObject
) -> None:
    """Failures last for any number of pages, at any page of the upstream; then everything answers again."""
    seen: list[str] = []
    cursor: Cursor | None = None
    for _ in range(data.draw(st.integers(1, 4))):
        for upstream in world:
            first_bad = data.draw(st.integers(1, 4) | st.none())
            upstream.failing = lambda number, bad=first_bad: bad is not None and number >= bad
        page = read(world, size, cursor)
        seen += names(page.rows)
        cursor = page.cursors[-1] if page.cursors else cursor
    for upstream in world:
        upstream.failing = lambda number: False
    while len(seen) < 1000 and (page := read(world, size, cursor)).rows:
        seen += names(page.rows)
        cursor = page.cursors[-1]
    assert sorted(seen) == sorted(reference(world))


@FORGETS_THE_FURTHEST
def test_a_list_that_came_back_does_not_make_the_others_start_again() -> None:
    """While `b` was away the page went far ahead of it; when it is back, its old rows come, and no row comes twice."""
    a = Upstream("a", SORTED, [row(f"a{i}", time) for i, time in enumerate((90, 80, 70, 60, 50))])
    b = Upstream("b", SORTED, [row(f"b{i}", time) for i, time in enumerate((95, 85, 75))])
    b.failing = lambda number: True
    ahead = read([a, b], 4)
    assert names(ahead.rows) == ["a0", "a1", "a2", "a3"]

    b.failing = lambda number: False
    caught_up = read([a, b], 2, ahead.cursors[-1])
    assert names(caught_up.rows) == ["b0", "b1"]
    assert names(read([a, b], 2, caught_up.cursors[-1]).rows) == ["b2", "a4"]


def test_a_failure_ends_its_own_list_only_and_says_why() -> None:
    healthy = Upstream("healthy", SORTED, [row("x", 1), row("y", 0)])
    broken = Upstream("broken", SORTED, [row(f"b{i}", 9 - i) for i in range(9)], failing=lambda number: number > 1)
    answer = read([healthy, broken], 7)
    assert names(answer.rows) == ["b0", "b1", "x", "y"]
    assert [error.code for error in answer.failures] == ["REGISTRY_UNAVAILABLE"]
    assert answer.cursors[-1].behind == {"broken": row("b1", 8)[0]}


# What it costs


def pages_needed(upstream: Upstream, given: Sequence[Row]) -> int:
    """The page of a sorted list that shows where its first row that is not given out ends: rows of one time are
    sorted by id here, so all of them must be there, and the row after them says that they are."""
    rows = sorted(upstream.rows)
    left = [one for one in rows if one not in given]
    if not left:
        return -(-len(rows) // upstream.size)
    same = [one for one in rows if one[0][:2] <= left[0][0][:2]]
    return -(-min(len(same) + 1, len(rows)) // upstream.size)


@quick
@given(worlds(styles=(SORTED,), shared=False), sizes)
def test_the_first_page_reads_no_page_of_a_sorted_list_that_it_does_not_need(world: list[Upstream], size: int) -> None:
    for upstream in world:
        upstream.counts = True
    answer = read(world, size)
    for upstream in world:
        needed = max(1, pages_needed(upstream, answer.rows))
        assert answer.asked[upstream.name] == set(range(1, len(answer.asked[upstream.name]) + 1))
        assert len(answer.asked[upstream.name]) <= needed


@quick
@given(worlds(shared=False), sizes)
def test_an_unsorted_list_is_read_whole_once_and_a_list_without_times_only_when_its_turn_comes(
    world: list[Upstream], size: int
) -> None:
    for upstream in world:
        upstream.counts = True
    answer = read(world, size)
    all_timed = all(key[0] == 0 for key, _ in answer.rows) and len(answer.rows) == size
    for upstream in world:
        whole = max(1, -(-len(upstream.rows) // upstream.size))
        if upstream.style == UNSORTED:
            assert sorted(upstream.asked) == list(range(1, whole + 1))
        if upstream.style == KEYLESS:
            assert sorted(upstream.asked) == (list(range(1, 2 if all_timed else whole + 1)))


@FORGETS_PAGES
@quick
@given(st.lists(st.integers(0, 3), min_size=20, max_size=120), sizes)
def test_a_deep_page_reads_two_or_three_pages_of_each_list_that_did_not_change(places: list[int], size: int) -> None:
    """All times differ, and an upstream page holds seven rows: the page of the last row, the next one, and for client
    pages that are nearly as large one more, because a page's last row waits for the next page."""
    world = [
        Upstream(f"s{i}", SORTED, [row(f"{time:03}", time) for time, place in enumerate(places) if place == i], size=7)
        for i in range(4)
    ]
    for answer in pages(world, size):
        for asked in answer.asked.values():
            assert len(asked) <= (2 if size <= 5 else 3)


@FORGETS_PAGES
def test_a_list_that_gave_nothing_to_a_page_is_not_read_from_its_start_for_the_next() -> None:
    """The old list is deep in its pages when a long run of newer rows of the other one begins."""
    old = Upstream("old", SORTED, [row(f"old{i:02}", 1000 - i) for i in range(20)] + [row("last", 0)])
    new = Upstream("new", SORTED, [row(f"new{i:02}", 500 - i) for i in range(20)])
    asked = [answer.asked["old"] for answer in pages([old, new], 4)]
    assert [len(pages_read) for pages_read in asked[5:]] == [1] * len(asked[5:])


def test_lists_are_read_at_the_same_time() -> None:
    arrived: list[str] = []

    async def run() -> None:
        everyone = asyncio.Event()

        def ask(name: str) -> Callable[[int], asyncio.Future[Page]]:
            async def one(number: int) -> Page:
                arrived.append(name)
                if len(arrived) == 3:
                    everyone.set()
                await everyone.wait()
                return Page([row(name, 1)], 1, more=False)

            return one

        readers = [Reader("r", name, ask(name), sorted=True) for name in ("a", "b", "c")]
        async with asyncio.timeout(5):
            rows, more = await merge(readers, 3)
        assert names(one for one, _ in rows) == ["a", "b", "c"]
        assert not more

    asyncio.run(run())


# The bound of a scan


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("style", [UNSORTED, KEYLESS])
def test_a_scan_stops_at_its_bound_and_says_so(monkeypatch: pytest.MonkeyPatch, style: str, counts: bool) -> None:
    monkeypatch.setattr(streams, "SCAN_ROWS", 20)
    rows = [row(f"{i:03}", None if style == KEYLESS else i) for i in range(100)]
    upstream = Upstream("long", style, rows, size=6, counts=counts)
    reader = upstream.reader(None)
    given, _ = asyncio.run(merge([reader], 7))
    assert len(given) == 7
    assert reader.cut
    assert sorted(upstream.asked) == [1, 2, 3, 4]
    assert reader.total == (100 if counts else None)


@pytest.mark.parametrize("counts", [True, False])
def test_a_scan_that_ends_at_its_bound_is_whole(monkeypatch: pytest.MonkeyPatch, counts: bool) -> None:
    monkeypatch.setattr(streams, "SCAN_ROWS", 20)
    upstream = Upstream("whole", UNSORTED, [row(f"{i:03}", i) for i in range(19)], size=5, counts=counts)
    reader = upstream.reader(None)
    asyncio.run(merge([reader], 7))
    assert not reader.cut
    assert reader.total == 19
    assert sorted(upstream.asked) == [1, 2, 3, 4]


@DIVIDES_BY_ZERO
def test_a_first_page_whose_rows_have_no_keys_does_not_stop_a_scan() -> None:
    """Rows without a key are dropped from a page, but the list goes on behind them."""

    async def ask(number: int) -> Page:
        return Page([row("x", 1)] if number == 2 else [], 6, more=number < 2)

    rows, _ = asyncio.run(merge([Reader("r", "odd", ask, sorted=False)], 7))
    assert names(one for one, _ in rows) == ["x"]


# Cursors

keys: st.SearchStrategy[Key] = st.tuples(st.integers(0, 1), st.integers(-(2**53), 2**53), st.text(max_size=20))
some_cursors = st.builds(
    Cursor,
    keys,
    st.dictionaries(st.text(max_size=8), st.integers(1, 10_000), max_size=3),
    st.dictionaries(st.text(max_size=8), st.none() | keys, max_size=3),
)


@given(some_cursors, st.text())
def test_a_cursor_survives_its_travel_as_text(cursor: Cursor, question: str) -> None:
    text = encode(cursor, question)
    assert decode(text, question) == cursor
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(some_cursors, st.text(), st.text())
def test_a_cursor_of_another_question_is_refused(cursor: Cursor, asked: str, other: str) -> None:
    if asked != other:
        with pytest.raises(InvalidCursor):
            decode(encode(cursor, asked), other)


@given(some_cursors, st.data())
def test_a_cursor_that_was_cut_short_is_refused(cursor: Cursor, data: st.DataObject) -> None:
    text = encode(cursor, QUESTION)
    with pytest.raises(InvalidCursor):
        decode(text[: data.draw(st.integers(0, len(text) - 1))], QUESTION)


@given(some_cursors, st.data())
def test_a_cursor_with_another_character_anywhere_is_refused(cursor: Cursor, data: st.DataObject) -> None:
    text = encode(cursor, QUESTION)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda character: character != text[place]))
    with pytest.raises(InvalidCursor):
        decode(text[:place] + other + text[place + 1 :], QUESTION)


@given(st.text() | st.text("ABCabc012-_=", max_size=40))
@example("")
@example("=")
@example("\ud800")
@example("A" * 10_000)
def test_text_that_never_was_a_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor, match=r"^The cursor in `after` does not belong to this list"):
        decode(text, QUESTION)


@given(some_cursors, st.sampled_from(["=", "==", " ", "\n"]))
def test_a_cursor_has_one_spelling(cursor: Cursor, appended: str) -> None:
    with pytest.raises(InvalidCursor):
        decode(encode(cursor, QUESTION) + appended, QUESTION)
