"""What is made of registries' answers, kept while all of them are kept and fresh: it is never older than they are."""

from collections import Counter, OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from gateway.catalog.calls import Calls
from gateway.catalog.registry import Registry
from gateway.telemetry.events import Call, Events, SettledCalls, State
from gateway.upstream.cache import Cache, Entry
from gateway.upstream.caching_client import ANY, Answer, Freshness

Moment = tuple[int, int]

USED: Final = 1.0
"""Seconds for which a use counts: in that time entries are not moved again before all others."""


@dataclass(slots=True, eq=False)
class CacheDependencies:
    """What something was made of: the ``calls``, one by one and counted; the entries that answered them, by their keys;
    when the oldest of them was received and until when all are fresh, in seconds since 1970; and the registries, which
    it holds, since they are told apart by identity. All entries were kept, and used, at ``used_at``, when the cache's
    memory had lost ``losses``."""

    calls: SettledCalls
    counts: Mapping[tuple[str, str, State], int]
    cache: Cache
    entries: tuple[tuple[str, Entry], ...]
    stored_at: float
    until: float
    registries: tuple[Registry, ...]
    losses: int = -1
    used_at: float = 0.0

    @classmethod
    def of(cls, operation: Calls) -> "CacheDependencies | None":
        """What an operation stands on, if all of it is kept and fresh."""
        if len(operation.reused) == 1 and not operation.answers:
            return operation.reused[0]
        own = [
            sent.result()
            for sent in operation.answers.values()
            if sent.done() and not sent.cancelled() and sent.exception() is None
        ]
        origins = [answer.origin for answer in own if answer.origin is not None and not answer.stale]
        parts = operation.reused
        if not (origins or parts) or len(origins) < len(operation.answers):
            return None
        cache = origins[0].cache if origins else parts[0].cache
        stored_at = min([origin.entry.stored_at for origin in origins] + [part.stored_at for part in parts])
        fresh = [
            origin.entry.stored_at + answer.age + answer.fresh_for for origin, answer in zip(origins, own, strict=True)
        ]
        calls = [Call(bound.registry, bound.call.name, State.HIT) for bound in operation.answers]
        calls += [call for part in parts for call in part.calls]
        return cls(
            SettledCalls(calls),
            Counter((call.registry, call.name, State.HIT) for call in calls),
            cache,
            (*((origin.key, origin.entry) for origin in origins), *(entry for part in parts for entry in part.entries)),
            stored_at,
            min([*fresh, *(part.until for part in parts), stored_at + cache.lifetime]),
            tuple(operation.registries.values()),
        )

    def stands(self) -> bool:
        """Whether all that it was made of is kept and fresh, which is a use of it."""
        now, memory = self.cache.now(), self.cache.memory
        if now >= self.until:
            return False
        if memory.losses == self.losses and now - self.used_at < USED:
            return True
        self.losses, self.used_at = memory.losses, now
        return memory.holds(self.entries)

    def tell(self, facts: Events) -> None:
        """Tell that what it was made of answered once more."""
        facts.again(self.counts)

    @property
    def moment(self) -> Moment:
        """The whole seconds that it is old, and fresh for: what is said of its age stays the same while they do."""
        now = self.cache.now()
        return int(now - self.stored_at), int(self.until - now)

    @property
    def answer(self) -> Answer:
        """Stands for all answers that it was made of."""
        now = self.cache.now()
        return Answer(None, max(0.0, now - self.stored_at), self.until - now)


class Key:
    """Names what is kept; what hash it has is worked out once."""

    __slots__ = ("_hash", "_parts")

    def __init__(self, *parts: Hashable) -> None:
        self._parts, self._hash = parts, hash(parts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self._parts == other._parts


class Based(Protocol):
    """Something made of answers, and how many bytes it counts for."""

    @property
    def basis(self) -> CacheDependencies: ...

    @property
    def size(self) -> int: ...


T = TypeVar("T", bound=Based)


class DerivedCache(Generic[T]):
    """What was used last of what was made of answers, at most so many bytes of it; ``keeps`` says whether any."""

    def __init__(self, most: int) -> None:
        self.most, self.room, self.keeps = most, most, most > 0
        self._kept: OrderedDict[Key, T] = OrderedDict()

    def find(self, key: Key, wanted: Freshness) -> T | None:
        """What is kept under a name, if it is fresh enough."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        basis = kept.basis
        used_at = basis.used_at
        if not basis.stands():
            self._drop(key)
            return None
        if basis.used_at != used_at:
            self._kept.move_to_end(key)
        if wanted is not ANY and not wanted.accepts(basis.answer.age):
            return None
        basis.cache.counts["hits"] += len(basis.entries)
        return kept

    def keep(self, key: Key, made: T) -> None:
        """Keep it, if there is room for it."""
        if made.size > self.most:
            return
        self._drop(key)
        self._kept[key] = made
        self.room -= made.size
        while self.room < 0:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        dropped = self._kept.pop(key, None)
        self.room += 0 if dropped is None else dropped.size
