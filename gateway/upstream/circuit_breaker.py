"""Circuit breaker: stops calls to a registry that keeps failing, then probes it with one call at a time."""

import logging
from collections import deque
from collections.abc import Callable
from enum import StrEnum

from gateway.config.settings import BreakerSettings
from gateway.errors import (
    RegistryCircuitOpen,
    RegistryError,
    RegistryThrottled,
    RegistryTimeout,
    RegistryUnavailable,
    RegistryUnreachable,
)
from gateway.telemetry.events import NO_EVENTS, Events

logger = logging.getLogger("gateway.upstream")

FAILURES = (RegistryTimeout, RegistryUnreachable, RegistryUnavailable, RegistryThrottled)
"""Errors that count as failures of the registry. Any other error is a valid answer."""

WINDOW = 20
"""Number of last calls that are evaluated."""

SHARE = 0.5
"""Share of them that must have failed."""

MAX_OPEN_SECONDS = 60.0
"""Longest time in seconds for which the breaker stays open."""

PROBE = 1.0
"""Seconds after which callers may retry while a probe is running."""


class BreakerState(StrEnum):
    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class CircuitBreaker:
    """Circuit breaker of one registry; ``now`` returns monotonic seconds."""

    def __init__(
        self, registry: str, settings: BreakerSettings, now: Callable[[], float], events: Events = NO_EVENTS
    ) -> None:
        self.registry, self.settings, self.now, self.events = registry, settings, now, events
        self._recent: deque[tuple[float, bool]] = deque(maxlen=WINDOW)
        self._failures = 0
        self._open_for = settings.open_for
        self._open_until: float | None = None
        self._probing = False

    @property
    def state(self) -> BreakerState:
        """CLOSED: calls pass. OPEN: no call passes. HALF_OPEN: one call at a time passes."""
        if self._open_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self.now() < self._open_until else BreakerState.HALF_OPEN

    def check(self) -> None:
        """Raise `RegistryCircuitOpen` if a call would not pass now."""
        if self._open_until is not None and (self._probing or self.state is BreakerState.OPEN):
            raise RegistryCircuitOpen(self.registry, retry_after=max(PROBE, round(self._open_until - self.now(), 3)))

    def begin(self) -> bool:
        """Let a call pass; return whether it is a probe. Raises `RegistryCircuitOpen` if it may not pass."""
        if self._open_until is None:
            return False
        self.check()
        self._probing = True
        return True

    def end(self, probe: bool, error: BaseException | None = None, *, rate_can_fall: bool = False) -> None:
        """Record the outcome of a call.

        A cancelled call does not count, nor does a throttled one if the ``rate_can_fall``: fewer calls may then help.
        """
        if error is None:
            failed: bool | None = False
        elif not isinstance(error, RegistryError) or (rate_can_fall and isinstance(error, RegistryThrottled)):
            failed = None
        else:
            failed = isinstance(error, FAILURES)
        if probe:
            self._probing = False
            self._end_probe(failed)
        elif failed is not None and self._open_until is None:
            self._count(failed)

    def _end_probe(self, failed: bool | None) -> None:
        """Open or close the breaker after a probe."""
        if failed:
            self._open_for = min(MAX_OPEN_SECONDS, 2 * self._open_for)
            self._open()
        elif failed is not None:
            self._open_for, self._open_until = self.settings.open_for, None
            self._recent.clear()
            self._failures = 0
            logger.info("%s: the circuit breaker closed.", self.registry)

    def _count(self, failed: bool) -> None:
        """Record an outcome, and open the breaker if too many of the last calls failed."""
        now, recent = self.now(), self._recent
        if len(recent) == WINDOW:
            self._failures -= recent[0][1]
        recent.append((now, failed))
        self._failures += failed
        if self._failures >= self.settings.failures:
            self._open_if_failing(now)

    def _open_if_failing(self, now: float) -> None:
        recent = [failed for at, failed in self._recent if at > now - self.settings.window]
        if sum(recent) >= max(self.settings.failures, SHARE * len(recent)):
            self._open()

    def _open(self) -> None:
        self._open_until = self.now() + self._open_for
        self.events.opened(self.registry)
        logger.warning("%s keeps failing: the circuit breaker opened for %.0f s.", self.registry, self._open_for)
