"""How each registry has been answering this process."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter, time

from gateway.errors import NotFound, RegistryError

LATELY = 5.0
"""Seconds for which a failure keeps a gateway from being ready: who is sent no requests cannot find out better."""


@dataclass(slots=True)
class Health:
    """The last call's outcome: seconds that the last success took, and when it was (seconds since 1970), and the last
    failure, if later."""

    latency: float | None = None
    answered_at: float | None = None
    error: RegistryError | None = None
    failed_at: float = 0.0

    @property
    def last_success(self) -> datetime | None:
        return None if self.answered_at is None else datetime.fromtimestamp(self.answered_at, UTC)

    @property
    def failed_lately(self) -> bool:
        return self.error is not None and perf_counter() - self.failed_at < LATELY

    @property
    def state(self) -> str:
        if self.error is not None:
            return "UNAVAILABLE"
        return "UNKNOWN" if self.answered_at is None else "AVAILABLE"


class HealthMonitor:
    """Hears how calls end, and notes it by the registry's name."""

    def __init__(self) -> None:
        self.health: defaultdict[str, Health] = defaultdict(Health)

    def answered(self, registry: str, seconds: float) -> None:
        """A call was answered, after so many seconds."""
        health = self.health[registry]
        health.latency, health.answered_at, health.error = seconds, time(), None

    def failed(self, registry: str, error: RegistryError) -> None:
        """A call failed; that there is no such object is an answer."""
        health = self.health[registry]
        if isinstance(error, NotFound):
            health.error = None
        else:
            health.error, health.failed_at = error, perf_counter()
