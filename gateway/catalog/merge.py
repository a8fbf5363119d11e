"""Ordered streams of rows from paged lists, and their lazy k-way merge."""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter

from gateway.catalog.cursors import Cursor
from gateway.catalog.ids import Ref
from gateway.catalog.orders import LOWEST_WITHOUT_VALUE, SortKey
from gateway.errors import RegistryError

Row = tuple[SortKey, Ref]


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one page of a list that match the filter.

    ``ends`` are the sort keys of the first and last row before filtering, None for an empty page. ``read`` is the
    number of rows before filtering, ``total`` the registry's count of all rows of the list, and ``more`` whether
    another page follows.
    """

    rows: Sequence[Row]
    ends: tuple[SortKey, SortKey] | None
    read: int
    total: int | None
    more: bool


@dataclass(slots=True)
class StreamReader:
    """Reads one list of one registry page by page, as far as the merge needs it.

    ``fetch_page`` returns a page by its number. A ``sorted`` list arrives in the requested order: the reader fetches
    pages until rows match the filter, at most ``bound`` rows. It reads any other list completely, up to ``bound`` rows,
    and sorts the rows. If the rows are ``keyless`` (have no value to sort by), it does so only after the merge has
    delivered all rows with a value; if it is ``lazy``, it postpones the first page, too. ``exact`` is true if the
    registry counts only matching rows. After an error or at the bound, the reader ends; the cursor then contains its
    last position.
    """

    registry: str
    name: str
    fetch_page: Callable[[int], Awaitable[Page]]
    sorted: bool
    bound: int
    keyless: bool = False
    lazy: bool = False
    exact: bool = True
    after: SortKey | None = None
    page: int = 1
    read: int = 0
    error: RegistryError | None = None
    cut: bool = False
    ready: deque[tuple[SortKey, Ref, int]] = field(default_factory=deque)
    counted: int | None = None
    delivered_page: int = 1
    _passed: int = 0
    _position: SortKey | None = None
    _held_back: list[tuple[SortKey, Ref, int]] = field(default_factory=list)
    _opened: Page | None = None
    _ended: bool = False

    def start(self, cursor: Cursor) -> None:
        """Continue after a cursor."""
        self.after, self.page = cursor.after(self.name), cursor.pages.get(self.name, 1)
        self._position, self.delivered_page = self.after, self.page

    @property
    def head(self) -> SortKey | None:
        """The key of the next row, the lowest possible key if the list is not read yet, None at the end."""
        if self.ready:
            return self.ready[0][0]
        return None if self._ended else LOWEST_WITHOUT_VALUE

    @property
    def more(self) -> bool:
        """Whether undelivered rows follow, as far as known."""
        return bool(self.ready or self._held_back) or not self._ended

    @property
    def total(self) -> int | None:
        """The number of rows that match the filter, None if unknown."""
        if self.exact and self.counted is not None:
            return self.counted
        read_completely = self._ended or (self._opened is not None and not self._opened.more)
        if read_completely and not self.cut and self.error is None and (self.after is None or not self.sorted):
            return self._passed
        return None

    @property
    def is_current(self) -> bool:
        """Whether the reader has delivered all of its rows up to the last row of the merge."""
        return self.error is None and not (self.cut and self.sorted)

    def reached(self, row: SortKey) -> SortKey | None:
        """Return the key after which to continue once the merge has delivered a row."""
        if not self.is_current:
            return self._position
        return row if self.after is None else max(row, self.after)

    def take(self) -> Row:
        key, ref, page = self.ready.popleft()
        self._position, self.delivered_page = key, page
        return key, ref

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
                self._opened = await self._fetch(1)
                self._ended = self._opened.ends is None
            else:
                await self._scan()
        except RegistryError as error:
            self.error, self._ended, self._held_back = error, True, []

    async def _fetch(self, number: int) -> Page:
        page = await self.fetch_page(number)
        self.read += page.read
        self._passed += len(page.rows)
        self.counted = page.total
        return page

    async def _read_on(self) -> None:
        """Read pages of a sorted list until rows are ready. Holds back rows with equal values, to sort them by id."""
        resumed = self.page > 1 and self._opened is None
        while not self.ready and not self._ended:
            if not resumed and self._opened is not None and self._opened.ends is not None and self.read >= self.bound:
                self._stop_before((*self._opened.ends[1][:2], ""))
                if self._ended:
                    break
            page = self._opened = await self._fetch(self.page)
            if resumed and self.page > 1 and not self._reaches_back(page):
                self.page -= 1
                continue
            if resumed:
                self.delivered_page, resumed = self.page, False
            self._held_back += [
                (key, ref, self.page) for key, ref in page.rows if self.after is None or key > self.after
            ]
            self._held_back.sort(key=itemgetter(0))
            self.page += 1
            self._ended = not page.more
            complete = len(self._held_back)
            if page.more and page.ends is not None:
                last = page.ends[1][:2]
                complete = next((i for i, row in enumerate(self._held_back) if row[0][:2] >= last), complete)
            self.ready, self._held_back = deque(self._held_back[:complete]), self._held_back[complete:]

    def _stop_before(self, position: SortKey) -> None:
        """End before the rows with the last value read, unless the position would not advance."""
        if self._position is None or position > self._position:
            self._position, self.delivered_page, self._held_back = position, self.page - 1, []
            self.cut = self._ended = True

    def _reaches_back(self, page: Page) -> bool:
        """Whether no earlier page can contain undelivered rows. Deleted rows move later ones to earlier pages."""
        return self.after is None or (page.ends is not None and page.ends[0][:2] < self.after[:2])

    async def _scan(self) -> None:
        """Read the complete list, up to the bound, and sort it."""
        first = self._opened or await self._fetch(1)
        rows, page, number = list(first.rows), first, 1
        if page.more and page.total is not None:
            known = range(2, -(-min(page.total, self.bound) // first.read) + 1)
            for page in await asyncio.gather(*map(self._fetch, known)):
                rows += page.rows
            number += len(known)
        while page.more and self.read < self.bound:
            number += 1
            page = await self._fetch(number)
            rows += page.rows
        self.cut = page.more
        rows.sort(key=itemgetter(0))
        start = 0 if self.after is None else bisect_right(rows, self.after, key=itemgetter(0))
        self.ready = deque([(key, ref, 1) for key, ref in rows[start:]])
        self._ended = True


async def merge(
    readers: Sequence[StreamReader], size: int, with_cursors: bool = True
) -> tuple[list[tuple[Row, Cursor | None]], bool]:
    """Merge up to ``size`` rows of all readers in one order.

    Returns the rows, each with its cursor if requested, and whether more rows follow. Readers run concurrently, and
    only as far as the page needs. Duplicate rows are delivered once.
    """
    rows: list[tuple[Row, Cursor | None]] = []
    seen: set[Ref] = set()
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
        queue = sorted([(key, at) for at, reader in enumerate(readers) for key, _, _ in islice(reader.ready, most)])
        if postponed is not None and not (queue and queue[0] < postponed):
            await readers[postponed[1]].advance()
            continue
        if not queue:
            break
        for following in queue[:most]:
            if postponed is not None and postponed < following:
                break
            reader = readers[following[1]]
            row = reader.take()
            if row[1] not in seen:
                seen.add(row[1])
                rows.append((row, cursor_after(readers, row[0]) if with_cursors else None))
            if not reader.ready and reader.head is not None:
                break
    if rows and with_cursors:
        row, _ = rows[-1]
        rows[-1] = row, cursor_after(readers, row[0])
    return rows, any(reader.more for reader in readers)


def cursor_after(readers: Sequence[StreamReader], row: SortKey) -> Cursor:
    """Return the cursor after a row. Readers that failed may be at an earlier position than the others."""
    pages = {reader.name: reader.delivered_page for reader in readers if reader.delivered_page > 1}
    reached = {reader.name: reader.reached(row) for reader in readers}
    last = max([row, *(key for reader in readers if reader.is_current and (key := reached[reader.name]) is not None)])
    return Cursor(last, pages, {name: key for name, key in reached.items() if key != last})
