"""How each registry has been answering this process."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter, time
from typing import Any

from gateway.errors import NotFound, RegistryError
from gateway.upstream.source import Sender
from gateway.upstream.wire import Destination, Request

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


class Watch:
    """Passes calls on and notes how they end, by the registry's name."""

    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        self.health: defaultdict[str, Health] = defaultdict(Health)

    async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any:
        health = self.health[destination.registry]
        started = perf_counter()
        try:
            document = await self.sender.send(destination, request, refresh=refresh)
        except NotFound:
            health.error = None
            raise
        except RegistryError as error:
            health.error, health.failed_at = error, perf_counter()
            raise
        health.latency, health.answered_at, health.error = perf_counter() - started, time(), None
        return document
