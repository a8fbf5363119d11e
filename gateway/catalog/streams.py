"""Ordered streams of rows from paged lists, and their lazy k-way merge."""

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from gateway.catalog.cursors import Cursor, Key
from gateway.catalog.ids import Ref
from gateway.errors import RegistryError

Row = tuple[Key, Ref]

SCAN_ROWS = 1000
"""How many rows of a list that its registry cannot sort are read to sort them here."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: its rows, how many there are in all where the registry says, and whether more follow.

    An empty page is the last one.
    """

    rows: Sequence[Row]
    total: int | None
    more: bool


@dataclass(slots=True)
class Reader:
    """One list of one registry, read page by page as the merge needs it.

    ``ask`` gives a page by its number. A ``sorted`` list comes in the order of the keys; any other is read whole, up
    to `SCAN_ROWS` rows, and sorted here; with ``keyless`` rows that is put off until all rows with a value are given
    out. After an error the stream ends, and the cursor remembers where.
    """

    registry: str
    name: str
    ask: Callable[[int], Awaitable[Page]]
    sorted: bool
    keyless: bool = False
    after: Key | None = None
    page: int = 1
    total: int | None = None
    error: RegistryError | None = None
    cut: bool = False
    ready: list[tuple[Key, Ref, int]] = field(default_factory=list)
    given: Key | None = None
    given_page: int = 1
    _held: list[tuple[Key, Ref, int]] = field(default_factory=list)
    _opened: Page | None = None
    _ended: bool = False

    @property
    def head(self) -> Key | None:
        """The key of the next row, or the lowest it can have while the list is not read; None at the end."""
        if self.ready:
            return self.ready[0][0]
        return None if self._ended else (1, 0, "")

    @property
    def more(self) -> bool:
        """Whether rows follow that were not given out."""
        return bool(self.ready or self._held) or not self._ended

    def take(self) -> Row:
        key, ref, page = self.ready.pop(0)
        self.given, self.given_page = key, page
        return key, ref

    async def advance(self) -> None:
        """Read until the next row is known, or the end, or an error."""
        try:
            if self.sorted:
                await self._read_on()
            elif self._opened is None and self.keyless:
                self._opened = await self.ask(1)
                self.total = self._opened.total
                if not self._opened.rows and not self._opened.more:
                    self._ended = True
            else:
                await self._scan()
        except RegistryError as error:
            self.error, self._ended, self._held = error, True, []

    def waits(self) -> bool:
        """Whether the merge must advance this stream before it can choose."""
        return not self.ready and not self._ended and not (self.keyless and self._opened is not None)

    async def _read_on(self) -> None:
        """Read pages of a sorted list until rows are ready; rows of equal value are held back to sort them by id."""
        resumed = self.page > 1 and self._opened is None
        while not self.ready and not self._ended:
            page = self._opened = await self.ask(self.page)
            if resumed and self.page > 1 and not self._reaches_back(page):
                self.page -= 1
                continue
            resumed = False
            self.total = page.total
            self._held += [(key, ref, self.page) for key, ref in page.rows if self._is_new((key, ref))]
            self._held.sort(key=itemgetter(0))
            self.page += 1
            self._ended = not page.more
            if self._ended:
                whole = len(self._held)
            else:
                last = page.rows[-1][0][:2] if page.rows else None
                whole = next((i for i, row in enumerate(self._held) if row[0][:2] == last), len(self._held))
            self.ready, self._held = self._held[:whole], self._held[whole:]

    def _reaches_back(self, page: Page) -> bool:
        """Whether no earlier page can hold rows that were not given out: rows move up when others are deleted."""
        return self.after is None or bool(page.rows and page.rows[0][0][:2] < self.after[:2])

    def _is_new(self, row: Row) -> bool:
        return self.after is None or row[0] > self.after

    async def _scan(self) -> None:
        """Read the whole list, up to the bound, and sort it."""
        first = self._opened or await self.ask(1)
        rows, page, number = list(first.rows), first, 1
        if page.more and page.total is not None:
            known = range(2, -(-min(page.total, SCAN_ROWS) // len(page.rows)) + 1)
            for page in await asyncio.gather(*map(self.ask, known)):
                rows += page.rows
            number += len(known)
        while page.more and len(rows) < SCAN_ROWS:
            number += 1
            page = await self.ask(number)
            rows += page.rows
        self.cut = page.more
        self.total = first.total if first.total is not None or self.cut else len(rows)
        rows.sort(key=itemgetter(0))
        start = 0 if self.after is None else bisect_right(rows, self.after, key=itemgetter(0))
        self.ready = [(key, ref, 1) for key, ref in rows[start:]]
        self._ended = True


async def merge(readers: Sequence[Reader], size: int) -> tuple[list[tuple[Row, Cursor]], bool]:
    """Up to ``size`` rows of all streams in one order, each with its cursor, and whether more rows follow.

    Streams are read at the same time, and only as far as the page needs. A row that several streams hold is given
    out once.
    """
    rows: list[tuple[Row, Cursor]] = []
    seen: set[Ref] = set()
    while len(rows) < size:
        waiting = [reader for reader in readers if reader.waits()]
        if waiting:
            await asyncio.gather(*(reader.advance() for reader in waiting))
            continue
        open_heads = [(head, reader) for reader in readers if (head := reader.head) is not None]
        if not open_heads:
            break
        _, reader = min(open_heads, key=itemgetter(0))
        if not reader.ready:
            await reader.advance()
            continue
        row = reader.take()
        if row[1] not in seen:
            seen.add(row[1])
            rows.append((row, place(readers, row[0])))
    return rows, any(reader.more for reader in readers)


def place(readers: Sequence[Reader], last: Key) -> Cursor:
    """Where the merge stands after the row with this key."""
    return Cursor(
        last,
        {reader.name: reader.given_page for reader in readers if reader.given_page > 1},
        {reader.name: reader.given or reader.after for reader in readers if reader.error is not None},
    )
