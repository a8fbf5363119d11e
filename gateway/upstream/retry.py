"""Another try: which failures are worth one, after what pause, and how many an outage may cost."""

from collections.abc import Callable

from gateway.config.settings import RetrySettings
from gateway.errors import (
    RegistryError,
    RegistryThrottled,
    RegistryTimeout,
    RegistryUnavailable,
    RegistryUnreachable,
)

PASSING = {RegistryTimeout, RegistryUnreachable, RegistryUnavailable, RegistryThrottled}
"""Errors that the next attempt may not meet. Not their subclasses: a registry at rest is not asked again."""

RESERVE = 10.0
"""Retries that may be made beyond the share of all calls."""

LEAST = 0.1
"""Seconds that must be left for an attempt to be worth a call."""


class Retry:
    """The retries of one registry; ``random`` gives numbers from 0 to 1."""

    def __init__(self, settings: RetrySettings, random: Callable[[], float]) -> None:
        self.settings, self.random = settings, random
        self._left = RESERVE

    def earn(self) -> None:
        """Count a first try: it earns a share of a retry."""
        if self._left < RESERVE:
            self._left = min(RESERVE, self._left + self.settings.budget)

    def spend(self) -> bool:
        """Take one retry from the budget, if it holds one."""
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def pause(self, error: RegistryError, attempts: int, left: float) -> float | None:
        """Seconds to wait after so many failed attempts, of the ``left`` until the deadline; None to give up.

        What the registry asks for is waited, and a random time up to the doubled backoff, so that callers who failed
        together do not come back together.
        """
        settings = self.settings
        if type(error) not in PASSING or attempts >= settings.attempts:
            return None
        longest = min(settings.max_backoff, settings.backoff * 2 ** (attempts - 1))
        wait = (error.retry_after or 0.0) + longest * self.random()
        return wait if wait + LEAST <= left and self.spend() else None
