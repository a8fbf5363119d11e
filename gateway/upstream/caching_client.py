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

from gateway.errors import NotFound, RegistryBadAnswer, RegistryError, RegistryNotCached
from gateway.telemetry.events import CURRENT, NO_EVENTS, Events, State
from gateway.upstream.asking import Asking, Seeking
from gateway.upstream.cache import Cache, Entry, Origin
from gateway.upstream.messages import Destination, Key, Request
from gateway.upstream.single_flight import SingleFlight

LEASE = 10.0
"""Seconds for which one replica may fetch an answer alone."""
LOOK = 0.05
"""Seconds between looks for another replica's answer."""


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
        return seconds * (1 - self.jitter * crc32(f"{key.text}{entry.stored_at}".encode()) / 2**32)


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


async def validated_answer(
    sender: Sender, destination: Destination, request: Request, facts: Events, *, refresh: bool = False
) -> Answer:
    """What a request is answered with; a document that only looks like success is a `RegistryBadAnswer`."""
    try:
        document = await sender.send(destination, request, refresh=refresh)
        if not request.promise(document):
            raise RegistryBadAnswer(destination.registry)
    except NotFound:
        raise
    except RegistryError as error:
        facts.failed(destination.registry, request.call, error)
        raise
    return Answer(document)


class UncachedClient:
    """Answers of registries without a cache: every question is a call, but that those who ask the same at the same
    time share one."""

    def __init__(self, sender: Sender, facts: Events = NO_EVENTS) -> None:
        self.sender, self.facts = sender, facts
        self._flights: SingleFlight[Answer] = SingleFlight()

    def fetch(
        self, destination: Destination, request: Request, family: str, wanted: Freshness = ANY
    ) -> asyncio.Future[Answer]:
        """The answer of a call. Fails with `RegistryError`."""
        asking = Asking(destination.registry, request.call, self.facts)
        if wanted.only_if_cached:
            asking.fail(RegistryNotCached(destination.registry))
            return asking.sent
        asked = destination.scope.digest, request.call, request.digest, wanted.background
        asking.joined = self._flights.join(asked, asking)
        if not asking.joined:
            call = validated_answer(self.sender, destination, request, self.facts, refresh=wanted.background)
            self._flights.start(asked, call, asking)
        return asking.sent

    def cached(self, registry: str, key: Key, family: str, wanted: Freshness = ANY) -> Answer | None:
        """Nothing is."""
        return None

    def close(self) -> None:
        """Give up all calls that are under way."""
        self._flights.close()


class CachingClient:
    """Answers of registries, kept and shared; ``wait`` bounds waiting for another replica, in seconds."""

    def __init__(
        self,
        sender: Sender,
        cache: Cache,
        lifetimes: Lifetimes,
        wait: float,
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
        facts: Events = NO_EVENTS,
    ) -> None:
        self.sender, self.cache, self.lifetimes, self.wait, self.sleep = sender, cache, lifetimes, wait, sleep
        self.facts = facts
        self._flights: SingleFlight[Answer] = SingleFlight()
        self._looks: set[asyncio.Task[None]] = set()

    def fetch(
        self, destination: Destination, request: Request, family: str, wanted: Freshness = ANY
    ) -> asyncio.Future[Answer]:
        """The answer of a call, as fresh as wanted. Fails with `NotFound` and the other `RegistryError`s."""
        seeking = Seeking(destination, request, family, wanted, self.cache, self.facts)
        entry = self.cache.at_hand(seeking.key)
        if entry is None and self.cache.shared is not None:
            look = asyncio.get_running_loop().create_task(self._look_further(seeking))
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)
        else:
            self._go_by(seeking, entry)
        return seeking.sent

    async def _look_further(self, seeking: Seeking) -> None:
        """Look in the cache that replicas share."""
        try:
            self._go_by(seeking, await self.cache.get(seeking.key))
        except Exception as error:
            seeking.end(error)
        except asyncio.CancelledError:
            seeking.give_up()
            raise

    def _go_by(self, seeking: Seeking, entry: Entry | None) -> None:
        """Answer with what is kept, if it is fresh enough; else ask."""
        counts, wanted = self.cache.counts, seeking.wanted
        kept = None if entry is None else self._answer(seeking.key, seeking.family, entry)
        if kept is not None and wanted.accepts(kept.age):
            if not kept.stale or wanted.only_if_cached:
                counts["stale" if kept.stale else "hits"] += 1
                seeking.tell(kept, State.STALE if kept.stale else State.HIT)
                return
            if -kept.fresh_for <= self.lifetimes.stale:
                counts["stale"] += 1
                self._fly(seeking, refresh=True)
                seeking.tell(kept, State.STALE)
                return
        if wanted.only_if_cached:
            seeking.end(RegistryNotCached(seeking.registry))
            return
        counts["misses"] += 1
        seeking.kept = kept
        self._fly(seeking, seeking, refresh=wanted.background)

    def cached(self, registry: str, key: Key, family: str, wanted: Freshness = ANY) -> Answer | None:
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
        return Answer(entry.document, age, fresh_for, state, Origin(self.cache, key.text, entry), entry.derived)

    def _fly(self, seeking: Seeking, *waiters: Seeking, refresh: bool) -> None:
        """See to it that there is a flight for a key, for which these wait."""
        asked = seeking.key.text
        if self._flights.join(asked, *waiters):
            self.cache.counts["shared"] += 1
            seeking.joined = True
            return
        if refresh:
            self.facts.refreshed(seeking.registry, seeking.call)
        self._flights.start(asked, self._land(seeking, refresh), *waiters)

    async def _land(self, seeking: Seeking, refresh: bool) -> Answer:
        """Ask the registry, unless another replica is asking and its answer comes in time."""
        if refresh:
            CURRENT.set(None)
        shared = self.cache.shared
        if shared is None:
            return await self._send(seeking, refresh)
        await asyncio.sleep(0)  # what follows is a task's
        waited, name, started = 0.0, str(seeking.key), perf_counter()
        while (token := await shared.lease(name, LEASE)) is None and waited < self.wait:
            await self.sleep(LOOK)
            waited += LOOK
        self.facts.leased(perf_counter() - started)
        try:
            entry = await self.cache.recall(seeking.key)
            if entry is None or entry.stored_at < seeking.at:
                return await self._send(seeking, refresh)
            self.cache.counts["shared"] += 1
            return replace(self._answer(seeking.key, seeking.family, entry), state=State.SHARED)
        finally:
            if token is not None:
                await shared.release(name, token)

    async def _send(self, seeking: Seeking, refresh: bool) -> Answer:
        """Ask the registry, and keep what it answers unless that was purged meanwhile."""
        purged = self.cache.purged
        try:
            answer = await validated_answer(
                self.sender, seeking.destination, seeking.request, self.facts, refresh=refresh
            )
        except NotFound:
            answer = Answer(None)
        if self.cache.purged != purged:
            return answer
        return self._answer(seeking.key, seeking.family, await self.cache.put(seeking.key, answer.document))

    def close(self) -> None:
        """Give up all calls that are under way, and what nobody waits for."""
        self._flights.close()
        for look in self._looks:
            look.cancel()
