"""The guard before a registry: every call has a deadline, passes the breaker, waits for its quota, and is retried."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import SystemRandom
from typing import Any, NamedTuple, Protocol

from gateway.config.settings import BreakerSettings, HedgingSettings, QuotaSettings, RetrySettings
from gateway.errors import RegistryBusy, RegistryError, RegistryResting
from gateway.telemetry.events import NO_EVENTS, Events
from gateway.upstream.circuit_breaker import Breaker, BreakerState
from gateway.upstream.messages import Destination, Request
from gateway.upstream.rate_limiter import Clock, RateLimiter
from gateway.upstream.retry import Retry

SAMPLES = 20
"""Answers after which it is known how long a call takes."""

REMEMBERED = 200
"""Answers whose times are remembered."""

SLOW = 0.95
"""Share of its answers than which a slow call is slower."""


CHANCE = SystemRandom()


class Sender(Protocol):
    """Sends an unsigned request once, within the destination's timeout, and returns the JSON of its answer."""

    async def send(self, destination: Destination, request: Request) -> Any: ...


class Limits(NamedTuple):
    """What bounds the calls of one name to one account of a registry."""

    retry: Retry
    breaker: Breaker
    governor: RateLimiter


class ResilientClient:
    """Sends requests as a registry can bear it.

    Breaker and retry budget are per registry, the quota per account and call. ``random`` gives numbers from 0 to 1.
    """

    def __init__(
        self,
        sender: Sender,
        retry: RetrySettings,
        quota: QuotaSettings,
        breaker: BreakerSettings,
        hedging: HedgingSettings,
        clock: Clock | None = None,
        random: Callable[[], float] = CHANCE.random,
        facts: Events = NO_EVENTS,
    ) -> None:
        self.sender, self.clock, self.facts = sender, clock or Clock(), facts
        self.retry, self.quota, self.breaker, self.hedging = retry, quota, breaker, hedging
        self.random = random
        self._retries: dict[str, Retry] = {}
        self._breakers: dict[str, Breaker] = {}
        self._governors: dict[tuple[str, str], RateLimiter] = {}
        self._limits: dict[tuple[str, str, str], Limits] = {}
        self._times: defaultdict[tuple[str, str], deque[float]] = defaultdict(lambda: deque(maxlen=REMEMBERED))

    def state(self, registry: str) -> BreakerState:
        """The state of a registry's breaker."""
        return self._breaker(registry).state

    async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any:
        """The raw JSON object that a registry answers; a ``refresh`` waits for those who need theirs now.

        Raises the `RegistryError` of the last attempt, `RegistryResting` or `RegistryBusy` when none was made.
        """
        now = self.clock.now()
        ends = now + self.retry.deadline
        limits = self._limits_of(destination, request)
        retry, breaker, _ = limits
        retry.earn()
        attempt = self._hedged if self.hedging.enabled else self._attempt
        attempts, failure = 0, None
        while True:
            try:
                return await attempt(destination, request, limits, refresh, now, ends)
            except (RegistryResting, RegistryBusy) as refusal:
                raise failure or refusal from None
            except RegistryError as error:
                attempts, failure = attempts + 1, error
                if breaker.state is BreakerState.OPEN:
                    raise
                pause = retry.pause(error, attempts, ends - self.clock.now())
                if pause is None:
                    raise
            await self.clock.sleep(pause)
            now = self.clock.now()
            self.facts.retried(destination.registry, request.call)

    async def _attempt(
        self,
        destination: Destination,
        request: Request,
        limits: Limits,
        refresh: bool,
        now: float,
        ends: float,
        sent: "asyncio.Future[float] | None" = None,
    ) -> Any:
        """One request on the wire; ``sent`` is told when it goes out."""
        registry = destination.registry
        _, breaker, governor = limits
        breaker.check()
        queued = now
        if not governor.enter(now, refresh=refresh):
            await governor.wait(registry, refresh=refresh, patience=ends - queued)
            now = self.clock.now()
        slowing = not governor.lowest
        try:
            probe = breaker.begin()
        except RegistryResting as error:
            governor.leave(error)
            raise
        try:
            self.facts.waited(registry, now - queued)
            if sent is not None:
                sent.set_result(now)
            if ends - now < destination.timeout:
                destination = replace(destination, timeout=ends - now)
            document = await self.sender.send(destination, request)
        except BaseException as error:
            breaker.end(probe, error, slowing=slowing)
            governor.leave(error)
            raise
        breaker.end(probe)
        governor.leave(None)
        return document

    async def _hedged(
        self, destination: Destination, request: Request, limits: Limits, refresh: bool, now: float, ends: float
    ) -> Any:
        """One attempt, and a second one beside it when the first is slow; the first answer is taken."""
        times = self._times[destination.registry, request.call]
        sent: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        attempt = partial(self._attempt, destination, request, limits, refresh)
        first = asyncio.ensure_future(attempt(now, ends, sent))
        tasks = [first]
        try:
            if len(times) >= SAMPLES:
                slow = sorted(times)[int(SLOW * len(times))]
                timer = asyncio.ensure_future(self._pass(sent, slow))
                tasks.append(timer)
                await asyncio.wait((first, timer), return_when=asyncio.FIRST_COMPLETED)
                if not first.done() and limits.retry.spend():
                    second = asyncio.ensure_future(attempt(self.clock.now(), ends))
                    tasks.append(second)
                    self.facts.hedged(destination.registry, request.call)
                    document = await either(first, second)
                    times.append(self.clock.now() - sent.result())
                    return document
            document = await first
            times.append(self.clock.now() - sent.result())
            return document
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pass(self, sent: "asyncio.Future[float]", seconds: float) -> None:
        await sent
        await self.clock.sleep(seconds)

    def _limits_of(self, destination: Destination, request: Request) -> Limits:
        key = destination.registry, destination.scope.digest, request.call
        found = self._limits.get(key)
        if found is None:
            registry = destination.registry
            retry, breaker = self._retry(registry), self._breaker(registry)
            found = self._limits[key] = Limits(retry, breaker, self._governor(destination, request))
        return found

    def _retry(self, registry: str) -> Retry:
        found = self._retries.get(registry)
        if found is None:
            found = self._retries[registry] = Retry(self.retry, self.random)
        return found

    def _breaker(self, registry: str) -> Breaker:
        found = self._breakers.get(registry)
        if found is None:
            found = self._breakers[registry] = Breaker(registry, self.breaker, self.clock.now, self.facts)
        return found

    def _governor(self, destination: Destination, request: Request) -> RateLimiter:
        key = destination.scope.digest, request.call
        found = self._governors.get(key)
        if found is None:
            found = self._governors[key] = RateLimiter(self.quota, self.clock)
        return found


async def either(first: "asyncio.Future[Any]", second: "asyncio.Future[Any]") -> Any:
    """The answer of whichever has one first. Raises the error of the first when neither has."""
    done, _ = await asyncio.wait((first, second), return_when=asyncio.FIRST_COMPLETED)
    winner = first if first in done else second
    if winner.exception() is not None:
        other = second if winner is first else first
        await asyncio.wait((other,))
        winner = other if other.exception() is None else first
    return winner.result()
