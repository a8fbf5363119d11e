"""Whole answers, each kept for as long as all that it was made of is kept and fresh.

An answer of an operation depends on its variables, on the registries and how far they are read, and on what they
answered, where it asks for nothing of the moment (`Compiled.lasting`). So it is given again while the cache holds
exactly the entries that it was made of: it is never older than they are.
"""

from collections import Counter, OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.catalog.bounds import Bounds
from gateway.catalog.operation import Operation
from gateway.catalog.registry import Registry
from gateway.graph.compiled import Compiled
from gateway.telemetry.facts import Call, Facts, Settled, State
from gateway.upstream.cache import Cache, Entry
from gateway.upstream.source import ANY, Answer, Freshness

Moment = tuple[int, int]

USED: Final = 1.0
"""Seconds for which a use of an answer counts: in that time its entries are not moved again before all others."""


class Key:
    """Names an answer; what hash it has is worked out once."""

    __slots__ = ("_hash", "_parts")

    def __init__(self, *parts: Hashable) -> None:
        self._parts, self._hash = parts, hash(parts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self._parts == other._parts


@dataclass(slots=True, eq=False)
class Whole:
    """The bytes of an answer, and whether any field of its data is there; the calls for it, one by one and counted; the
    entries that it was made of, by their keys; when the oldest of them was received and until when all are fresh, in
    seconds since 1970. It holds the registries that its key names by identity; ``derived`` is what was worked out from
    it, for as long as it is kept. All its entries were kept, and used, at ``used_at``, when the cache's memory had lost
    ``losses``."""

    body: bytes
    answered: bool
    calls: list[Call]
    counts: Mapping[tuple[str, str, State], int]
    cache: Cache
    entries: tuple[tuple[str, Entry], ...]
    stored_at: float
    until: float
    registries: tuple[Registry, ...]
    losses: int = -1
    used_at: float = 0.0
    derived: dict[Any, Any] = field(default_factory=dict)

    def tell(self, facts: Facts) -> None:
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


class Wholes:
    """The whole answers that were given last, at most ``room`` bytes of them; without room it ``keeps`` none."""

    def __init__(self, room: int) -> None:
        self.room, self.keeps = room, room > 0
        self._kept: OrderedDict[Key, Whole] = OrderedDict()

    def key(
        self, ready: Compiled, variables: Mapping[str, Any], registries: Mapping[str, Registry], bounds: Bounds
    ) -> Key:
        """Names an answer: what is asked, and of whom. Registries are told apart by identity, so accounts are too."""
        return Key(ready, repr(variables), tuple(map(id, registries.values())), bounds)

    def find(self, key: Key, wanted: Freshness) -> Whole | None:
        """The answer of that name, if it is fresh enough."""
        whole = self._kept.get(key)
        if whole is None:
            return None
        cache = whole.cache
        now = cache.now()
        if now >= whole.until or not (
            (cache.memory.losses == whole.losses and now - whole.used_at < USED) or self._use(key, whole, now)
        ):
            self._drop(key)
            return None
        if wanted is not ANY and not wanted.accepts(max(0.0, now - whole.stored_at)):
            return None
        cache.counts["hits"] += len(whole.entries)
        return whole

    def _use(self, key: Key, whole: Whole, now: float) -> bool:
        """Whether all that an answer was made of is kept, which is a use of it."""
        memory = whole.cache.memory
        whole.losses, whole.used_at = memory.losses, now
        self._kept.move_to_end(key)
        return memory.holds(whole.entries)

    def keep(self, key: Key, body: bytes, answered: bool, operation: Operation) -> None:
        """Keep an answer without errors, if all that it was made of is kept and fresh."""
        received = operation.received()
        origins = [answer.origin for answer in received if answer.origin is not None and not answer.stale]
        if not origins or len(origins) < len(operation.answers) or operation.partial or len(body) > self.room:
            return
        cache = origins[0].cache
        stored_at = min(origin.entry.stored_at for origin in origins)
        fresh_until = min(
            origin.entry.stored_at + answer.age + answer.fresh_for
            for origin, answer in zip(origins, received, strict=True)
        )
        whole = Whole(
            body,
            answered,
            Settled(Call(bound.registry, bound.call.name, State.HIT) for bound in operation.answers),
            Counter((bound.registry, bound.call.name, State.HIT) for bound in operation.answers),
            cache,
            tuple((origin.key, origin.entry) for origin in origins),
            stored_at,
            min(fresh_until, stored_at + cache.lifetime),
            tuple(operation.registries.values()),
        )
        self._drop(key)
        self._kept[key] = whole
        self.room -= len(body)
        while self.room < 0:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        dropped = self._kept.pop(key, None)
        self.room += 0 if dropped is None else len(dropped.body)
