"""Tables whose rows are generated when they are read, ordered by creation time. Tests can insert and remove rows."""

import asyncio
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")
RowKey = str | int
Order = Sequence[tuple[Callable[[T], Any], bool]]
"""Keys to sort by, the most significant first, and whether each one falls."""
MAX_CACHED_SCANS = 64
SCAN_STRIDE = 256  # rows after which a scan yields to the event loop


def in_order(items: Iterable[T], order: Order[T]) -> list[T]:
    ordered = list(items)
    for key, falls in reversed(order):
        ordered.sort(key=key, reverse=falls)
    return ordered


class Row(Protocol):
    @property
    def keys(self) -> tuple[RowKey, ...]: ...
    @property
    def partition(self) -> str: ...
    @property
    def created(self) -> datetime: ...


R = TypeVar("R", bound=Row)
GeneratedRow = TypeVar("GeneratedRow", bound=Row, covariant=True)


class Source(Protocol[GeneratedRow]):
    """Generates rows by index. Creation times strictly increase with the index.

    ``residues`` assigns rows to partitions: the partition of a row depends on its index modulo the total number of
    residues.
    """

    count: int
    residues: Mapping[str, tuple[int, ...]]

    def row(self, index: int) -> GeneratedRow: ...
    def created(self, index: int) -> datetime: ...
    def index(self, key: RowKey) -> int | None: ...


class Partition(Generic[R]):
    """The rows of one provider or source, oldest first."""

    def __init__(self, source: Source[R], name: str) -> None:
        self._source = source
        self._residues = source.residues.get(name, ())
        self._period = sum(map(len, source.residues.values())) or 1
        rounds, rest = divmod(source.count, self._period)
        self._count = rounds * len(self._residues) + bisect_left(self._residues, rest)
        self._removed_slots: list[int] = []
        self._inserted: list[R] = []
        self._ranks: list[int] = []  # the number of generated rows, without removed ones, before each inserted row

    def __len__(self) -> int:
        return self._count - len(self._removed_slots) + len(self._inserted)

    def __iter__(self) -> Iterator[R]:
        return (self.at(position) for position in range(len(self)))

    def at(self, position: int) -> R:
        before = bisect_left(range(len(self._inserted)), position, key=lambda n: self._ranks[n] + n)
        if before < len(self._inserted) and self._ranks[before] + before == position:
            return self._inserted[before]
        slot = position - before
        for removed in self._removed_slots:
            if removed > slot:
                break
            slot += 1
        return self._source.row(self._index(slot))

    def position(self, row: R) -> int:
        """Return the position of a row."""
        for number, inserted in enumerate(self._inserted):
            if inserted is row:
                return self._ranks[number] + number
        index = self._source.index(row.keys[0])
        if index is None:
            raise KeyError(row.keys[0])
        slot = self._slot(index)
        rank = slot - bisect_left(self._removed_slots, slot)
        return rank + bisect_right(self._ranks, rank)

    def insert(self, row: R) -> None:
        self._inserted.append(row)
        self._sort_inserted()

    def remove(self, row: R) -> None:
        if any(inserted is row for inserted in self._inserted):
            self._inserted = [inserted for inserted in self._inserted if inserted is not row]
        elif (index := self._source.index(row.keys[0])) is not None:
            insort(self._removed_slots, self._slot(index))
        self._sort_inserted()

    def _sort_inserted(self) -> None:
        self._inserted.sort(key=lambda row: (row.created, str(row.keys[0])))
        self._ranks = []
        for row in self._inserted:
            older = bisect_left(
                range(self._count), row.created, key=lambda slot: self._source.created(self._index(slot))
            )
            self._ranks.append(older - bisect_left(self._removed_slots, older))

    def _index(self, slot: int) -> int:
        rounds, remainder = divmod(slot, len(self._residues))
        return rounds * self._period + self._residues[remainder]

    def _slot(self, index: int) -> int:
        rounds, residue = divmod(index, self._period)
        return rounds * len(self._residues) + self._residues.index(residue)


class Table(Generic[R]):
    """All rows of one type, in partitions. Each row can be found by any of its keys."""

    def __init__(self, source: Source[R], read: Callable[[dict[str, object]], R]) -> None:
        self._source, self._read = source, read
        self._partitions = {name: Partition(source, name) for name in source.residues}
        self._explicit: dict[RowKey, R] = {}
        self._removed: set[int] = set()
        self._scans: dict[Hashable, array[int]] = {}  # replaced, never cleared: a running scan writes to the old one

    def __len__(self) -> int:
        return sum(map(len, self._partitions.values()))

    def __iter__(self) -> Iterator[R]:
        return (row for partition in self._partitions.values() for row in partition)

    def partition(self, name: str) -> Partition[R]:
        return self._partitions[name] if name in self._partitions else Partition(self._source, name)

    def find(self, key: RowKey) -> R | None:
        if key in self._explicit:
            return self._explicit[key]
        index = self._source.index(key)
        if index is None or not 0 <= index < self._source.count or index in self._removed:
            return None
        return self._source.row(index)

    def explicit(self) -> Iterator[R]:
        return iter({id(row): row for row in self._explicit.values()}.values())

    def insert(self, row: R | dict[str, object]) -> R:
        """Insert a row, or a JSON object in the cloud's format. A row with the same key is replaced."""
        added = self._read(row) if isinstance(row, dict) else row
        for key in added.keys:
            if self.find(key) is not None:
                self.remove(key)
        self._explicit.update(dict.fromkeys(added.keys, added))
        self._partitions.setdefault(added.partition, self.partition(added.partition)).insert(added)
        self._scans = {}
        return added

    def remove(self, key: RowKey) -> None:
        row = self.find(key)
        if row is None:
            raise KeyError(key)
        explicit = key in self._explicit
        self._partitions[row.partition].remove(row)
        if explicit:
            self._explicit = {name: other for name, other in self._explicit.items() if other is not row}
        elif (index := self._source.index(key)) is not None:
            self._removed.add(index)
        self._scans = {}

    async def matching(
        self, partition: str, key: Hashable, match: Callable[[R], bool], order: Order[R] = ()
    ) -> Sequence[int]:
        """Return the positions of the rows that match, oldest first or in an order.

        The result is cached under ``key``, which identifies the condition and the order, so that paging scans once.
        """
        scans = self._scans
        found = scans.get((partition, key))
        if found is None:
            found = array("L")
            keys: list[list[Any]] = []
            rows = self.partition(partition)
            for position in range(len(rows)):
                row = rows.at(position)
                if match(row):
                    found.append(position)
                    keys.append([key(row) for key, _ in order])
                if position % SCAN_STRIDE == SCAN_STRIDE - 1:
                    await asyncio.sleep(0)
            if order:
                by_keys = [(lambda n, column=column: keys[n][column], falls) for column, (_, falls) in enumerate(order)]
                found = array("L", [found[n] for n in in_order(range(len(found)), by_keys)])
            while len(scans) >= MAX_CACHED_SCANS:
                del scans[next(iter(scans))]
            scans[(partition, key)] = found
        return found
