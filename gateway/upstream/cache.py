"""Cache of registries' answers: bounded memory in front of a Redis that replicas share.

An entry has a `CacheKey` within the `Scope` of an account, so accounts never share answers.
Readers share the cached documents and must not change them.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import orjson

from gateway.memory_budget import BoundedCache
from gateway.upstream.json_documents import read_json
from gateway.upstream.messages import CacheKey
from gateway.upstream.redis_cache import SharedCache
from gateway.upstream.single_flight import SingleFlight

ANSWER_BYTES: Final = 700
"""The memory of an answer beside its document: the entry, its key, and its derived values when there are none."""
VALUE_BYTES, OBJECT_BYTES = 90, 150
"""The memory of a value in a JSON document beside its text, and of an object beside its values."""

MAX_DERIVED: Final = 32
"""The maximum number of derived values of one answer, such as pages of rows. The oldest is dropped."""

numbers = count()


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """The cache entry of an answer: its key, its number, and when it was stored, in seconds since 1970."""

    cache: "Cache"
    key: str
    number: int
    stored_at: float


class DerivedValues:
    """Values that readers computed from one answer. They are counted with its cache entry, and dropped with it.

    ``size`` is their memory in bytes. Keys must not contain plans, which would outlive their document.
    """

    __slots__ = ("_cached", "_values", "size")

    def __init__(self) -> None:
        self.size = 0
        self._values: dict[Hashable, tuple[Any, int]] = {}
        self._cached: tuple[BoundedMemory, str] | None = None

    def get(self, key: Hashable) -> Any:
        """Return the value of a key, None if there is none."""
        stored = self._values.get(key)
        return None if stored is None else stored[0]

    def store(self, key: Hashable, value: Any, size: int) -> None:
        """Store a value that takes ``size`` bytes."""
        replaced = self._values.pop(key, None)
        if replaced is None and len(self._values) >= MAX_DERIVED:
            replaced = self._values.pop(next(iter(self._values)))
        if replaced is not None:
            self.size -= replaced[1]
        self._values[key] = value, size
        self.size += size
        if self._cached is not None:
            memory, entry = self._cached
            memory.recount(entry)

    def count_in(self, memory: "BoundedMemory", key: str) -> None:
        """Count the values in the entry with a key from now on."""
        self._cached = memory, key


@dataclass(slots=True)  # a frozen dataclass takes twice as long to create
class Entry:
    """A cached answer.

    ``document`` is None if the registry has no such object. ``stored_at`` is in seconds since 1970, ``size`` the memory
    in bytes without ``derived``. ``variation`` is the share of the jitter by which its lifetime is shortened.
    ``number`` identifies the entry; no other ever has the same. ``origin`` is set when it is first read.
    """

    document: Any
    stored_at: float
    size: int
    derived: DerivedValues = field(default_factory=DerivedValues, compare=False, repr=False)
    variation: float | None = field(default=None, compare=False, repr=False)
    number: int = field(default_factory=numbers.__next__, compare=False, repr=False)
    origin: Origin | None = field(default=None, compare=False, repr=False)

    def packed(self) -> bytes:
        return packed(self.stored_at, self.document)

    @classmethod
    def unpacked(cls, content: bytes) -> "Entry | None":
        """Return the packed entry, None if the content is something else."""
        with suppress(ValueError):
            match read_json(content):
                case [float() | int() as stored_at, dict() | None as document]:
                    return cls(document, stored_at, ANSWER_BYTES + document_bytes(content))
        return None


def packed(stored_at: float, document: Any) -> bytes:
    return orjson.dumps([stored_at, document])


CLOCK_TOLERANCE: Final = 60.0
"""Largest difference of the replicas' clocks, in seconds. A shared answer from the further future is not valid."""


def document_bytes(content: bytes) -> int:
    """Return the memory of a JSON document that was read from ``content``, in bytes."""
    objects = content.count(b"{")
    values = content.count(b",") + content.count(b"[") + objects
    return len(content) + VALUE_BYTES * values + OBJECT_BYTES * objects


class BoundedMemory(BoundedCache[str, Entry]):
    """The answers in memory, bounded by their number and by the bytes that they and their derived values take."""

    def __init__(self, entries: int, size: int) -> None:
        super().__init__(size, entries)

    def store(self, key: str, entry: Entry) -> None:
        """Store an entry, and remove the least recently used ones beyond the bounds."""
        entry.derived.count_in(self, key)
        self.put(key, entry, entry.size + entry.derived.size)

    def recount(self, key: str) -> None:
        """Count the derived values of an entry again."""
        stored = self._entries.get(key)
        if stored is not None:
            entry = stored[0]
            self.resize(key, entry.size + entry.derived.size)

    def holds(self, items: Iterable[tuple[str, int]]) -> bool:
        """Return whether exactly these entries are cached, by key and number, and mark them as used."""
        entries = self._entries
        for key, number in items:
            stored = entries.get(key)
            if stored is None or stored[0].number != number:
                return False
            entries.move_to_end(key)
        return True

    def drop(self, prefix: str) -> int:
        """Remove the entries whose keys start with a prefix; return their number."""
        keys = [key for key in self if key.startswith(prefix)]
        for key in keys:
            self.remove(key)
        return len(keys)


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
        entry = self.memory.get(key.text)
        if entry is None and self.shared is not None:
            entry, _ = await self._shared_reads.run(key.text, lambda: self.get_shared(key, validator))
        return None if entry is None or self.now() - entry.stored_at > self.lifetime else entry

    async def get_shared(self, key: CacheKey, validator: Callable[[Any], bool]) -> Entry | None:
        """Return the entry from the shared cache, and store it in memory.

        A value that is no entry, or whose document ``validator`` does not accept, is deleted.
        """
        content = None if self.shared is None else await self.shared.get(key.text)
        if self.shared is None or content is None:
            return None
        entry = Entry.unpacked(content)
        is_valid = entry is not None and entry.stored_at <= self.now() + CLOCK_TOLERANCE and validator(entry.document)
        if entry is None or not is_valid:
            await self.shared.discard(key.text)
            return None
        self.memory.store(key.text, entry)
        return entry

    async def put(self, key: CacheKey, document: Any) -> Entry:
        """Store an answer that was received now."""
        now = self.now()
        content = packed(now, document)
        entry = Entry(document, now, ANSWER_BYTES + document_bytes(content))
        self.memory.store(key.text, entry)
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
