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

    The reader of a ``sorted`` list fetches pages until rows match the filter. It reads any other list completely, and
    sorts the rows. After an error or at ``max_rows`` it ends; the cursor then contains its last position.

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
    fetch_page: Callable[[int], Awaitable[Page]]
    """Returns a page by its number."""
    sorted: bool
    """Whether the list arrives in the requested order."""
    max_rows: int
    """The number of rows after which the reader fetches no further page."""
    keyless: bool = False
    """Whether the rows have no value to sort by. They are then read after all rows with a value are delivered."""
    lazy: bool = False
    """Whether a keyless list postpones its first page, too."""
    exact: bool = True
    """Whether the registry counts only rows that match the filter."""
    after: SortKey | None = None
    """The key in the request's cursor: rows up to it were delivered by earlier requests."""
    page: int = 1
    """The number of the page of a sorted list to fetch next."""
    read: int = 0
    """The number of rows read, before filtering."""
    error: RegistryError | None = None
    cut: bool = False
    """Whether the reader ended at ``max_rows``."""
    ready: deque[tuple[SortKey, Ref, int]] = field(default_factory=deque)
    """The rows that the merge may take, in order, each with the number of its page."""
    counted: int | None = None
    """The number of rows in the list, as the registry counts them."""
    delivered_page: int = 1
    """The number of the page of the last row that the merge has taken."""
    _passed: int = 0
    """The number of rows read that match the filter."""
    _position: SortKey | None = None
    """The key of the last row that the merge has taken, or before which the reader was cut."""
    _held_back: list[tuple[SortKey, Ref, int]] = field(default_factory=list)
    """Rows with the last value of a page of a sorted list. The next page may contain rows that sort before them."""
    _opened: Page | None = None
    """The last page read of a sorted list; the first page of a keyless list whose other pages are postponed."""
    _ended: bool = False
    """Whether no page will be fetched any more."""

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
            previous = None if resumed else self._opened
            if previous is not None and previous.ends is not None and self.read >= self.max_rows:
                self._stop_before((*previous.ends[1][:2], ""))
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
        """Read the complete list, up to ``max_rows``, and sort it."""
        first = self._opened or await self._fetch(1)
        rows, page, number = list(first.rows), first, 1
        if page.more and page.total is not None:
            known = range(2, -(-min(page.total, self.max_rows) // first.read) + 1)
            for page in await asyncio.gather(*map(self._fetch, known)):
                rows += page.rows
            number += len(known)
        while page.more and self.read < self.max_rows:
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
