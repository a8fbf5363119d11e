"""The memory budget of a process: one bound in bytes for all caches, of which each cache has a share.

The sizes of entries are estimates. Each cache has the constants of its own entries, measured with ``tracemalloc``;
``python -m tests.floods`` compares their sum with the memory of a gateway.
"""

import gc
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import lru_cache, wraps
from typing import Any, Final, Generic, TypeVar, cast

SHARES: Final[Mapping[str, float]] = {
    "answers": 0.5,
    "responses": 0.2,
    "documents": 0.15,
    "requests": 0.1,
    "queries": 0.05,
}
"""The share of each cache in the budget: answers of registries with all that is derived from them, whole responses,
documents with their query plans, prepared requests, and persisted queries that clients registered."""

MEMO_CHARACTERS: Final = 500
"""The maximum length of the arguments that `memo` caches, in characters."""

F = TypeVar("F", bound=Callable[..., Any])


def memo(entries: int, length: Callable[..., int]) -> Callable[[F], F]:
    """Return a decorator like `lru_cache` for a function whose arguments clients choose.

    It caches ``entries`` results, of arguments with a ``length`` of at most `MEMO_CHARACTERS`.
    """

    def decorated(function: F) -> F:
        cached = lru_cache(entries)(function)

        @wraps(function)
        def call(*arguments: Any) -> Any:
            return cached(*arguments) if length(*arguments) <= MEMO_CHARACTERS else function(*arguments)

        return cast(F, call)

    return decorated


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def ignore(key: object, value: object) -> None:
    """Do nothing."""


class BoundedCache(Generic[K, V]):
    """Least-recently-used cache, bounded by the sizes of its entries in bytes, and by their number.

    ``used`` is the size of all entries; ``losses`` counts the entries that were removed or replaced. ``removed`` is
    called with the key and the value of each of them. With ``cyclic``, values contain reference cycles: after the
    removal of half of the cache, a garbage collection frees their memory.
    """

    def __init__(self, max_bytes: int, max_entries: int | None = None, cyclic: bool = False) -> None:
        self.max_bytes, self.max_entries, self.cyclic = max_bytes, max_entries, cyclic
        self._uncollected = 0
        self.used, self.losses = 0, 0
        self.removed: Callable[[K, V], None] = ignore
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """Return the value of a key, and mark it as used."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Store a value, and remove the least recently used ones beyond the bounds.

        A value that is larger than the cache is not stored.
        """
        self.remove(key)
        if size > self.max_bytes:
            return
        self._entries[key] = value, size
        self.used += size
        self._shrink()

    def resize(self, key: K, size: int) -> None:
        """Set the size of an entry that has grown. Ignores a key that is not cached."""
        entry = self._entries.get(key)
        if entry is not None and size > self.max_bytes:
            self.remove(key)
        elif entry is not None and size != entry[1]:
            self._entries[key] = entry[0], size
            self.used += size - entry[1]
            self._shrink()

    def remove(self, key: K) -> V | None:
        """Remove an entry. Returns its value, None if the key is not cached."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        value, size = entry
        self.used -= size
        self.losses += 1
        self.removed(key, value)
        if self.cyclic:
            self._collect(size)
        return value

    def _collect(self, size: int) -> None:
        self._uncollected += size
        if 2 * self._uncollected > self.max_bytes:
            self._uncollected = 0
            gc.collect()

    def _shrink(self) -> None:
        entries, max_entries = self._entries, self.max_entries
        while entries and (self.used > self.max_bytes or (max_entries is not None and len(entries) > max_entries)):
            self.remove(next(iter(entries)))

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class MemoryBudget:
    """The caches of one application, within ``max_bytes`` together. ``caches`` are those in use, by name."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.caches: dict[str, BoundedCache[Any, Any]] = {}

    def share(self, name: str) -> int:
        """Return the bytes of a cache."""
        return int(self.max_bytes * SHARES[name])

    def cache(self, name: str, cyclic: bool = False) -> BoundedCache[Any, Any]:
        """Create the cache with a name of `SHARES`."""
        created = self.caches[name] = BoundedCache[Any, Any](self.share(name), cyclic=cyclic)
        return created

    def sizes(self) -> Mapping[str, int]:
        """Return the estimated memory of each cache in bytes, and their sum as ``total``."""
        sizes = {name: cache.used for name, cache in self.caches.items()}
        return {**sizes, "total": sum(sizes.values())}
