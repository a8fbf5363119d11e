"""Health of each registry, as seen by this process."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time

from gateway.errors import NotFound, RegistryError


@dataclass(slots=True)
class Health:
    """Outcome of the last calls to a registry.

    ``latency`` is the duration of the last success in seconds, ``answered_at`` its time in seconds since 1970.
    ``error`` is the last failure, None if a success came later.
    """

    latency: float | None = None
    answered_at: float | None = None
    error: RegistryError | None = None

    @property
    def last_success(self) -> datetime | None:
        return None if self.answered_at is None else datetime.fromtimestamp(self.answered_at, UTC)

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
        self.health[registry].error = None if isinstance(error, NotFound) else error
