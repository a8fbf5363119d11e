"""Ordered streams of rows from paged lists, and their lazy k-way merge."""

import asyncio
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import accumulate
from operator import itemgetter
from typing import Any, Final, NamedTuple
from zlib import crc32

from gateway.catalog.cursors import FIRST_PAGE, Cursor, PagePosition
from gateway.catalog.ids import Ref
from gateway.catalog.orders import LOWEST_WITHOUT_VALUE, SortKey
from gateway.errors import RegistryError, RegistryListCut, RegistryListIncomplete

Row = tuple[SortKey, Ref]
Marked = tuple[SortKey, Ref, PagePosition]
"""A row with the position of its page."""

EMPTY_PAGES: Final = 10
"""The number of pages without rows, one after the other, after which a numbered list is not read any further."""


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one page of a list that match the filter.

    ``ids`` are the global ids of all rows, and ``ends`` the sort keys of the first and the last one, both before
    filtering; ``ends`` is None without rows. ``read`` is the number of rows before filtering, which includes the
    ``left_out`` ones without a reference. ``total`` is the registry's count of all rows of the list.

    ``next`` is the number or marker of the page that follows, None if the registry reports the end. A number is only a
    proposal: `StreamReader` decides where a numbered list ends. ``truncated`` is true if the registry reports further
    rows that no call returns, ``passed`` if no row after this page can match the filter, ``disordered`` if the rows are
    not in the requested order.
    """

    rows: Sequence[Row]
    ids: Collection[str]
    ends: tuple[SortKey, SortKey] | None
    read: int
    total: int | None
    next: int | str | None
    left_out: int = 0
    truncated: bool = False
    passed: bool = False
    disordered: bool = False


@dataclass(slots=True)
class ReadRows:
    """The rows of a list that were read one page after the other, and the rules where the list ends.

    A registry may send fewer rows on a page than requested; its pages are then numbered by what it sends. So a numbered
    list ends when as many different rows are read as the registry counts. Without a count it ends with a page without
    rows. A list with markers ends when the registry reports it. All other ends are premature: a page that repeats the
    rows of earlier ones, a marker that comes again, `EMPTY_PAGES`, and a page without rows after which the registry
    cannot have further ones.
    """

    start: PagePosition = FIRST_PAGE
    """The position of the first page."""
    seen: int = 0
    """The number of rows up to here, the rows before ``start`` included; a row that comes on two pages counts once."""
    left_out: int = 0
    counted: int | None = None
    """The number of rows in the list, as the registry counted them last. None if it counts fewer than it sent."""
    shrunk: bool = False
    """Whether rows were deleted while the list was read. Later ones may have moved to a page that was read before."""
    last: PagePosition = FIRST_PAGE
    """The position of the last page, with the rows on it that came before."""
    disordered: bool = False
    """Whether the rows of a sorted list are in another order: a later request may continue behind some of them."""
    resumes_twice: bool = False
    """Whether the first page of a window is the last one of the window before."""
    ended: bool = False
    premature: bool = False
    passed: bool = False
    _ids: Collection[str] = ()
    """The ids of all rows."""
    _markers: set[str] = field(default_factory=set)
    _last_ids: Collection[str] = ()
    """The ids on the last page."""
    _largest: int = 0
    """The number of rows on the largest page."""
    _empty: int = 0
    """The number of pages without rows since the last row."""

    def __post_init__(self) -> None:
        self.seen = self.start.offset - self.start.repeated

    @property
    def is_incomplete(self) -> bool:
        """Whether rows of the list are missing.

        This is the only place that decides it. However the list ended, it is complete only if no row was left out or
        has moved, and the registry counts no more rows than were read.
        """
        unread = self.ended and not self.passed and self.counted is not None and self.seen < self.counted
        return self.premature or self.shrunk or self.disordered or self.left_out > 0 or unread

    @property
    def different(self) -> int:
        """The number of different rows with an id."""
        return len(self._ids)

    @property
    def ties_may_follow(self) -> bool:
        """Whether rows with the value of the last one may follow. They are not expected after many empty pages."""
        return not self.ended and self._empty < EMPTY_PAGES

    def add(self, at: PagePosition, page: Page) -> PagePosition | None:
        """Add a page. Return the position of the page that follows, None at the end."""
        fresh = self._add_ids(page.ids)
        repeated = page.read - page.left_out - fresh
        self.seen += page.read - repeated
        self.left_out += page.left_out
        self._largest = max(self._largest, page.read)
        self._empty = 0 if page.read else self._empty + 1
        if page.total is not None:
            self.shrunk |= self.counted is not None and page.total < self.counted
            self.counted = page.total
        if self.counted is not None and self.counted < self.seen:
            self.counted = None
        self.resumes_twice = bool(at.before and page.ids) and checksum_of(page.ids) == at.before
        is_repeated = self.resumes_twice or (bool(page.ids) and not fresh)
        following = self._following(at, page, is_repeated)
        self._last_ids = page.ids
        self.ended = following is None
        self.last = at._replace(repeated=at.repeated + repeated)
        return None if following is None else PagePosition(following, at.offset + page.read, self.last.repeated)

    def window_after(self, following: PagePosition) -> PagePosition:
        """Return the position of the next window, which recognizes the last page of this one if it comes again."""
        return following._replace(before=checksum_of(self._last_ids))

    def _add_ids(self, ids: Collection[str]) -> int:
        """Add the ids of a page. Return how many of them are new."""
        if not self._ids:
            self._ids = ids
            return len(ids)
        if not isinstance(self._ids, set):
            self._ids = {*self._ids}
        before = len(self._ids)
        self._ids.update(ids)
        return len(self._ids) - before

    def _following(self, at: PagePosition, page: Page, is_repeated: bool) -> int | str | None:
        """Return the number or marker of the page that follows."""
        self.passed |= page.passed
        if page.passed:
            return None
        self.premature |= page.truncated or (is_repeated and page.next is not None)
        if self.premature or page.next is None:
            return None
        if isinstance(page.next, str):
            self.premature = page.next in self._markers or page.next == at.page
            self._markers.add(page.next)
            return None if self.premature else page.next
        assert isinstance(at.page, int)
        if self.counted is None:
            return page.next if page.read else None
        size = max(self._largest, at.offset // max(at.page - 1, 1))
        is_behind = size > 0 and at.page * size >= self.counted
        is_last = self.seen >= self.counted or (not page.read and (is_behind or self._empty == EMPTY_PAGES))
        return None if is_last else page.next


@dataclass(slots=True)
class StreamReader:
    """Reads one list of one registry page by page, as far as the merge needs it.

    The reader of a ``sorted`` list fetches pages until rows match the filter. It reads any other list up to
    ``max_rows``, and sorts these rows: they are a window of the list. After an error or at a limit it ends; the cursor
    then contains its last position. That of a list that is not sorted is the next window, once all rows of this one are
    delivered.

    Example: a list sorted by date, in pages of three rows. The rows are A (date 9), B (8), C (7) and D (7), E (5).

    1. `blocks` is true: no row is ``ready``, so the merge cannot choose. It calls `advance`.
    2. The first page, A, B, C, becomes ``_opened``. A and B are ``ready``. C is in ``_held_back``: the next page may
       contain rows of the same date whose ids sort before C. Here D does.
    3. The merge takes A. For the cursor after A, `reached` returns A's key; a reader that has failed or was cut returns
       its own ``_position`` instead, so that the next page does not skip the rows that it could not read.
    4. After B, `blocks` is true again. The second page, D, E, is the last one: C and D are sorted by id, and all rows
       are ``ready``.
    """

    registry: str
    name: str
    """The name of the list in cursors."""
    fetch_page: Callable[[int | str], Awaitable[Page]]
    """Returns a page by its number or marker."""
    sorted: bool
    """Whether the list arrives in the requested order."""
    max_rows: int
    """The number of rows after which the reader fetches no further page."""
    max_pages: int = 100
    """The number of pages after which the reader fetches no further page."""
    keyless: bool = False
    """Whether the rows have no value to sort by. They are then read after all rows with a value are delivered."""
    lazy: bool = False
    """Whether a keyless list postpones its first page, too."""
    exact: bool = True
    """Whether the registry counts only rows that match the filter."""
    counts: bool = True
    """Whether `count` reads on to the end of the list. If not, a list that its registry does not count has a total only
    if it ends with its first page: that of a longer list would depend on how far the merge reads it."""
    after: SortKey | None = None
    """The key in the request's cursor: rows up to it were delivered by earlier requests."""
    page: PagePosition | None = FIRST_PAGE
    """The position of the page to fetch next, None at the end of the list."""
    read: int = 0
    """The number of rows read, before filtering."""
    error: RegistryError | None = None
    cut: bool = False
    """Whether the reader ended at ``max_rows`` or ``max_pages``."""
    ready: list[Marked] = field(default_factory=list)
    """The rows that the merge may take, in order."""
    delivered_page: PagePosition = FIRST_PAGE
    """The position of the page to continue from: that of the last row that the merge has taken, or the next window."""
    _rows: ReadRows = field(default_factory=ReadRows)
    _fetched: int = 0
    """The number of pages fetched."""
    _passed: int = 0
    """The number of rows read that match the filter."""
    _first_passed: int = 0
    """The number of rows on the first page read that match the filter."""
    _position: SortKey | None = None
    """The key of the last row that the merge has taken, or before which the reader was cut."""
    _held_back: list[Marked] = field(default_factory=list)
    """Rows with the last value of a page of a sorted list. The next page may contain rows that sort before them."""
    _last: tuple[SortKey, PagePosition] | None = None
    """The key of the last row read of a sorted list, and the position of its page."""
    _opened: Page | None = None
    """The first page of a keyless list whose other pages are postponed."""
    _ended: bool = False
    """Whether no page will be fetched any more."""
    _start: PagePosition = FIRST_PAGE
    """The position in the request's cursor."""

    def start(self, cursor: Cursor) -> None:
        """Continue after a cursor."""
        self.after, self._start = cursor.after(self.name), cursor.pages.get(self.name, FIRST_PAGE)
        self._position, self.delivered_page, self.page = self.after, self._start, self._start
        self._rows = ReadRows(self._start)

    @property
    def head(self) -> SortKey | None:
        """The key of the next row, the lowest possible key if the list is not read yet, None at the end."""
        if self.ready:
            return self.ready[0][0]
        return None if self._ended else LOWEST_WITHOUT_VALUE

    @property
    def may_have_more(self) -> bool:
        """Whether rows may follow those that are ready in this page of the merge."""
        return not self._ended

    @property
    def more(self) -> bool:
        """Whether undelivered rows follow, as far as known."""
        return bool(self.ready or self._held_back) or self.cut or not self._ended

    @property
    def total(self) -> int | None:
        """The number of rows that match the filter, None if unknown."""
        if self.exact and self._rows.counted is not None:
            return self._rows.counted
        is_whole = self._rows.ended and self._is_from_start and self._rows.different == self.read
        if is_whole and self.failure is None and (self.counts or self._fetched == 1):
            return self._passed
        return None

    @property
    def least(self) -> int | None:
        """A number of rows that match the filter, possibly of more. None if the list was not read from its start."""
        if self.total is not None or not self._is_from_start:
            return self.total
        repeated = self.read - self._rows.left_out - self._rows.different
        return max(0, self._passed - repeated) if self.counts else self._first_passed

    @property
    def _is_from_start(self) -> bool:
        return self._rows.start == FIRST_PAGE and (self.after is None or not self.sorted)

    @property
    def failure(self) -> RegistryError | None:
        """Why rows of the list may be missing: a call failed, a limit was reached, or the registry did not send them.

        None if the merge got or will get every row.
        """
        if self.error is not None:
            return self.error
        if self.cut:
            return RegistryListCut(self.registry)
        return RegistryListIncomplete(self.registry) if self._rows.is_incomplete else None

    @property
    def is_current(self) -> bool:
        """Whether the reader has delivered all of its rows up to the last row of the merge."""
        return self.error is None and not (self.cut and (self.sorted or not self.ready))

    def reached(self, row: SortKey | None) -> SortKey | None:
        """Return the key after which to continue once the merge has delivered a row, or none (None)."""
        if not self.is_current:
            return self._position
        return max([key for key in (row, self.after) if key is not None], default=None)

    def take(self, rows: int) -> None:
        """Take the next ``rows`` of those that are ready."""
        self._position, _, self.delivered_page = self.ready[rows - 1]
        del self.ready[:rows]
        self._leave_window()

    def blocks(self) -> bool:
        """Whether the merge must advance this reader before it can choose the next row."""
        postponed = self.keyless and not self.sorted and (self.lazy or self._opened is not None)
        return not self.ready and not self._ended and not postponed

    async def advance(self) -> None:
        """Read until the next row, the end, or an error."""
        try:
            if self.sorted:
                await self._read_on()
            elif self.keyless and not self.lazy and self._opened is None:
                self._opened = await self._read_next()
                self._ended = self.page is None and not self._opened.rows
            else:
                await self._scan()
        except RegistryError as error:
            self.error, self._ended, self._held_back = error, True, []

    async def count(self) -> None:
        """Read on to the end of the list or a limit, to count the rows that match. Not before the merge has ended."""
        try:
            while self.counts and self._is_from_start and self.total is None and self._has_next_page:
                await self._read_next()
        except RegistryError as error:
            self.error = error

    @property
    def _has_next_page(self) -> bool:
        return self.error is None and self.page is not None and not self._is_at_limit

    async def _fetch(self, at: PagePosition) -> Page:
        self._fetched += 1
        page = await self.fetch_page(at.page)
        self.read += page.read
        self._passed += len(page.rows)
        if self._fetched == 1:
            self._first_passed = self._passed
        return page

    async def _read_next(self) -> Page:
        """Read the next page."""
        assert self.page is not None
        page = await self._fetch(self.page)
        self.page = self._rows.add(self.page, page)
        self._rows.disordered |= self.sorted and page.disordered
        return page

    @property
    def _is_at_limit(self) -> bool:
        return self.read >= self.max_rows or self._fetched >= self.max_pages

    # Sorted lists

    async def _read_on(self) -> None:
        """Read pages of a sorted list until rows are ready. Holds back rows with equal values, to sort them by id."""
        if not self._fetched and self.page is not None:
            await self._resume(self.page)
        while not self.ready and not self._ended:
            if self._is_at_limit:
                self._stop()
            if not self._ended and self.page is not None:
                page = await self._read_next()
                self._hold(self._rows.last, page)

    async def _resume(self, at: PagePosition) -> None:
        """Read the first page, or an earlier one if rows may have moved there: deleted rows move later ones."""
        page = await self._fetch(at)
        while isinstance(at.page, int) and at.page > 1 and not self._reaches_back(page):
            at = page_before(at, page)
            page = await self._fetch(at)
        self._rows = ReadRows(at)
        self.page = self._rows.add(at, page)
        self._rows.disordered |= page.disordered
        self._hold(self._rows.last, page)

    def _hold(self, at: PagePosition, page: Page) -> None:
        """Add the rows of a page. Those before the last value are ready, all of them at the end."""
        self._held_back += [(key, ref, at) for key, ref in page.rows if self.after is None or key > self.after]
        self._held_back.sort(key=itemgetter(0))
        if isinstance(at.page, str):
            self._held_back = from_earliest_page(self._held_back)
        if page.ends is not None:
            self._rows.disordered |= self._last is not None and page.ends[0][:2] < self._last[0][:2]
            self._last = page.ends[1], at
        self._ended = self._rows.ended
        complete = len(self._held_back)
        if self._last is not None and self._rows.ties_may_follow:
            complete = bisect_left(self._held_back, self._last[0][:2], key=value_of)
        self.ready, self._held_back = self._held_back[:complete], self._held_back[complete:]

    def _stop(self) -> None:
        """End at a limit: before the rows with the last value read or, if that is no progress, before the next page.

        Read on if rows with this value are held back. They must be sorted together with those on the next page.
        """
        before = None if self._last is None else (*self._last[0][:2], "")
        if self._last is not None and before is not None and (self._position is None or before > self._position):
            self._position = before
            self.delivered_page = self._held_back[0][2] if self._held_back else self._last[1]
        elif not self._held_back and self.page is not None and is_later(self.page, self._start):
            self.delivered_page = self.page
        else:
            return
        self._held_back = []
        self.cut = self._ended = True

    def _reaches_back(self, page: Page) -> bool:
        """Whether no earlier page can contain undelivered rows."""
        return self.after is None or (page.ends is not None and page.ends[0][:2] < self.after[:2])

    # Other lists

    async def _scan(self) -> None:
        """Read the list up to a limit, and sort it."""
        assert self._opened is not None or self.page is not None
        start = self._rows.start
        first = self._opened or await self._read_next()
        rows = [] if self._rows.resumes_twice else list(first.rows)
        for page in await asyncio.gather(*map(self._fetch, self._known_pages(first))):
            rows += page.rows
            if self.page is not None:
                self.page = self._rows.add(self.page, page)
        while self.page is not None and not self._is_at_limit:
            rows += (await self._read_next()).rows
        self.cut = self.page is not None
        if self._rows.different < self.read:
            rows = [*dict.fromkeys(rows)]
        rows.sort(key=itemgetter(0))
        after = 0 if self.after is None else bisect_right(rows, self.after, key=itemgetter(0))
        self.ready = [(key, ref, start) for key, ref in rows[after:]]
        self._ended = True
        self._leave_window()

    def _known_pages(self, first: Page) -> list[PagePosition]:
        """Return the positions of the pages that the list is known to have after the first one, within the limits."""
        following, counted = self.page, self._rows.counted
        if following is None or not isinstance(following.page, int) or counted is None or not first.read:
            return []
        rows = min(counted - self._rows.start.offset, self.max_rows) - first.read
        pages = min(-(-rows // first.read), self.max_pages - 1)
        return [PagePosition(following.page + i, following.offset + i * first.read) for i in range(pages)]

    def _leave_window(self) -> None:
        """Continue with the next window if all rows of this one are delivered."""
        if self.cut and not self.sorted and not self.ready and self.page is not None:
            self._position, self.delivered_page = None, self._rows.window_after(self.page)


def checksum_of(ids: Iterable[str]) -> int:
    return crc32("\n".join(ids).encode())


def value_of(row: Marked) -> tuple[int, Any]:
    """Return the part of a row's sort key that rows with equal values share."""
    return row[0][:2]


def page_before(at: PagePosition, page: Page) -> PagePosition:
    """Return the position of an earlier page of a numbered list: the last one if this one is behind the end."""
    assert isinstance(at.page, int)
    number, size = at.page - 1, at.offset // (at.page - 1)
    if not page.read and page.total is not None and size:
        number = max(1, min(number, -(-page.total // size)))
    return PagePosition(number, at.offset * (number - 1) // (at.page - 1))


def from_earliest_page(rows: Sequence[Marked]) -> list[Marked]:
    """Give each row the position of the earliest page with it or a row behind it, since markers do not lead back."""
    positions = [*accumulate([page for _, _, page in reversed(rows)], earlier)]
    return [(key, ref, page) for (key, ref, _), page in zip(rows, reversed(positions), strict=True)]


def earlier(one: PagePosition, other: PagePosition) -> PagePosition:
    return one if one.offset <= other.offset else other


def is_later(page: PagePosition, other: PagePosition) -> bool:
    """Whether a page that was reached from another one is a later one. Markers do not lead back."""
    if isinstance(page.page, int) and isinstance(other.page, int):
        return page.page > other.page
    return page.page != other.page


class MergedRows(NamedTuple):
    """The rows of a merged page, the requested cursors in their order, and whether more rows follow.

    ``end`` is the cursor from which the list continues, None if no row is there and none follows.
    """

    rows: list[Row]
    cursors: list[Cursor]
    more: bool
    end: Cursor | None


class RowCursors(Enum):
    """Of which rows of a merged page the cursors are needed."""

    NONE = 0
    ENDS = 1
    """The first row and the last one."""
    ALL = 2


async def merge(readers: Sequence[StreamReader], size: int, cursors: RowCursors = RowCursors.ALL) -> MergedRows:
    """Merge up to ``size`` rows of all readers in one order.

    Readers run concurrently, and only as far as the page needs. Duplicate rows are delivered once.
    """
    rows: dict[str, Row] = {}
    marks: dict[str, Cursor] = {}
    while len(rows) < size:
        blocking = [reader for reader in readers if reader.blocks()]
        if blocking:
            if len(blocking) == 1:
                await blocking[0].advance()
            else:
                await asyncio.gather(*[reader.advance() for reader in blocking])
            continue
        lowest = [
            (head, at) for at, reader in enumerate(readers) if not reader.ready and (head := reader.head) is not None
        ]
        postponed = min(lowest, default=None)
        most = size - len(rows)
        queue = next_rows(readers, most)
        if postponed is not None and not (queue and queue[0] < postponed):
            await readers[postponed[1]].advance()
            continue
        if not queue:
            break
        if postponed is not None:
            del queue[bisect_left(queue, postponed) :]
        one_by_one = cursors is RowCursors.ALL or (cursors is RowCursors.ENDS and not rows)
        for batch in [[row] for row in queue] if one_by_one else [queue]:
            for at, taken in Counter(map(itemgetter(1), batch)).items():
                readers[at].take(taken)
            for key, _, ref in batch:
                rows.setdefault(key[2], (key, ref))
            if one_by_one:
                marks.setdefault(key[2], cursor_after(readers, key))
            if cursors is RowCursors.ENDS:
                break
    more, end = any(reader.more for reader in readers), None
    if cursors is not RowCursors.NONE and (rows or more):
        last = next(reversed(rows), None)
        end = cursor_after(readers, None if last is None else rows[last][0])
        if last is not None:
            marks[last] = end
    return MergedRows([*rows.values()], [*marks.values()], more, end)


def next_rows(readers: Sequence[StreamReader], most: int) -> list[tuple[SortKey, int, Ref]]:
    """Return up to ``most`` of the rows that are ready, in order, each with the position of its reader.

    They end with the last row of a reader that may have further ones.
    """
    queue = [(key, at, ref) for at, reader in enumerate(readers) for key, ref, _ in reader.ready[:most]]
    queue.sort(key=itemgetter(0))
    ends = [(reader.ready[-1][0], at) for at, reader in enumerate(readers) if reader.ready and reader.may_have_more]
    del queue[most:]
    if ends:
        del queue[bisect_right(queue, min(ends), key=itemgetter(0, 1)) :]
    return queue


def cursor_after(readers: Sequence[StreamReader], row: SortKey | None) -> Cursor:
    """Return the cursor after a row, or after none if the page is empty.

    Readers that failed or were cut may be at an earlier position than the others.
    """
    pages = {reader.name: reader.delivered_page for reader in readers if reader.delivered_page != FIRST_PAGE}
    reached = {reader.name: reader.reached(row) for reader in readers}
    keys = [row, *(reached[reader.name] for reader in readers if reader.is_current)]
    last = max([key for key in keys if key is not None], default=None)
    return Cursor(last, pages, {name: key for name, key in reached.items() if key != last})
