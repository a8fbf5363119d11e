"""Orders of lists, and the sort keys of their rows."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, total_ordering
from typing import Any, Final

from gateway.registries.fields import TIME_CACHE_SIZE, EntityLayout, MemoizedConversion, Raw

SortKey = tuple[int, Any, str]
"""Sort key of a row: 0 with a value and 1 without; the value; the global id. Keys of one order compare."""

PATHS: Final = {"latest_version_created_at": ("latest_version", "created_at")}
"""The fields of orders that belong to an entity inside the row."""

LOWEST_WITHOUT_VALUE: SortKey = (1, 0, "")


@lru_cache(TIME_CACHE_SIZE)
def microseconds(time: str) -> int:
    """Convert an ISO 8601 time to microseconds since 1970."""
    return round(datetime.fromisoformat(time).timestamp() * 1_000_000)


@total_ordering
@dataclass(frozen=True, slots=True)
class Descending:
    """Text that sorts in reverse."""

    text: str

    def __lt__(self, other: "Descending") -> bool:
        return self.text > other.text


@dataclass(frozen=True, slots=True)
class Order:
    """An order by a unified field. Rows without a value come last in both directions; ties are sorted by id.

    In a list that arrives in this order, a row without a value has the key of its neighbour, and so keeps its place.
    """

    field: str = "created_at"
    descending: bool = True

    @property
    def path(self) -> tuple[str, str] | None:
        """The path of the field if it belongs to an entity inside the row, such as the newest version."""
        return PATHS.get(self.field)

    def keys(self, layout: EntityLayout) -> Callable[[Raw, str], SortKey]:
        """Return a function from a raw row and its global id to its sort key."""
        field = layout.fields.get(self.field)
        if self.path is not None:
            return self._keys_of_child(layout)
        if field is None:
            return lambda raw, id: (1, 0, id)
        if not isinstance(field.convert, MemoizedConversion) or self.field == "name":
            read, key_of = field.read, self.key_of
            return lambda raw, id: key_of(read(raw), id)
        (name,), convert, sign = field.keys, field.convert, -1 if self.descending else 1
        in_utc, other = convert.text, convert.other

        def by_time(raw: Raw, id: str) -> SortKey:
            value = raw.get(name)
            time = in_utc(value) if type(value) is str else other(value)
            return (1, 0, id) if time is None else (0, sign * microseconds(time), id)

        return by_time

    def _keys_of_child(self, layout: EntityLayout) -> Callable[[Raw, str], SortKey]:
        assert self.path is not None
        entity, name = self.path
        child = layout.fields.get(entity)
        inner = None if child is None or child.layout is None else child.layout.fields.get(name)
        if child is None or inner is None or child.fallback is not None:
            return lambda raw, id: (1, 0, id)

        def key(raw: Raw, id: str) -> SortKey:
            found = child.read(raw)
            return self.key_of(None if found is None else inner.read(found), id)

        return key

    def key_of(self, value: str | None, id: str) -> SortKey:
        """Return the sort key of a value: microseconds since 1970 for a time, code points for a name."""
        if value is None:
            return 1, 0, id
        if self.field == "name":
            return 0, Descending(value) if self.descending else value, id
        time = microseconds(value)
        return 0, -time if self.descending else time, id

    def to_json(self, key: SortKey | None) -> list[Any] | None:
        """Convert a sort key to JSON."""
        return None if key is None else [key[0], key[1].text if isinstance(key[1], Descending) else key[1], key[2]]

    def from_json(self, stored: list[Any] | None) -> SortKey | None:
        """Convert the result of `to_json` to a sort key. Raises ValueError for other values."""
        if stored is None:
            return None
        if not isinstance(stored, list) or len(stored) != 3:
            raise ValueError("not a key")
        empty, value, id = stored
        wanted = str if empty == 0 and self.field == "name" else int
        fits = type(empty) is int and empty in (0, 1) and type(value) is wanted and isinstance(id, str)
        if not fits or (empty == 1 and value != 0):
            raise ValueError("not a key of this order")
        return empty, Descending(value) if isinstance(value, str) and self.descending else value, id
