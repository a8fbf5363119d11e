"""In what order rows stand, and the keys that sort them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, total_ordering
from typing import Any

from gateway.registries.fields import MOST_TIMES, EntityLayout, MemoizedConversion, Raw

Key = tuple[int, Any, str]
"""Sorts rows: 0 with a value and 1 without; the value; the global id. Only keys of one order compare."""

LOWEST_WITHOUT_VALUE: Key = (1, 0, "")


@lru_cache(MOST_TIMES)
def microseconds(time: str) -> int:
    """A time as microseconds since 1970."""
    return round(datetime.fromisoformat(time).timestamp() * 1_000_000)


@total_ordering
@dataclass(frozen=True, slots=True)
class Falling:
    """Text that sorts in reverse."""

    text: str

    def __lt__(self, other: "Falling") -> bool:
        return self.text > other.text


@dataclass(frozen=True, slots=True)
class Order:
    """By a unified field, rising or falling; rows without a value stand last either way, ties are sorted by id."""

    field: str = "created_at"
    falling: bool = True

    def keys(self, shape: EntityLayout) -> Callable[[Raw, str], Key]:
        """What gives the key of a row of a list, from its raw form and its global id."""
        field = shape.fields.get(self.field)
        if field is None:
            return lambda raw, id: (1, 0, id)
        if not isinstance(field.convert, MemoizedConversion) or self.field == "name":
            read, key_of = field.read, self.key_of
            return lambda raw, id: key_of(read(raw), id)
        (name,), convert, sign = field.keys, field.convert, -1 if self.falling else 1
        in_utc, other = convert.text, convert.other

        def by_time(raw: Raw, id: str) -> Key:
            said = raw.get(name)
            time = in_utc(said) if type(said) is str else other(said)
            return (1, 0, id) if time is None else (0, sign * microseconds(time), id)

        return by_time

    def key_of(self, value: str | None, id: str) -> Key:
        """The key of a value: a moment as microseconds since 1970, a name by its code points."""
        if value is None:
            return 1, 0, id
        if self.field == "name":
            return 0, Falling(value) if self.falling else value, id
        moment = microseconds(value)
        return 0, -moment if self.falling else moment, id

    def stored(self, key: Key | None) -> list[Any] | None:
        """A key as JSON."""
        return None if key is None else [key[0], key[1].text if isinstance(key[1], Falling) else key[1], key[2]]

    def restored(self, stored: list[Any] | None) -> Key | None:
        """The key of `stored`. Raises ValueError for anything else."""
        if stored is None:
            return None
        if not isinstance(stored, list) or len(stored) != 3:
            raise ValueError("not a key")
        empty, value, id = stored
        wanted = str if empty == 0 and self.field == "name" else int
        fits = type(empty) is int and empty in (0, 1) and type(value) is wanted and isinstance(id, str)
        if not fits or (empty == 1 and value != 0):
            raise ValueError("not a key of this order")
        return empty, Falling(value) if isinstance(value, str) and self.falling else value, id
