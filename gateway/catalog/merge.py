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
from gateway.catalog.orders import LOWEST_WITHOUT_VALUE, Key
from gateway.catalog.waiting import gather
from gateway.errors import RegistryError

Row = tuple[Key, Ref]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: the rows of it that pass the filter, and what it was.

    ``ends`` are the keys of its first and last row before filtering (None for an empty page, which is the last one),
    ``read`` how many rows it had, ``total`` how many rows the list has by its registry's count.
    """

    rows: Sequence[Row]
    ends: tuple[Key, Key] | None
    read: int
    total: int | None
    more: bool


@dataclass(slots=True)
class Reader:
    """One list of one registry, read page by page as the merge needs it.

    ``ask`` gives a page by its number. A ``sorted`` list comes in the order of the keys, and is read on until rows
    pass the filter, at most ``bound`` rows. Any other is read whole, up to ``bound`` rows, and sorted here; with
    ``keyless`` rows that is put off until all rows with a value are given out (also the first page, when it is
    ``lazy``). ``exact`` says that the registry's
    count counts the rows that pass. After an error, or at the bound, the stream ends and the cursor remembers where.
    """

    registry: str
    name: str
    ask: Callable[[int], Awaitable[Page]]
    sorted: bool
    bound: int
    keyless: bool = False
    lazy: bool = False
    exact: bool = True
    after: Key | None = None
    page: int = 1
    read: int = 0
    error: RegistryError | None = None
    cut: bool = False
    ready: deque[tuple[Key, Ref, int]] = field(default_factory=deque)
    counted: int | None = None
    given_page: int = 1
    _passed: int = 0
    _place: Key | None = None
    _held: list[tuple[Key, Ref, int]] = field(default_factory=list)
    _opened: Page | None = None
    _ended: bool = False

    def start(self, cursor: Cursor) -> None:
        """Go on after a cursor."""
        self.after, self.page = cursor.after(self.name), cursor.pages.get(self.name, 1)
        self._place, self.given_page = self.after, self.page

    @property
    def head(self) -> Key | None:
        """The key of the next row, or the lowest it can have while the list is not read; None at the end."""
        if self.ready:
            return self.ready[0][0]
        return None if self._ended else LOWEST_WITHOUT_VALUE

    @property
    def more(self) -> bool:
        """Whether rows follow that were not given out, as far as is known."""
        return bool(self.ready or self._held) or not self._ended

    @property
    def total(self) -> int | None:
        """How many rows pass the filter, None when nobody counted."""
        if self.exact and self.counted is not None:
            return self.counted
        whole = self._ended or (self._opened is not None and not self._opened.more)
        if whole and not self.cut and self.error is None and (self.after is None or not self.sorted):
            return self._passed
        return None

    @property
    def keeps_up(self) -> bool:
        """Whether the stream has given out all that it has up to the merge's last row."""
        return self.error is None and not (self.cut and self.sorted)

    def reached(self, row: Key) -> Key | None:
        """The key after which to go on when the merge has given out this row."""
        if not self.keeps_up:
            return self._place
        return row if self.after is None else max(row, self.after)

    def take(self) -> Row:
        key, ref, page = self.ready.popleft()
        self._place, self.given_page = key, page
        return key, ref

    def waits(self) -> bool:
        """Whether the merge must advance this stream before it can choose."""
        put_off = self.keyless and not self.sorted and (self.lazy or self._opened is not None)
        return not self.ready and not self._ended and not put_off

    async def advance(self) -> None:
        """Read until the next row is known, or the end, or an error."""
        try:
            if self.sorted:
                await self._read_on()
            elif self.keyless and not self.lazy and self._opened is None:
                self._opened = await self._ask(1)
                self._ended = self._opened.ends is None
            else:
                await self._scan()
        except RegistryError as error:
            self.error, self._ended, self._held = error, True, []

    async def _ask(self, number: int) -> Page:
        page = await self.ask(number)
        self.read += page.read
        self._passed += len(page.rows)
        self.counted = page.total
        return page

    async def _read_on(self) -> None:
        """Read pages of a sorted list until rows are ready; rows of equal value are held back to sort them by id."""
        resumed = self.page > 1 and self._opened is None
        while not self.ready and not self._ended:
            if not resumed and self._opened is not None and self._opened.ends is not None and self.read >= self.bound:
                self._stop_before((*self._opened.ends[1][:2], ""))
                if self._ended:
                    break
            page = self._opened = await self._ask(self.page)
            if resumed and self.page > 1 and not self._reaches_back(page):
                self.page -= 1
                continue
            if resumed:
                self.given_page, resumed = self.page, False
            self._held += [(key, ref, self.page) for key, ref in page.rows if self.after is None or key > self.after]
            self._held.sort(key=itemgetter(0))
            self.page += 1
            self._ended = not page.more
            whole = len(self._held)
            if page.more and page.ends is not None:
                last = page.ends[1][:2]
                whole = next((i for i, row in enumerate(self._held) if row[0][:2] >= last), whole)
            self.ready, self._held = deque(self._held[:whole]), self._held[whole:]

    def _stop_before(self, place: Key) -> None:
        """End before the rows of the last value that was read, unless the stream would be no further than it was."""
        if self._place is None or place > self._place:
            self._place, self.given_page, self._held = place, self.page - 1, []
            self.cut = self._ended = True

    def _reaches_back(self, page: Page) -> bool:
        """Whether no earlier page can hold rows that were not given out: rows move up when others are deleted."""
        return self.after is None or (page.ends is not None and page.ends[0][:2] < self.after[:2])

    async def _scan(self) -> None:
        """Read the whole list, up to the bound, and sort it."""
        first = self._opened or await self._ask(1)
        rows, page, number = list(first.rows), first, 1
        if page.more and page.total is not None:
            known = range(2, -(-min(page.total, self.bound) // first.read) + 1)
            for page in await asyncio.gather(*map(self._ask, known)):
                rows += page.rows
            number += len(known)
        while page.more and self.read < self.bound:
            number += 1
            page = await self._ask(number)
            rows += page.rows
        self.cut = page.more
        rows.sort(key=itemgetter(0))
        start = 0 if self.after is None else bisect_right(rows, self.after, key=itemgetter(0))
        self.ready = deque([(key, ref, 1) for key, ref in rows[start:]])
        self._ended = True


async def merge(
    readers: Sequence[Reader], size: int, placed: bool = True
) -> tuple[list[tuple[Row, Cursor | None]], bool]:
    """Up to ``size`` rows of all streams in one order, each with its cursor if they are to be ``placed``, and whether
    more rows follow.

    Streams are read at the same time, and only as far as the page needs. A row that several streams hold is given
    out once.
    """
    rows: list[tuple[Row, Cursor | None]] = []
    seen: set[Ref] = set()
    while len(rows) < size:
        waiting = [reader for reader in readers if reader.waits()]
        if waiting:
            await gather([reader.advance() for reader in waiting])
            continue
        lowest = [
            (head, at) for at, reader in enumerate(readers) if not reader.ready and (head := reader.head) is not None
        ]
        put_off = min(lowest, default=None)
        most = size - len(rows)
        queue = sorted([(key, at) for at, reader in enumerate(readers) for key, _, _ in islice(reader.ready, most)])
        if put_off is not None and not (queue and queue[0] < put_off):
            await readers[put_off[1]].advance()
            continue
        if not queue:
            break
        for following in queue[:most]:
            if put_off is not None and put_off < following:
                break
            reader = readers[following[1]]
            row = reader.take()
            if row[1] not in seen:
                seen.add(row[1])
                rows.append((row, place(readers, row[0]) if placed else None))
            if not reader.ready and reader.head is not None:
                break
    if rows and placed:
        row, _ = rows[-1]
        rows[-1] = row, place(readers, row[0])
    return rows, any(reader.more for reader in readers)


def place(readers: Sequence[Reader], row: Key) -> Cursor:
    """Where the merge stands after the row with this key: streams that were away before may be behind the others."""
    pages = {reader.name: reader.given_page for reader in readers if reader.given_page > 1}
    reached = {reader.name: reader.reached(row) for reader in readers}
    last = max([row, *(key for reader in readers if reader.keeps_up and (key := reached[reader.name]) is not None)])
    return Cursor(last, pages, {name: key for name, key in reached.items() if key != last})
