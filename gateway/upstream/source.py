"""The upstream as the catalog sees it: answers from the cache while they are fresh enough, one call for all who ask.

Fresh answers are served; older ones are served while a refresh runs behind; what is missing is asked for once by all
who want it, in this process and, through the shared cache, over all replicas; when asking fails, an old answer is
served with its age rather than none.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Protocol
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
from gateway.telemetry.facts import CURRENT, SILENT, Facts, State
from gateway.upstream.cache import Cache, Entry, Origin
from gateway.upstream.flights import Flights
from gateway.upstream.wire import Destination, Key, Request

LEASE = 10.0
"""Seconds for which one replica may fetch an answer alone."""
LOOK = 0.05
"""Seconds between looks for another replica's answer."""
FINAL = (RegistryUnauthenticated, RegistryForbidden, RegistryRejected)
"""Errors that an old answer must not hide: the account may not, or may no longer, see it."""


class Sender(Protocol):
    """Sends an unsigned request and returns the raw JSON document of its answer; a ``refresh`` may wait for others."""

    async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any: ...


@dataclass(frozen=True, slots=True)
class Freshness:
    """How fresh an answer is wanted: after asking again, within an age in seconds, or only if it is kept.

    Nobody waits for one that is asked for in the ``background``: its call lets others go first.
    """

    revalidate: bool = False
    max_age: float | None = None
    only_if_cached: bool = False
    background: bool = False

    def accepts(self, age: float) -> bool:
        return not self.revalidate and (self.max_age is None or age <= self.max_age)


ANY = Freshness()


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Seconds for which answers are fresh, by family of calls (``missing``: that there is no such object), for how
    much longer they are served while a refresh runs behind, and the share by which lifetimes vary."""

    fresh: Mapping[str, float]
    missing: float
    stale: float
    jitter: float

    def of(self, family: str, key: Key, entry: Entry) -> float:
        """The lifetime of an entry; it varies by key and time, so that entries do not run out together."""
        seconds = self.missing if entry.document is None else self.fresh[family]
        return seconds * (1 - self.jitter * crc32(f"{key}{entry.stored_at}".encode()) / 2**32)


@dataclass(slots=True)  # frozen ones cost twice as much to make, and each call makes one
class Answer:
    """A registry's answer: its raw JSON, its age in seconds, for how many more it is fresh (negative: it is stale),
    where it came from, and where it is kept, if it is; ``derived`` holds what was worked out from it, for all who share
    it."""

    document: Any
    age: float = 0.0
    fresh_for: float = 0.0
    state: State = State.MISS
    origin: Origin | None = None
    derived: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def stale(self) -> bool:
        return self.fresh_for < 0


@dataclass(frozen=True, slots=True)
class Asked:
    """A question to a registry: the request, its family of lifetimes, and when it was asked."""

    destination: Destination
    request: Request
    family: str
    at: float
    key: Key = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.destination.scope.key(self.request))

    def found(self, answer: Answer) -> Answer:
        """An answer that holds an object. Raises `NotFound` for one that says there is none."""
        if answer.document is None:
            raise NotFound(self.destination.registry)
        return answer


async def kept_promise(
    sender: Sender, destination: Destination, request: Request, facts: Facts, *, refresh: bool = False
) -> Any:
    """The document that a request is answered with; one that only looks like success is a `RegistryBadAnswer`."""
    try:
        document = await sender.send(destination, request, refresh=refresh)
        if not request.promise(document):
            raise RegistryBadAnswer(destination.registry)
    except NotFound:
        raise
    except RegistryError as error:
        facts.failed(destination.registry, request.call, error)
        raise
    return document


class Direct:
    """Answers of registries without a cache: every question is a call, but that those who ask the same at the same
    time share one."""

    def __init__(self, sender: Sender, facts: Facts = SILENT) -> None:
        self.sender, self.facts = sender, facts
        self._flights: Flights[Answer] = Flights()

    async def fetch(self, destination: Destination, request: Request, family: str, wanted: Freshness = ANY) -> Answer:
        """The answer of a call. Raises `RegistryError`."""
        if wanted.only_if_cached:
            raise RegistryNotCached(destination.registry)
        asked = destination.scope.digest, request.call, request.digest, wanted.background
        if asked in self._flights:
            answer = await self._flights.outcome(asked)
            self.facts.answered(destination.registry, request.call, State.SHARED)
            return Answer(answer.document, state=State.SHARED, derived=answer.derived)
        self._flights.start(asked, self._fly(destination, request, wanted.background))
        return await self._flights.outcome(asked)

    async def _fly(self, destination: Destination, request: Request, refresh: bool) -> Answer:
        return Answer(await kept_promise(self.sender, destination, request, self.facts, refresh=refresh))

    def at_hand(self, registry: str, key: Key, family: str, wanted: Freshness = ANY) -> Answer | None:
        """Nothing is."""
        return None


class Source:
    """Answers of registries, kept and shared; ``wait`` bounds waiting for another replica, in seconds."""

    def __init__(
        self,
        sender: Sender,
        cache: Cache,
        lifetimes: Lifetimes,
        wait: float,
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
        facts: Facts = SILENT,
    ) -> None:
        self.sender, self.cache, self.lifetimes, self.wait, self.sleep = sender, cache, lifetimes, wait, sleep
        self.facts = facts
        self._flights: Flights[Answer] = Flights()

    async def fetch(self, destination: Destination, request: Request, family: str, wanted: Freshness = ANY) -> Answer:
        """The answer of a call, as fresh as wanted. Raises `NotFound` and the other `RegistryError`s."""
        asked = Asked(destination, request, family, self.cache.now())
        counts = self.cache.counts
        entry = self.cache.at_hand(asked.key)
        if entry is None and self.cache.shared is not None:
            entry = await self.cache.get(asked.key)
        kept = None if entry is None else self._answer(asked.key, asked.family, entry)
        if kept is not None and wanted.accepts(kept.age):
            if not kept.stale or wanted.only_if_cached:
                counts["stale" if kept.stale else "hits"] += 1
                return self._tell(asked, kept, State.STALE if kept.stale else State.HIT)
            if -kept.fresh_for <= self.lifetimes.stale:
                counts["stale"] += 1
                self._fly(asked, refresh=True)
                return self._tell(asked, kept, State.STALE)
        if wanted.only_if_cached:
            raise RegistryNotCached(destination.registry)
        counts["misses"] += 1
        joined = asked.key.text in self._flights
        self._fly(asked, refresh=wanted.background)
        try:
            answer = await self._flights.outcome(asked.key.text)
        except RegistryError as error:
            if kept is None or isinstance(error, FINAL) or not wanted.accepts(kept.age):
                raise
            counts["stale_on_error"] += 1
            return self._tell(asked, kept, State.STALE_ON_ERROR)
        return self._tell(asked, answer, State.SHARED if joined else answer.state)

    def _tell(self, asked: Asked, answer: Answer, state: State) -> Answer:
        """The answer that was found, told of and with where it came from. Raises `NotFound` for one that has none."""
        self.facts.answered(asked.destination.registry, asked.request.call, state)
        return asked.found(answer if answer.state is state else replace(answer, state=state))

    def at_hand(self, registry: str, key: Key, family: str, wanted: Freshness = ANY) -> Answer | None:
        """The answer that `fetch` would give at once, because it is in memory and fresh enough."""
        entry = self.cache.at_hand(key)
        answer = None if entry is None or entry.document is None else self._answer(key, family, entry, State.HIT)
        if answer is None or answer.stale or not wanted.accepts(answer.age):
            return None
        self.cache.counts["hits"] += 1
        self.facts.answered(registry, key.call, State.HIT)
        return answer

    def _answer(self, key: Key, family: str, entry: Entry, state: State = State.MISS) -> Answer:
        age = max(0.0, self.cache.now() - entry.stored_at)
        fresh_for = self.lifetimes.of(family, key, entry) - age
        return Answer(entry.document, age, fresh_for, state, Origin(self.cache, str(key), entry), entry.derived)

    def _fly(self, asked: Asked, *, refresh: bool) -> None:
        """See to it that there is a flight for a key."""
        if asked.key.text in self._flights:
            self.cache.counts["shared"] += 1
            return
        self._flights.start(asked.key.text, self._land(asked, refresh))
        if refresh:
            self.facts.refreshed(asked.destination.registry, asked.request.call)

    async def _land(self, asked: Asked, refresh: bool) -> Answer:
        """Ask the registry, unless another replica is asking and its answer comes in time."""
        if refresh:
            CURRENT.set(None)
        shared = self.cache.shared
        if shared is None:
            return await self._send(asked, refresh)
        waited, name, started = 0.0, str(asked.key), perf_counter()
        while (token := await shared.lease(name, LEASE)) is None and waited < self.wait:
            await self.sleep(LOOK)
            waited += LOOK
        self.facts.leased(perf_counter() - started)
        try:
            entry = await self.cache.recall(asked.key)
            if entry is None or entry.stored_at < asked.at:
                return await self._send(asked, refresh)
            self.cache.counts["shared"] += 1
            return replace(self._answer(asked.key, asked.family, entry), state=State.SHARED)
        finally:
            if token is not None:
                await shared.release(name, token)

    async def _send(self, asked: Asked, refresh: bool) -> Answer:
        """Ask the registry, and keep what it answers unless that was purged meanwhile."""
        purged = self.cache.purged
        try:
            document = await kept_promise(self.sender, asked.destination, asked.request, self.facts, refresh=refresh)
        except NotFound:
            document = None
        if self.cache.purged != purged:
            return Answer(document)
        return self._answer(asked.key, asked.family, await self.cache.put(asked.key, document))
