"""Retries: which failures are retried, after what pause, and within which budget."""

from collections.abc import Callable

from gateway.config.settings import RetrySettings
from gateway.errors import (
    RegistryError,
    RegistryThrottled,
    RegistryTimeout,
    RegistryUnavailable,
    RegistryUnreachable,
)

RETRYABLE = {RegistryTimeout, RegistryUnreachable, RegistryUnavailable, RegistryThrottled}
"""Errors that are retried. Their subclasses are not: an open circuit breaker stays open."""

RESERVE = 10.0
"""Retries allowed in addition to the configured share of all calls."""

MIN_REMAINING = 0.1
"""Shortest time left before the deadline that is worth another attempt."""


class Retry:
    """Retry policy and budget of one registry; ``random`` returns numbers from 0 to 1."""

    def __init__(self, settings: RetrySettings, random: Callable[[], float]) -> None:
        self.settings, self.random = settings, random
        self._left = RESERVE

    def earn(self) -> None:
        """Add the share of a retry that each call contributes to the budget."""
        if self._left < RESERVE:
            self._left = min(RESERVE, self._left + self.settings.budget)

    def spend(self) -> bool:
        """Take one retry from the budget; return whether there was one."""
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def pause(self, error: RegistryError, attempts: int, left: float) -> float | None:
        """Return the seconds to wait before the next attempt, None to give up.

        ``attempts`` is the number of failed attempts, ``left`` the time until the deadline in seconds. The pause is
        the requested delay plus a random part of the exponential backoff, so that callers do not retry in step.
        """
        settings = self.settings
        if type(error) not in RETRYABLE or attempts >= settings.attempts:
            return None
        longest = min(settings.max_backoff, settings.backoff * 2 ** (attempts - 1))
        wait = (error.retry_after or 0.0) + longest * self.random()
        return wait if wait + MIN_REMAINING <= left and self.spend() else None
