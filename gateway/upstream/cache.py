"""What registries answered, kept: memory within bounds, and one Redis behind it that replicas share.

An entry can only be asked for with a `Key`, and a key can only be made within an account's `Scope`, so that accounts
never see each other's data. Readers share the kept documents and must not change them.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiocache import SimpleMemoryCache

from gateway.upstream.messages import Key
from gateway.upstream.redis_cache import SharedCache


@dataclass(slots=True)  # frozen ones cost twice as much to make
class Entry:
    """A kept answer: its document (None: there is no such object), when it was received (seconds since 1970), its size
    in bytes, and what readers worked out from the document, for as long as it is kept."""

    document: Any
    stored_at: float
    size: int
    derived: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def packed(self) -> bytes:
        return packed(self.stored_at, self.document)

    @classmethod
    def unpacked(cls, content: bytes) -> "Entry":
        stored_at, document = orjson.loads(content)
        return cls(document, stored_at, len(content))


def packed(stored_at: float, document: Any) -> bytes:
    return orjson.dumps([stored_at, document])


@dataclass(slots=True, eq=False)
class Origin:
    """Where an answer is kept."""

    cache: "Cache"
    key: str
    entry: Entry


class BoundedMemory(SimpleMemoryCache):  # type: ignore[misc] # aiocache has no types
    """Memory that keeps the most recently used entries, within a number of entries and of bytes; ``losses`` counts
    those that it kept and does not keep any more."""

    def __init__(self, entries: int, size: int) -> None:
        super().__init__(timeout=None)
        self._cache: OrderedDict[str, Entry] = OrderedDict()
        self.entries, self.size, self.used, self.losses = entries, size, 0, 0

    async def _get(self, key: str, encoding: str = "utf-8", _conn: object = None) -> Entry | None:
        return self.use(key)

    def use(self, key: str) -> Entry | None:
        """The entry of a key, which counts as used."""
        entry = self._cache.get(key)
        if entry is not None:
            self._cache.move_to_end(key)
        return entry

    async def _set(
        self, key: str, value: Entry, ttl: float | None = None, _cas_token: object = None, _conn: object = None
    ) -> bool:
        self.keep(key, value)
        return True

    def keep(self, key: str, entry: Entry) -> None:
        """Keep an entry, in place of those that were used longest ago where there is no room."""
        self._lose(key)
        self._cache[key] = entry
        self.used += entry.size
        while self._cache and (len(self._cache) > self.entries or self.used > self.size):
            self._lose(next(iter(self._cache)))

    async def _delete(self, key: str, _conn: object = None) -> int:
        return 0 if self._lose(key) is None else 1

    def _lose(self, key: str) -> Entry | None:
        dropped = self._cache.pop(key, None)
        if dropped is not None:
            self.used -= dropped.size
            self.losses += 1
        return dropped

    def holds(self, kept: Iterable[tuple[str, Entry]]) -> bool:
        """Whether all of these very entries are kept, which is a use of them."""
        entries = self._cache
        for key, entry in kept:
            if entries.get(key) is not entry:
                return False
            entries.move_to_end(key)
        return True

    def drop(self, prefix: str) -> int:
        """Forget every entry whose key starts like this; returns how many."""
        keys = [key for key in self._cache if key.startswith(prefix)]
        for key in keys:
            self._lose(key)
        return len(keys)

    def __len__(self) -> int:
        return len(self._cache)


class Cache:
    """Kept answers in memory and, where there is one, in the Redis that replicas share.

    ``lifetime`` is how long an entry is of any use, in seconds; how fresh it is is the reader's to judge. ``purged``
    counts purges, so that what was asked for before one is not kept after it.
    """

    def __init__(
        self, memory: BoundedMemory, shared: SharedCache | None, lifetime: float, now: Callable[[], float]
    ) -> None:
        self.memory, self.shared, self.lifetime, self.now = memory, shared, lifetime, now
        self.counts: Counter[str] = Counter()
        self._recalls: dict[Key, asyncio.Task[Entry | None]] = {}
        self.purged = 0

    async def get(self, key: Key) -> Entry | None:
        """The entry of a key, if it is of any use."""
        entry: Entry | None = await self.memory.get(str(key))
        if entry is None and self.shared is not None:
            if key not in self._recalls:
                self._recalls[key] = asyncio.ensure_future(self.recall(key))
                self._recalls[key].add_done_callback(lambda done: self._recalls.pop(key))
            entry = await asyncio.shield(self._recalls[key])
        return None if entry is None or self.now() - entry.stored_at > self.lifetime else entry

    def at_hand(self, key: Key) -> Entry | None:
        """The entry of a key, if it is in memory and of any use."""
        entry = self.memory.use(key.text)
        return None if entry is None or self.now() - entry.stored_at > self.lifetime else entry

    async def recall(self, key: Key) -> Entry | None:
        """The entry that replicas share, kept in memory from then on."""
        content = None if self.shared is None else await self.shared.get(str(key))
        if content is None:
            return None
        entry = Entry.unpacked(content)
        self.memory.keep(key.text, entry)
        return entry

    async def put(self, key: Key, document: Any) -> Entry:
        """Keep an answer that was received now."""
        now = self.now()
        content = packed(now, document)
        entry = Entry(document, now, len(content))
        self.memory.keep(key.text, entry)
        if self.shared is not None:
            await self.shared.set(key.text, content, self.lifetime)
        return entry

    async def purge(self, prefix: str) -> int:
        """Forget every answer whose key starts like this, on every replica; returns how many this process forgot."""
        dropped = self._drop(prefix)
        if self.shared is not None:
            await self.shared.purge(prefix)
        return dropped

    def _drop(self, prefix: str) -> int:
        self.purged += 1
        return self.memory.drop(prefix)

    async def listen(self) -> None:
        """Forget what other replicas purge, for as long as this runs."""
        if self.shared is not None:
            async for prefix in self.shared.purges():
                self._drop(prefix)

    def stats(self) -> Mapping[str, int]:
        return {"entries": len(self.memory), "bytes": self.memory.used, **self.counts}
