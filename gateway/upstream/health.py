"""Health of each registry, as seen by this process."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter, time

from gateway.errors import NotFound, RegistryError

UNREADY_SECONDS = 5.0
"""Seconds for which a failure makes the gateway not ready. Without traffic, a gateway cannot notice a recovery."""


@dataclass(slots=True)
class Health:
    """Outcome of the last calls to a registry.

    ``latency`` is the duration of the last success in seconds, ``answered_at`` its time in seconds since 1970.
    ``error`` is the last failure, None if a success came later.
    """

    latency: float | None = None
    answered_at: float | None = None
    error: RegistryError | None = None
    failed_at: float = 0.0

    @property
    def last_success(self) -> datetime | None:
        return None if self.answered_at is None else datetime.fromtimestamp(self.answered_at, UTC)

    @property
    def failed_lately(self) -> bool:
        return self.error is not None and perf_counter() - self.failed_at < UNREADY_SECONDS

    @property
    def state(self) -> str:
        if self.error is not None:
            return "UNAVAILABLE"
        return "UNKNOWN" if self.answered_at is None else "AVAILABLE"


class HealthMonitor:
    """The health of all registries, by name."""

    def __init__(self) -> None:
        self.health: defaultdict[str, Health] = defaultdict(Health)

    def answered(self, registry: str, seconds: float) -> None:
        """Record a successful call and its duration in seconds."""
        health = self.health[registry]
        health.latency, health.answered_at, health.error = seconds, time(), None

    def failed(self, registry: str, error: RegistryError) -> None:
        """Record a call that failed. `NotFound` is a valid answer."""
        health = self.health[registry]
        if isinstance(error, NotFound):
            health.error = None
        else:
            health.error, health.failed_at = error, perf_counter()
