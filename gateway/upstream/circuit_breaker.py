"""A circuit breaker: a registry that keeps failing is left alone, then asked one call at a time until it is well."""

import logging
from collections import deque
from collections.abc import Callable
from enum import StrEnum

from gateway.config.settings import BreakerSettings
from gateway.errors import (
    RegistryError,
    RegistryResting,
    RegistryThrottled,
    RegistryTimeout,
    RegistryUnavailable,
    RegistryUnreachable,
)
from gateway.telemetry.events import NO_EVENTS, Events

logger = logging.getLogger("gateway.upstream")

FAILURES = (RegistryTimeout, RegistryUnreachable, RegistryUnavailable, RegistryThrottled)
"""Errors that speak against the registry; any other is an answer."""

RECENT = 20
"""Calls that are looked back on."""

SHARE = 0.5
"""Part of them that must have failed."""

LONGEST = 60.0
"""Seconds that a registry is left alone at most."""

PROBE = 1.0
"""Seconds that callers are told to wait while a probe is under way."""


class BreakerState(StrEnum):
    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class Breaker:
    """The breaker of one registry; ``now`` gives monotonic seconds."""

    def __init__(
        self, registry: str, settings: BreakerSettings, now: Callable[[], float], facts: Events = NO_EVENTS
    ) -> None:
        self.registry, self.settings, self.now, self.facts = registry, settings, now, facts
        self._recent: deque[tuple[float, bool]] = deque(maxlen=RECENT)
        self._failures = 0
        self._rest = settings.open_for
        self._until: float | None = None
        self._probing = False

    @property
    def state(self) -> BreakerState:
        """CLOSED: calls pass; OPEN: none does; HALF_OPEN: one at a time does."""
        if self._until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self.now() < self._until else BreakerState.HALF_OPEN

    def check(self) -> None:
        """Raise `RegistryResting` if a call would not pass now."""
        if self._until is not None and (self._probing or self.state is BreakerState.OPEN):
            raise RegistryResting(self.registry, retry_after=max(PROBE, round(self._until - self.now(), 3)))

    def begin(self) -> bool:
        """Let a call pass; whether it is a probe. Raises `RegistryResting` instead."""
        if self._until is None:
            return False
        self.check()
        self._probing = True
        return True

    def end(self, probe: bool, error: BaseException | None = None, *, slowing: bool = False) -> None:
        """Note how a call ended; one that is cancelled says nothing, nor does a throttle while the caller is still
        ``slowing`` down."""
        if error is None:
            failed: bool | None = False
        elif not isinstance(error, RegistryError) or (slowing and isinstance(error, RegistryThrottled)):
            failed = None
        else:
            failed = isinstance(error, FAILURES)
        if probe:
            self._probing = False
            self._judge(failed)
        elif failed is not None and self._until is None:
            self._count(failed)

    def _judge(self, failed: bool | None) -> None:
        """Draw the conclusion from a probe."""
        if failed:
            self._rest = min(LONGEST, 2 * self._rest)
            self._open()
        elif failed is not None:
            self._rest, self._until = self.settings.open_for, None
            self._recent.clear()
            self._failures = 0
            logger.info("%s answers again.", self.registry)

    def _count(self, failed: bool) -> None:
        """Remember how a call ended, and open when too many of the recent ones failed."""
        now, recent = self.now(), self._recent
        if len(recent) == RECENT:
            self._failures -= recent[0][1]
        recent.append((now, failed))
        self._failures += failed
        if self._failures >= self.settings.failures:
            self._look_back(now)

    def _look_back(self, now: float) -> None:
        recent = [failed for at, failed in self._recent if at > now - self.settings.window]
        if sum(recent) >= max(self.settings.failures, SHARE * len(recent)):
            self._open()

    def _open(self) -> None:
        self._until = self.now() + self._rest
        self.facts.opened(self.registry)
        logger.warning("%s keeps failing: it is left alone for %.0f s.", self.registry, self._rest)
