"""Answers of registries as the catalog requests them: from the cache, or from the registry.

A fresh answer comes from the cache. A stale one does too, while a refresh runs in the background. A missing one is
fetched once for all concurrent callers, in this process by single flight and across replicas by a lease in the shared
cache. If the registry fails, a stored answer is returned with its age. A fetch for which no caller waits any more is
cancelled; a refresh is not.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Final, Protocol
from zlib import crc32

from gateway.errors import (
    NotFound,
    RegistryBadAnswer,
    RegistryError,
    RegistryForbidden,
    RegistryNotCached,
    RegistryRejected,
    RegistryUnauthenticated,
)
from gateway.telemetry.events import CURRENT, NO_EVENTS, CallState, Events
from gateway.upstream.cache import Cache, DerivedValues, Entry, Origin
from gateway.upstream.messages import CacheKey, Destination, Request
from gateway.upstream.single_flight import SingleFlight

LEASE_SECONDS: Final = 10.0
"""Seconds for which one replica may fetch an answer alone."""
LEASE_POLL_SECONDS: Final = 0.05
"""Seconds between two attempts to get a lease that another replica holds."""

FINAL: Final = (RegistryUnauthenticated, RegistryForbidden, RegistryRejected)
"""Errors that a stored answer must not hide: the account may have lost access to it."""


class Sender(Protocol):
    """Sends an unsigned request and returns the JSON of the response. A ``refresh`` yields to other requests."""

    async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any: ...


@dataclass(frozen=True, slots=True)
class Freshness:
    """How fresh an answer must be.

    ``revalidate`` always fetches; ``max_age`` is the largest accepted age in seconds; ``only_if_cached`` never fetches;
    ``background`` gives other requests priority, since no client waits for the answer. Without ``store``, the response
    to the client is not stored; the answers of registries are, since they belong to the gateway.
    """

    revalidate: bool = False
    max_age: float | None = None
    only_if_cached: bool = False
    background: bool = False
    store: bool = True

    def accepts(self, age: float) -> bool:
        return not self.revalidate and (self.max_age is None or age <= self.max_age)


ANY = Freshness()


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Lifetimes of answers in seconds.

    ``fresh`` by family of calls, ``missing`` for "no such object". For ``stale`` more seconds an answer is returned
    while a refresh runs. ``jitter`` is the share by which lifetimes vary, so that entries do not expire together.
    """

    fresh: Mapping[str, float]
    missing: float
    stale: float
    jitter: float

    def of(self, family: str, key: CacheKey, entry: Entry) -> float:
        """Return the lifetime of an entry in seconds."""
        seconds = self.missing if entry.document is None else self.fresh[family]
        if entry.variation is None:
            entry.variation = crc32(f"{key.text}{entry.stored_at}".encode()) / 2**32
        return seconds * (1 - self.jitter * entry.variation)


@dataclass(slots=True)  # a frozen dataclass takes twice as long to create
class Answer:
    """A registry's answer.

    ``age`` and ``fresh_for`` are in seconds; a negative ``fresh_for`` means stale. ``origin`` is its cache entry, if it
    has one. ``derived`` holds values computed from the document, shared by all readers.
    """

    document: Any
    age: float = 0.0
    fresh_for: float = 0.0
    state: CallState = CallState.MISS
    origin: Origin | None = None
    derived: DerivedValues = field(default_factory=DerivedValues, compare=False, repr=False)

    @property
    def stale(self) -> bool:
        return self.fresh_for < 0


class UncachedClient:
    """Answers of registries without a cache. Concurrent callers of one request share it."""

    def __init__(self, sender: Sender, events: Events = NO_EVENTS) -> None:
        self.sender, self.events = sender, events
        self._flights: SingleFlight[tuple[str, str, str, bool], Answer] = SingleFlight(cancel_abandoned=True)

    async def fetch(
        self, destination: Destination, request: Request, family: str, freshness: Freshness = ANY
    ) -> Answer:
        """Return the answer to a request. Raises `RegistryError`."""
        if freshness.only_if_cached:
            raise RegistryNotCached(destination.registry)
        background = freshness.background
        answer, shared = await self._flights.run(
            (destination.scope.digest, request.call, request.digest, background),
            lambda: _send(self.sender, destination, request, self.events, refresh=background),
        )
        if not shared:
            return answer
        self.events.answered(destination.registry, request.call, CallState.SHARED)
        return replace(answer, state=CallState.SHARED)

    def cached(self, registry: str, key: CacheKey, family: str, freshness: Freshness = ANY) -> Answer | None:
        """Return None: there is no cache."""
        return None

    def close(self) -> None:
        """Cancel all requests."""
        self._flights.close()


class CachingClient:
    """Answers of registries through a cache. ``wait`` bounds the wait for another replica, in seconds."""

    def __init__(
        self,
        sender: Sender,
        cache: Cache,
        lifetimes: Lifetimes,
        wait: float,
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
        events: Events = NO_EVENTS,
    ) -> None:
        self.sender, self.cache, self.lifetimes, self.wait, self.sleep = sender, cache, lifetimes, wait, sleep
        self.events = events
        self._flights: SingleFlight[str, Answer] = SingleFlight(cancel_abandoned=True)

    def cached(self, registry: str, key: CacheKey, family: str, freshness: Freshness = ANY) -> Answer | None:
        """Return the answer if it is in memory and fresh, without waiting."""
        cache = self.cache
        entry = cache.memory.get(key.text)
        if entry is None or entry.document is None:
            return None
        age = cache.now() - entry.stored_at
        if age > cache.lifetime or not (freshness is ANY or freshness.accepts(age)):
            return None
        answer = self._answer(key, family, entry, CallState.HIT, age)
        if answer.fresh_for < 0:
            return None
        cache.counts["hits"] += 1
        self.events.answered(registry, key.call, CallState.HIT)
        return answer

    async def fetch(
        self, destination: Destination, request: Request, family: str, freshness: Freshness = ANY
    ) -> Answer:
        """Return the answer to a request, as fresh as required. Raises `RegistryError`, `NotFound` among them."""
        answer = await self._find(destination, request, family, freshness)
        self.events.answered(destination.registry, request.call, answer.state)
        if answer.document is None:
            call = CURRENT.get()
            if call is not None:
                call.state = answer.state
            raise NotFound(destination.registry)
        return answer

    async def _find(self, destination: Destination, request: Request, family: str, freshness: Freshness) -> Answer:
        """Return the answer from the cache if that is fresh enough, else from the registry."""
        registry, counts = destination.registry, self.cache.counts
        key, requested_at = destination.scope.key(request), self.cache.now()

        def load(refresh: bool) -> Coroutine[Any, Any, Answer]:
            return self._load(destination, request, family, key, requested_at, refresh=refresh)

        entry = await self.cache.get(key, request.accepts)
        stored = None if entry is None else self._answer(key, family, entry, CallState.HIT, self._age(entry))
        if stored is not None and freshness.accepts(stored.age):
            if not stored.stale:
                counts["hits"] += 1
                return stored
            if freshness.only_if_cached or -stored.fresh_for <= self.lifetimes.stale:
                counts["stale"] += 1
                if not freshness.only_if_cached:
                    started = self._flights.start(key.text, lambda: load(refresh=True))
                    if started:
                        self.events.refreshed(registry, request.call)
                    else:
                        counts["shared"] += 1
                return replace(stored, state=CallState.STALE)
        if freshness.only_if_cached:
            raise RegistryNotCached(registry)

        counts["misses"] += 1
        try:
            answer, shared = await self._flights.run(key.text, lambda: load(refresh=freshness.background))
        except RegistryError as error:
            if stored is None or isinstance(error, FINAL) or not freshness.accepts(stored.age):
                raise
            counts["stale_on_error"] += 1
            return replace(stored, state=CallState.STALE_ON_ERROR)
        if not shared:
            return answer
        counts["shared"] += 1
        return replace(answer, state=CallState.SHARED)

    async def _load(
        self,
        destination: Destination,
        request: Request,
        family: str,
        key: CacheKey,
        requested_at: float,
        *,
        refresh: bool,
    ) -> Answer:
        """Fetch an answer and store it, unless another replica that holds the lease stores a new one in time."""
        if refresh:
            CURRENT.set(None)  # a refresh belongs to no operation
        shared = self.cache.shared
        if shared is None:
            return await self._fetch_and_store(destination, request, family, key, refresh=refresh)
        waited, started = 0.0, perf_counter()
        while (token := await shared.lease(key.text, LEASE_SECONDS)) is None and waited < self.wait:
            await self.sleep(LEASE_POLL_SECONDS)
            waited += LEASE_POLL_SECONDS
        self.events.leased(perf_counter() - started)
        try:
            entry = await self.cache.get_shared(key, request.accepts)
            if entry is None or entry.stored_at < requested_at:
                return await self._fetch_and_store(destination, request, family, key, refresh=refresh)
            self.cache.counts["shared"] += 1
            return self._answer(key, family, entry, CallState.SHARED, self._age(entry))
        finally:
            if token is not None:
                await shared.release(key.text, token)

    async def _fetch_and_store(
        self, destination: Destination, request: Request, family: str, key: CacheKey, *, refresh: bool
    ) -> Answer:
        """Fetch an answer, and store it unless the cache was purged meanwhile. `NotFound` becomes an empty answer."""
        purges = self.cache.purges
        try:
            answer = await _send(self.sender, destination, request, self.events, refresh=refresh)
        except NotFound:
            answer = Answer(None)
        if self.cache.purges != purges:
            return answer
        entry = await self.cache.put(key, answer.document)
        return self._answer(key, family, entry, CallState.MISS, self._age(entry))

    def _age(self, entry: Entry) -> float:
        return self.cache.now() - entry.stored_at

    def _answer(self, key: CacheKey, family: str, entry: Entry, state: CallState, age: float) -> Answer:
        """Return the answer of an entry. The clock of another replica may be ahead, so ``age`` may be negative."""
        if age < 0:
            age = 0.0
        if entry.origin is None:
            entry.origin = Origin(self.cache, key.text, entry.number, entry.stored_at)
        fresh_for = self.lifetimes.of(family, key, entry) - age
        return Answer(entry.document, age, fresh_for, state, entry.origin, entry.derived)

    def close(self) -> None:
        """Cancel all requests, refreshes included."""
        self._flights.close()


async def _send(sender: Sender, destination: Destination, request: Request, events: Events, *, refresh: bool) -> Answer:
    """Send a request and validate the document. Raises `RegistryError`.

    `NotFound` becomes `RegistryRejected` for what always exists: the request was wrong.
    """
    registry = destination.registry
    try:
        document = await sender.send(destination, request, refresh=refresh)
        if not request.accepts(document):
            raise RegistryBadAnswer(registry)
    except RegistryError as error:
        if not isinstance(error, NotFound):
            events.failed(registry, request.call, error)
            raise
        if not request.always_exists:
            raise
        rejected = RegistryRejected(registry, vendor_code=error.vendor_code, request_id=error.request_id)
        events.failed(registry, request.call, rejected)
        raise rejected from None
    return Answer(document)
