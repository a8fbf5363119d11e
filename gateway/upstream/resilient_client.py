"""Resilient client: sends a call until it succeeds, within a deadline and a retry budget.

Each attempt passes the circuit breaker, then the rate limiter, then the sender. With hedging, a slow attempt gets a
second one beside it. If the registry asked to wait, all calls wait that it concerns; a call that has no time to wait
fails at once.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import SystemRandom
from typing import Any, Final, NamedTuple, Protocol

from gateway.config.settings import BreakerSettings, HedgingSettings, QuotaSettings, RetrySettings
from gateway.errors import RegistryBusy, RegistryCircuitOpen, RegistryError, RegistryThrottled
from gateway.telemetry.events import NO_EVENTS, Events
from gateway.upstream.circuit_breaker import BreakerState, CircuitBreaker
from gateway.upstream.holds import Hold, OnHold
from gateway.upstream.messages import Destination, Request
from gateway.upstream.rate_limiter import Clock, RateLimiter
from gateway.upstream.retry import MIN_REMAINING, Retry

HEDGE_SAMPLES: Final = 20
"""The number of durations needed to detect a slow call."""

HEDGE_HISTORY: Final = 200
"""Number of last durations that are considered."""

HEDGE_PERCENTILE: Final = 0.95
"""Share of the durations that a slow call exceeds."""


SYSTEM_RANDOM = SystemRandom()


class Sender(Protocol):
    """Sends an unsigned request once, within the destination's timeout, and returns the JSON of the response."""

    async def send(self, destination: Destination, request: Request) -> Any: ...


class Limits(NamedTuple):
    """The limits that apply to one account's calls of one name.

    A registry that throttles holds the ``call``, one that is unavailable the whole ``service``.
    """

    retry: Retry
    breaker: CircuitBreaker
    rate_limiter: RateLimiter
    call: Hold
    service: Hold


class ResilientClient:
    """Sends requests within the limits of the registries.

    Circuit breaker and retry budget are per registry, rate limiter and holds per account. ``random`` returns numbers
    from 0 to 1.
    """

    def __init__(
        self,
        sender: Sender,
        retry: RetrySettings,
        quota: QuotaSettings,
        breaker: BreakerSettings,
        hedging: HedgingSettings,
        clock: Clock | None = None,
        random: Callable[[], float] = SYSTEM_RANDOM.random,
        events: Events = NO_EVENTS,
    ) -> None:
        self.sender, self.clock, self.events = sender, clock or Clock(), events
        self.retry, self.quota, self.breaker, self.hedging = retry, quota, breaker, hedging
        self.random = random
        self._retries: dict[str, Retry] = {}
        self._breakers: dict[str, CircuitBreaker] = {}
        self._rate_limiters: dict[tuple[str, str], RateLimiter] = {}
        self._holds: defaultdict[tuple[str, str], Hold] = defaultdict(Hold)
        self._limits: dict[tuple[str, str, str], Limits] = {}
        self._durations: defaultdict[tuple[str, str], deque[float]] = defaultdict(lambda: deque(maxlen=HEDGE_HISTORY))

    def state(self, registry: str) -> BreakerState:
        """Return the state of a registry's circuit breaker."""
        return self._breaker(registry).state

    async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any:
        """Send a request and return the JSON object of the response. A ``refresh`` yields to other requests.

        Raises the `RegistryError` of the last attempt. Without an attempt, that is `RegistryCircuitOpen`,
        `RegistryBusy`, or the error with which the registry asked to wait.
        """
        now = self.clock.now()
        ends = now + self.retry.deadline
        limits = self._limits_of(destination, request)
        retry, breaker = limits.retry, limits.breaker
        retry.earn()
        attempt = self._attempt_with_hedge if self.hedging.enabled else self._attempt
        attempts, failure = 0, None
        while True:
            try:
                return await attempt(destination, request, limits, refresh, now, ends)
            except OnHold as hold:
                if hold.left + MIN_REMAINING > ends - self.clock.now():
                    raise failure or hold.error from None
                await self.clock.sleep(hold.left)
                now = self.clock.now()
                continue
            except (RegistryCircuitOpen, RegistryBusy) as refusal:
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
            self.events.retried(destination.registry, request.call)

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
        """Make one attempt. ``sent`` is resolved with the time when the request is sent."""
        registry, breaker, rate_limiter = destination.registry, limits.breaker, limits.rate_limiter
        breaker.check()
        limits.call.check(registry, now)
        limits.service.check(registry, now)
        queued = now
        if not rate_limiter.try_acquire(now, refresh=refresh):
            await rate_limiter.acquire(registry, refresh=refresh, max_wait=ends - queued)
            now = self.clock.now()
        rate_can_fall = not rate_limiter.is_at_minimum
        try:
            limits.call.check(registry, now)
            limits.service.check(registry, now)
            probe = breaker.begin()
        except (OnHold, RegistryCircuitOpen) as refusal:
            rate_limiter.release(refusal)
            raise
        try:
            self.events.waited(registry, now - queued)
            if sent is not None:
                sent.set_result(now)
            if ends - now < destination.timeout:
                destination = replace(destination, timeout=ends - now)
            document = await self.sender.send(destination, request)
        except BaseException as error:
            breaker.end(probe, error, rate_can_fall=rate_can_fall)
            rate_limiter.release(error)
            if isinstance(error, RegistryError):
                hold = limits.call if isinstance(error, RegistryThrottled) else limits.service
                hold.begin(error, self.clock.now())
            raise
        breaker.end(probe)
        rate_limiter.release(None)
        return document

    async def _attempt_with_hedge(
        self, destination: Destination, request: Request, limits: Limits, refresh: bool, now: float, ends: float
    ) -> Any:
        """Make one attempt, and a second one in parallel if the first is slow. The first success is returned."""
        durations = self._durations[destination.registry, request.call]
        sent: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        attempt = partial(self._attempt, destination, request, limits, refresh)
        first = asyncio.ensure_future(attempt(now, ends, sent))
        tasks = [first]
        try:
            if len(durations) >= HEDGE_SAMPLES:
                slow = sorted(durations)[int(HEDGE_PERCENTILE * len(durations))]
                timer = asyncio.ensure_future(self._sleep_after(sent, slow))
                tasks.append(timer)
                await asyncio.wait((first, timer), return_when=asyncio.FIRST_COMPLETED)
                if not first.done() and limits.retry.spend():
                    second = asyncio.ensure_future(attempt(self.clock.now(), ends))
                    tasks.append(second)
                    self.events.hedged(destination.registry, request.call)
                    document = await first_success(first, second)
                    durations.append(self.clock.now() - sent.result())
                    return document
            document = await first
            durations.append(self.clock.now() - sent.result())
            return document
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _sleep_after(self, sent: "asyncio.Future[float]", seconds: float) -> None:
        await sent
        await self.clock.sleep(seconds)

    def _limits_of(self, destination: Destination, request: Request) -> Limits:
        key = destination.registry, destination.scope.digest, request.call
        limits = self._limits.get(key)
        if limits is None:
            registry = destination.registry
            account = destination.scope.digest
            limits = self._limits[key] = Limits(
                self._retry(registry),
                self._breaker(registry),
                self._rate_limiter(destination, request),
                self._holds[account, f"call {request.call}"],
                self._holds[account, f"service {request.service}"],
            )
        return limits

    def _retry(self, registry: str) -> Retry:
        retry = self._retries.get(registry)
        if retry is None:
            retry = self._retries[registry] = Retry(self.retry, self.random)
        return retry

    def _breaker(self, registry: str) -> CircuitBreaker:
        breaker = self._breakers.get(registry)
        if breaker is None:
            breaker = self._breakers[registry] = CircuitBreaker(registry, self.breaker, self.clock.now, self.events)
        return breaker

    def _rate_limiter(self, destination: Destination, request: Request) -> RateLimiter:
        key = destination.scope.digest, request.call
        rate_limiter = self._rate_limiters.get(key)
        if rate_limiter is None:
            quota = destination.quota_settings.over(self.quota.over(destination.quota))
            rate_limiter = self._rate_limiters[key] = RateLimiter(quota, self.clock)
        return rate_limiter


async def first_success(first: "asyncio.Future[Any]", second: "asyncio.Future[Any]") -> Any:
    """Return the result of the one that succeeds first. Raises the error of the first if both fail."""
    done, _ = await asyncio.wait((first, second), return_when=asyncio.FIRST_COMPLETED)
    winner = first if first in done else second
    if winner.exception() is not None:
        other = second if winner is first else first
        await asyncio.wait((other,))
        winner = other if other.exception() is None else first
    return winner.result()
