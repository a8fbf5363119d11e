"""Cache of registries' answers: bounded memory in front of a Redis that replicas share.

An entry has a `CacheKey` within the `Scope` of an account, so accounts never share answers.
Readers share the cached documents and must not change them.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from aiocache import SimpleMemoryCache

from gateway.upstream.json_documents import read_json
from gateway.upstream.messages import CacheKey
from gateway.upstream.redis_cache import SharedCache
from gateway.upstream.single_flight import SingleFlight


@dataclass(slots=True)  # a frozen dataclass takes twice as long to create
class Entry:
    """A cached answer.

    ``document`` is None if the registry has no such object. ``stored_at`` is in seconds since 1970, ``size`` in bytes
    of JSON. ``derived`` holds values that readers computed from the document, ``variation`` the share of the jitter by
    which its lifetime is shortened.
    """

    document: Any
    stored_at: float
    size: int
    derived: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    variation: float | None = field(default=None, compare=False, repr=False)

    def packed(self) -> bytes:
        return packed(self.stored_at, self.document)

    @classmethod
    def unpacked(cls, content: bytes) -> "Entry | None":
        """Return the packed entry, None if the content is something else."""
        with suppress(ValueError):
            match read_json(content):
                case [float() | int() as stored_at, dict() | None as document]:
                    return cls(document, stored_at, len(content))
        return None


def packed(stored_at: float, document: Any) -> bytes:
    return orjson.dumps([stored_at, document])


CLOCK_TOLERANCE: Final = 60.0
"""Largest difference of the replicas' clocks, in seconds. A shared answer from the further future is not valid."""


@dataclass(slots=True, eq=False)
class Origin:
    """The cache entry of an answer."""

    cache: "Cache"
    key: str
    entry: Entry


class BoundedMemory(SimpleMemoryCache):  # type: ignore[misc] # aiocache has no types
    """Least-recently-used cache, bounded by a number of entries and by bytes.

    ``used`` is the size of all entries in bytes; ``losses`` counts the entries that were removed or replaced.
    """

    def __init__(self, entries: int, size: int) -> None:
        super().__init__(timeout=None)
        self._cache: OrderedDict[str, Entry] = OrderedDict()
        self.entries, self.size, self.used, self.losses = entries, size, 0, 0

    async def _get(self, key: str, encoding: str = "utf-8", _conn: object = None) -> Entry | None:
        return self.use(key)

    def use(self, key: str) -> Entry | None:
        """Return an entry, and mark it as used."""
        entry = self._cache.get(key)
        if entry is not None:
            self._cache.move_to_end(key)
        return entry

    async def _set(
        self, key: str, value: Entry, ttl: float | None = None, _cas_token: object = None, _conn: object = None
    ) -> bool:
        self.put(key, value)
        return True

    def put(self, key: str, entry: Entry) -> None:
        """Store an entry, and remove the least recently used ones beyond the bounds."""
        self._remove(key)
        self._cache[key] = entry
        self.used += entry.size
        while self._cache and (len(self._cache) > self.entries or self.used > self.size):
            self._remove(next(iter(self._cache)))

    async def _delete(self, key: str, _conn: object = None) -> int:
        return 0 if self._remove(key) is None else 1

    def _remove(self, key: str) -> Entry | None:
        removed = self._cache.pop(key, None)
        if removed is not None:
            self.used -= removed.size
            self.losses += 1
        return removed

    def holds(self, items: Iterable[tuple[str, Entry]]) -> bool:
        """Return whether exactly these entries are cached, and mark them as used."""
        entries = self._cache
        for key, entry in items:
            if entries.get(key) is not entry:
                return False
            entries.move_to_end(key)
        return True

    def drop(self, prefix: str) -> int:
        """Remove the entries whose keys start with a prefix; return their number."""
        keys = [key for key in self._cache if key.startswith(prefix)]
        for key in keys:
            self._remove(key)
        return len(keys)

    def __len__(self) -> int:
        return len(self._cache)


class Cache:
    """Cached answers in memory and, if configured, in a shared Redis.

    Entries older than ``lifetime`` seconds are ignored; readers decide whether a younger one is fresh. ``purges``
    counts purges: an answer that was requested before a purge must not be stored after it.
    """

    def __init__(
        self, memory: BoundedMemory, shared: SharedCache | None, lifetime: float, now: Callable[[], float]
    ) -> None:
        self.memory, self.shared, self.lifetime, self.now = memory, shared, lifetime, now
        self.counts: Counter[str] = Counter()
        self.purges = 0
        self._shared_reads: SingleFlight[str, Entry | None] = SingleFlight()

    async def get(self, key: CacheKey, validator: Callable[[Any], bool] = lambda document: True) -> Entry | None:
        """Return the entry of a key, from memory or the shared cache."""
        entry = self.memory.use(key.text)
        if entry is None and self.shared is not None:
            entry, _ = await self._shared_reads.run(key.text, lambda: self.get_shared(key, validator))
        return self._alive(entry)

    def in_memory(self, key: CacheKey) -> Entry | None:
        """Return the entry of a key if it is in memory."""
        return self._alive(self.memory.use(key.text))

    def _alive(self, entry: Entry | None) -> Entry | None:
        return None if entry is None or self.now() - entry.stored_at > self.lifetime else entry

    async def get_shared(self, key: CacheKey, validator: Callable[[Any], bool]) -> Entry | None:
        """Return the entry from the shared cache, and store it in memory.

        A value that is no entry, or whose document ``validator`` does not accept, is deleted.
        """
        content = None if self.shared is None else await self.shared.get(key.text)
        if self.shared is None or content is None:
            return None
        entry = Entry.unpacked(content)
        is_valid = (
            entry is not None
            and entry.stored_at <= self.now() + CLOCK_TOLERANCE
            and (entry.document is None or validator(entry.document))
        )
        if entry is None or not is_valid:
            await self.shared.discard(key.text)
            return None
        self.memory.put(key.text, entry)
        return entry

    async def put(self, key: CacheKey, document: Any) -> Entry:
        """Store an answer that was received now."""
        now = self.now()
        content = packed(now, document)
        entry = Entry(document, now, len(content))
        self.memory.put(key.text, entry)
        if self.shared is not None:
            await self.shared.set(key.text, content, self.lifetime)
        return entry

    async def purge(self, prefix: str) -> int:
        """Remove the answers whose keys start with a prefix, on all replicas; return the number in this process."""
        removed = self._drop(prefix)
        if self.shared is not None:
            await self.shared.purge(prefix)
        return removed

    def _drop(self, prefix: str) -> int:
        self.purges += 1
        return self.memory.drop(prefix)

    async def listen(self) -> None:
        """Apply the purges of other replicas until cancelled."""
        if self.shared is not None:
            async for prefix in self.shared.purges():
                self._drop(prefix)

    def stats(self) -> Mapping[str, int]:
        return {"entries": len(self.memory), "bytes": self.memory.used, **self.counts}
