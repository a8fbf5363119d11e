"""Cache dependencies: the upstream cache entries that a derived value was built from."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from gateway.catalog.calls import Calls
from gateway.telemetry.events import CallRecord, CallState, Events, SettledCalls
from gateway.upstream.cache import Cache


@dataclass(frozen=True, eq=False)
class CacheDependencies:
    """Cache entries that a derived value depends on; valid while all are present and fresh.

    ``names`` are the registries and names of the calls that the entries answer. ``entries`` are keys and numbers of
    entries of ``cache``: a derived value does not keep them in memory. ``stored_at`` is the time of the oldest entry
    and ``expires_at`` the time at which the first of them is stale, in seconds since 1970.
    """

    names: tuple[tuple[str, str], ...]
    cache: Cache
    entries: tuple[tuple[str, int], ...]
    stored_at: float
    expires_at: float

    @classmethod
    def of(cls, calls: Calls) -> Self | None:
        """Return the entries that an operation used, None unless all its answers are cached and fresh."""
        keys, stale_times, origin = [], [], None
        for answer in calls.received():
            origin = answer.origin
            if origin is None or answer.fresh_for < 0:
                return None
            keys.append((origin.key, origin.number, origin.stored_at))
            stale_times.append(origin.stored_at + answer.age + answer.fresh_for)
        if origin is None or len(keys) < len(calls.answers):
            return None
        cache, stored_at, stale_at = origin.cache, min([stored_at for *_, stored_at in keys]), min(stale_times)
        return cls(
            tuple([(bound.registry, bound.call.name) for bound in calls.answers]),
            cache,
            tuple([(key, number) for key, number, _ in keys]),
            stored_at,
            min(stale_at, stored_at + cache.lifetime),
        )

    @cached_property
    def calls(self) -> SettledCalls:
        """The calls, as an operation that is answered from the cache reports them."""
        return SettledCalls(CallRecord(registry, name, CallState.HIT) for registry, name in self.names)

    @cached_property
    def hits(self) -> Mapping[tuple[str, str, CallState], int]:
        """The number of calls by registry, call and state."""
        return Counter((registry, name, CallState.HIT) for registry, name in self.names)

    def is_valid(self) -> bool:
        """Whether all entries are present and fresh. Counts as a use of each."""
        return self.cache.now() < self.expires_at and self.cache.memory.holds(self.entries)

    def count_hits(self, events: Events) -> None:
        """Count a cache hit for each entry."""
        self.cache.counts["hits"] += len(self.entries)
        events.answered_from_cache(self.hits)

    def lifetime(self) -> tuple[float, float]:
        """Return the seconds since the oldest entry was received, and until the first one is stale."""
        now = self.cache.now()
        return max(0.0, now - self.stored_at), self.expires_at - now
