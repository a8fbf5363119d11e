"""Rows in order of creation that are made when read, with explicit rows merged in and removed ones left out."""

import asyncio
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Generic, Protocol, TypeVar

Key = str | int
SCANS_KEPT = 64
SCAN_STRIDE = 256  # rows between two turns given to the event loop


class Row(Protocol):
    @property
    def keys(self) -> tuple[Key, ...]: ...
    @property
    def shelf(self) -> str: ...
    @property
    def created(self) -> datetime: ...


R = TypeVar("R", bound=Row)
Made = TypeVar("Made", bound=Row, covariant=True)


class Source(Protocol[Made]):
    """Makes row number ``index``; creation times grow strictly with it.

    ``residues`` says which numbers, modulo their total count, stand on which shelf.
    """

    count: int
    residues: Mapping[str, tuple[int, ...]]

    def row(self, index: int) -> Made: ...
    def created(self, index: int) -> datetime: ...
    def index(self, key: Key) -> int | None: ...


class Shelf(Generic[R]):
    """The rows of one owner, oldest first, read by position."""

    def __init__(self, source: Source[R], name: str) -> None:
        self._source = source
        self._residues = source.residues.get(name, ())
        self._period = sum(map(len, source.residues.values())) or 1
        rounds, rest = divmod(source.count, self._period)
        self._count = rounds * len(self._residues) + bisect_left(self._residues, rest)
        self._gone: list[int] = []
        self._extra: list[R] = []
        self._ranks: list[int] = []  # live generated rows before each explicit one

    def __len__(self) -> int:
        return self._count - len(self._gone) + len(self._extra)

    def __iter__(self) -> Iterator[R]:
        return (self.at(position) for position in range(len(self)))

    def at(self, position: int) -> R:
        before = bisect_left(range(len(self._extra)), position, key=lambda n: self._ranks[n] + n)
        if before < len(self._extra) and self._ranks[before] + before == position:
            return self._extra[before]
        slot = position - before
        for gone in self._gone:
            if gone > slot:
                break
            slot += 1
        return self._source.row(self._index(slot))

    def position(self, row: R) -> int:
        """Where a row of this shelf stands."""
        for place, extra in enumerate(self._extra):
            if extra is row:
                return self._ranks[place] + place
        index = self._source.index(row.keys[0])
        if index is None:
            raise KeyError(row.keys[0])
        slot = self._slot(index)
        rank = slot - bisect_left(self._gone, slot)
        return rank + bisect_right(self._ranks, rank)

    def insert(self, row: R) -> None:
        self._extra.append(row)
        self._arrange()

    def remove(self, row: R) -> None:
        if any(extra is row for extra in self._extra):
            self._extra = [extra for extra in self._extra if extra is not row]
        elif (index := self._source.index(row.keys[0])) is not None:
            insort(self._gone, self._slot(index))
        self._arrange()

    def _arrange(self) -> None:
        self._extra.sort(key=lambda row: (row.created, str(row.keys[0])))
        self._ranks = []
        for row in self._extra:
            older = bisect_left(
                range(self._count), row.created, key=lambda slot: self._source.created(self._index(slot))
            )
            self._ranks.append(older - bisect_left(self._gone, older))

    def _index(self, slot: int) -> int:
        rounds, place = divmod(slot, len(self._residues))
        return rounds * self._period + self._residues[place]

    def _slot(self, index: int) -> int:
        rounds, residue = divmod(index, self._period)
        return rounds * len(self._residues) + self._residues.index(residue)


class Table(Generic[R]):
    """All rows of one kind on their shelves, found by any of their keys; tests insert and remove."""

    def __init__(self, source: Source[R], read: Callable[[dict[str, object]], R]) -> None:
        self._source, self._read = source, read
        self._shelves = {name: Shelf(source, name) for name in source.residues}
        self._explicit: dict[Key, R] = {}
        self._removed: set[int] = set()
        self._scans: dict[Hashable, array[int]] = {}  # replaced, not cleared: a scan under way keeps its own

    def __len__(self) -> int:
        return sum(map(len, self._shelves.values()))

    def __iter__(self) -> Iterator[R]:
        return (row for shelf in self._shelves.values() for row in shelf)

    def shelf(self, name: str) -> Shelf[R]:
        return self._shelves[name] if name in self._shelves else Shelf(self._source, name)

    def find(self, key: Key) -> R | None:
        if key in self._explicit:
            return self._explicit[key]
        index = self._source.index(key)
        if index is None or not 0 <= index < self._source.count or index in self._removed:
            return None
        return self._source.row(index)

    def explicit(self) -> Iterator[R]:
        return iter({id(row): row for row in self._explicit.values()}.values())

    def insert(self, row: R | dict[str, object]) -> R:
        """Add a row, or a document of the cloud's own form; one with the same key is replaced."""
        added = self._read(row) if isinstance(row, dict) else row
        for key in added.keys:
            if self.find(key) is not None:
                self.remove(key)
        self._explicit.update(dict.fromkeys(added.keys, added))
        self._shelves.setdefault(added.shelf, self.shelf(added.shelf)).insert(added)
        self._scans = {}
        return added

    def remove(self, key: Key) -> None:
        row = self.find(key)
        if row is None:
            raise KeyError(key)
        explicit = key in self._explicit
        self._shelves[row.shelf].remove(row)
        if explicit:
            self._explicit = {name: kept for name, kept in self._explicit.items() if kept is not row}
        elif (index := self._source.index(key)) is not None:
            self._removed.add(index)
        self._scans = {}

    async def matching(self, shelf: str, key: Hashable, match: Callable[[R], bool]) -> Sequence[int]:
        """Positions of the rows that match; ``key`` names the condition, so that paging scans once."""
        scans = self._scans
        found = scans.get((shelf, key))
        if found is None:
            found = array("L")
            rows = self.shelf(shelf)
            for position in range(len(rows)):
                if match(rows.at(position)):
                    found.append(position)
                if position % SCAN_STRIDE == SCAN_STRIDE - 1:
                    await asyncio.sleep(0)
            while len(scans) >= SCANS_KEPT:
                del scans[next(iter(scans))]
            scans[(shelf, key)] = found
        return found
