"""Pollers of model versions, for subscriptions: one poller per version, shared by all of its subscribers.

A poller requests the version at intervals and detects changes. Each observation contains the answers of the registry,
so that subscribers resolve their own selections from them without further upstream calls.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from gateway.catalog.bounds import DEFAULT_BOUNDS, Bounds
from gateway.catalog.calls import Answers
from gateway.catalog.ids import Ref
from gateway.catalog.plan_execution import PlanExecution
from gateway.catalog.record_readers import Record, raise_failure
from gateway.catalog.registry import Registry
from gateway.catalog.selection import FieldRequest, Selection
from gateway.config.settings import SubscriptionSettings
from gateway.errors import RegistryError, TooManySubscriptions
from gateway.upstream.caching_client import Freshness
from gateway.upstream.messages import Scope
from gateway.upstream.resilient_client import SYSTEM_RANDOM

POLLED_FIELDS = Selection.of({FieldRequest("raw"): {}, FieldRequest("readiness"): {}, FieldRequest("approval"): {}})
"""The fields that a poller requests: the raw object, to detect changes, and the fields that can be final."""

FINAL_VALUES = {"readiness": ("READY", "FAILED"), "approval": ("APPROVED", "REJECTED")}
"""The values after which a field changes no more. Polling ends when each field with a value has one of them."""

FAILED = "FAILED"
"""The readiness after which nothing changes any more, whatever the approval is."""

MAX_FAILURES = 5
"""Consecutive failures after which polling ends with the error. The pause doubles with each."""

JITTER = 0.1
"""Fraction by which pauses vary at random, so that pollers do not send their calls at the same time."""

PollerKey = tuple[Scope, Ref]


@dataclass(frozen=True, slots=True)
class Observation:
    """The latest state of a version: its number, from 1, and the answers of the registry that describe it."""

    number: int
    answers: Answers


class VersionPoller:
    """Polls one version until it is final, or until the task is cancelled."""

    def __init__(self, registry: Registry, ref: Ref, pollers: "VersionPollers") -> None:
        self.registry, self.ref, self.pollers = registry, ref, pollers
        self._last: Observation | None = None
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(self._poll(), context=Context())  # belongs to no request
        self.task.add_done_callback(lambda done: self._changed.set())

    async def after(self, number: int) -> Observation | None:
        """Wait for a state with a higher number. Returns the latest one, None if polling ended without another.

        Raises `RegistryError` if polling ended with repeated failures.
        """
        while True:
            if self._last is not None and self._last.number > number:
                return self._last
            if self.task.done():
                return self.task.result()
            await self._changed.wait()

    async def _poll(self) -> None:
        """Poll until the version is final. Raises the last `RegistryError` after repeated failures."""
        state: Any = None
        failures = 0
        while True:
            pause = self.pollers.settings.interval
            wanted = Freshness(revalidate=True, background=self._last is not None)
            execution = PlanExecution({self.ref.registry: self.registry}, self.pollers.bounds, wanted)
            try:
                record = await execution.entity(self.ref, POLLED_FIELDS)
                raise_failure(record or {})
            except asyncio.CancelledError:
                execution.end()
                raise
            except RegistryError as error:
                failures += 1
                if failures == MAX_FAILURES or not error.retryable:
                    raise
                pause = max(pause * 2**failures, error.retry_after or 0.0)
            else:
                failures = 0
                content = self._content(record)
                self._observe(execution.answers, self._last is None or content != state)
                state = content
                if is_final(record):
                    return
            await self.pollers.sleep(pause * (1 + JITTER * (2 * self.pollers.random() - 1)))

    def _content(self, record: Record | None) -> Any:
        """The raw object without keys that change with every response; two states are equal if this is."""
        response_keys = self.registry.kind.response_keys
        return record and {key: value for key, value in record["raw"].items() if key not in response_keys}

    def _observe(self, answers: Answers, changed: bool) -> None:
        """Store the latest answers, also if the state is the same: new subscribers receive them."""
        number = 0 if self._last is None else self._last.number
        self._last = Observation(number + changed, answers)
        if changed:
            self._changed.set()
            self._changed = asyncio.Event()


class VersionPollers:
    """All pollers of a process, within the limits of the settings.

    ``sleep`` waits for a number of seconds, ``random`` returns a number from 0 to 1.
    """

    def __init__(
        self,
        settings: SubscriptionSettings,
        bounds: Bounds = DEFAULT_BOUNDS,
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
        random: Callable[[], float] = SYSTEM_RANDOM.random,
    ) -> None:
        self.settings, self.bounds, self.sleep, self.random = settings, bounds, sleep, random
        self._pollers: dict[PollerKey, VersionPoller] = {}
        self._subscribers: Counter[VersionPoller] = Counter()

    @property
    def size(self) -> int:
        """The number of subscribers."""
        return self._subscribers.total()

    @property
    def watched(self) -> int:
        """The number of versions that are polled."""
        return len(self._pollers)

    def watch(self, registry: Registry, ref: Ref) -> AsyncGenerator[Observation, None]:
        """Subscribe to a version: yields its state at the start and after each change, until it is final.

        A slow subscriber skips intermediate states. Close the generator to unsubscribe; without subscribers, polling
        stops. Raises `TooManySubscriptions` immediately, and `RegistryError` from the generator if the registry fails
        repeatedly.
        """
        key = registry.destination.scope, ref
        if self.size >= self.settings.total:
            raise TooManySubscriptions(f"{self.settings.total} subscriptions are active, which is the maximum.")
        if key not in self._pollers and self.watched >= self.settings.watched:
            raise TooManySubscriptions(f"{self.settings.watched} versions are watched, which is the maximum.")
        return self._observations(key, registry)

    async def _observations(self, key: PollerKey, registry: Registry) -> AsyncGenerator[Observation, None]:
        poller = self._pollers.get(key)
        if poller is None:
            poller = self._pollers[key] = VersionPoller(registry, key[1], self)
            poller.task.add_done_callback(lambda done: self._remove(key, poller))
        self._subscribers[poller] += 1
        try:
            number = 0
            while (observation := await poller.after(number)) is not None:
                yield observation
                number = observation.number
        finally:
            self._subscribers[poller] -= 1
            if not self._subscribers[poller]:
                del self._subscribers[poller]
                self._remove(key, poller)
                poller.task.cancel()
                await asyncio.gather(poller.task, return_exceptions=True)

    def _remove(self, key: PollerKey, poller: VersionPoller) -> None:
        """Remove a poller, so that the next subscriber starts a new one."""
        if self._pollers.get(key) is poller:
            del self._pollers[key]


def is_final(record: Record | None) -> bool:
    """Whether a version is final: deleted, failed, or ready and reviewed, as far as its registry reports reviews."""
    if record is None or record["readiness"] == FAILED:
        return True
    found = {name: record[name] for name in FINAL_VALUES if record[name] is not None}
    return bool(found) and all(value in FINAL_VALUES[name] for name, value in found.items())
