"""Versions under watch: each is looked at by one poller, whoever and however many watch it.

The poller only finds out *that* a version changed. Its answers are handed on with the news, so that all who watch can
tell what each of them asked for without asking the registry again.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from gateway.catalog.bounds import DEFAULT_BOUNDS, Bounds
from gateway.catalog.fetch import Answers
from gateway.catalog.ids import Ref
from gateway.catalog.lists import raise_failure
from gateway.catalog.operation import Operation
from gateway.catalog.record_readers import Record
from gateway.catalog.registry import Registry
from gateway.catalog.selection import FieldRequest, Selection
from gateway.config.settings import SubscriptionSettings
from gateway.errors import RegistryError, TooManySubscriptions
from gateway.upstream.caching_client import Freshness
from gateway.upstream.messages import Scope
from gateway.upstream.resilient_client import SYSTEM_RANDOM

LOOKED_AT = Selection.of({FieldRequest("raw"): {}, FieldRequest("readiness"): {}, FieldRequest("approval"): {}})
"""What is looked at: all that the registry says of a version, and the facts that end a watch."""

FINAL = {"readiness": ("READY", "FAILED"), "approval": ("APPROVED", "REJECTED")}

FAILURES = 5
"""Looks that may fail one after the other; the pause doubles with each."""

JITTER = 0.1
"""Share by which pauses vary, so that pollers do not all look at the same moment."""

Key = tuple[Scope, Ref]


@dataclass(frozen=True, slots=True)
class Look:
    """What a poller saw last: the number of the state, from 1, and the answers that tell it."""

    number: int
    answers: Answers


class VersionPoller:
    """The poller of one version: looks until the version is final, or until it is cancelled."""

    def __init__(self, registry: Registry, ref: Ref, watches: "VersionPollers") -> None:
        self.registry, self.ref, self.watches = registry, ref, watches
        self._last: Look | None = None
        self._news = asyncio.Event()
        self.poller = asyncio.create_task(self._poll(), context=Context())  # it is part of no request
        self.poller.add_done_callback(lambda done: self._news.set())

    async def after(self, seen: int) -> Look | None:
        """The newest look, as soon as it shows a later state; None when no later one will come.

        Raises `RegistryError` when the registry kept failing.
        """
        while True:
            if self._last is not None and self._last.number > seen:
                return self._last
            if self.poller.done():
                return self.poller.result()
            await self._news.wait()

    async def _poll(self) -> None:
        """Look until nothing more is to be expected. Raises the `RegistryError` that ends the patience."""
        state: Any = None
        failures = 0
        while True:
            pause = self.watches.settings.interval
            wanted = Freshness(revalidate=True, background=self._last is not None)
            operation = Operation({self.ref.registry: self.registry}, self.watches.bounds, wanted)
            try:
                record = await operation.entity(self.ref, LOOKED_AT)
                raise_failure(record or {})
            except RegistryError as error:
                failures += 1
                if failures == FAILURES or not error.retryable:
                    raise
                pause = max(pause * 2**failures, error.retry_after or 0.0)
            else:
                failures = 0
                content = self._content(record)
                self._see(operation.answers, self._last is None or content != state)
                state = content
                if is_final(record):
                    return
            await self.watches.sleep(pause * (1 + JITTER * (2 * self.watches.random() - 1)))

    def _content(self, record: Record | None) -> Any:
        """What is compared of a look: all that the registry says of the version itself."""
        envelope = self.registry.kind.envelope
        return record and {key: value for key, value in record["raw"].items() if key not in envelope}

    def _see(self, answers: Answers, changed: bool) -> None:
        """Keep a look; its answers are those of this moment, also for those who come later to the same state."""
        number = 0 if self._last is None else self._last.number
        self._last = Look(number + changed, answers)
        if changed:
            self._news.set()
            self._news = asyncio.Event()


class VersionPollers:
    """All watches of a process, within bounds. ``sleep`` takes seconds, ``random`` gives numbers from 0 to 1."""

    def __init__(
        self,
        settings: SubscriptionSettings,
        bounds: Bounds = DEFAULT_BOUNDS,
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
        random: Callable[[], float] = SYSTEM_RANDOM.random,
    ) -> None:
        self.settings, self.bounds, self.sleep, self.random = settings, bounds, sleep, random
        self._watches: dict[Key, VersionPoller] = {}
        self._watchers: Counter[VersionPoller] = Counter()

    @property
    def size(self) -> int:
        """How many watch."""
        return self._watchers.total()

    @property
    def watched(self) -> int:
        """How many versions are looked at."""
        return len(self._watches)

    def watch(self, registry: Registry, ref: Ref) -> AsyncGenerator[Look, None]:
        """The state of a version now, and after each change until it is final; who is slow misses those in between.

        Closing it ends the watch. Raises `TooManySubscriptions` at once, and later the `RegistryError` of a registry
        that keeps failing.
        """
        key = registry.destination.scope, ref
        if self.size >= self.settings.total:
            raise TooManySubscriptions(f"{self.settings.total} subscriptions run already; no more may.")
        if key not in self._watches and self.watched >= self.settings.watched:
            raise TooManySubscriptions(f"{self.settings.watched} versions are watched already; no more may be.")
        return self._looks(key, registry)

    async def _looks(self, key: Key, registry: Registry) -> AsyncGenerator[Look, None]:
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = VersionPoller(registry, key[1], self)
            watch.poller.add_done_callback(lambda done: self._forget(key, watch))
        self._watchers[watch] += 1
        try:
            seen = 0
            while (look := await watch.after(seen)) is not None:
                yield look
                seen = look.number
        finally:
            self._watchers[watch] -= 1
            if not self._watchers[watch]:
                del self._watchers[watch]
                self._forget(key, watch)
                watch.poller.cancel()
                await asyncio.gather(watch.poller, return_exceptions=True)

    def _forget(self, key: Key, watch: VersionPoller) -> None:
        """Let those who come from now on begin a watch of their own."""
        if self._watches.get(key) is watch:
            del self._watches[key]


def is_final(record: Record | None) -> bool:
    """Whether nothing more is to be expected of a version: it is ready, failed, approved, rejected, or gone."""
    return record is None or any(record[name] in words for name, words in FINAL.items())
