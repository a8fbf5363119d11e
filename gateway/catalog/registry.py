"""A configured registry: its kind, its settings, the way to it, and how it has been answering."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Protocol

from gateway.catalog.ids import Ref, spoken
from gateway.catalog.plan import Bound
from gateway.errors import InvalidId, NotFound, RegistryBadAnswer, RegistryError
from gateway.registries.kind import Kind
from gateway.settings import RegistrySettings
from gateway.upstream.wire import Destination, Request


class Sender(Protocol):
    """The way out: sends an unsigned request and returns the raw JSON document of its answer."""

    async def send(self, destination: Destination, request: Request) -> Any: ...


@dataclass(slots=True)
class Health:
    """How a registry has been answering, as far as this process has seen."""

    latency: float | None = None
    last_success: datetime | None = None
    error: RegistryError | None = None

    @property
    def state(self) -> str:
        if self.error is not None:
            return "UNAVAILABLE"
        return "UNKNOWN" if self.last_success is None else "AVAILABLE"


@dataclass(slots=True)
class Registry:
    kind: Kind
    settings: RegistrySettings
    sender: Sender
    health: Health = field(default_factory=Health)
    destination: Destination = field(init=False)

    def __post_init__(self) -> None:
        kind, settings = self.kind, self.settings
        self.destination = Destination(
            settings.name,
            kind.services(settings),
            settings.timeout,
            settings.max_answer_bytes,
            lambda request, host, now, nonce: kind.sign(request, host, settings, now, nonce),
            lambda response: kind.check(settings.name, response),
        )

    @property
    def name(self) -> str:
        return self.settings.name

    async def ask(self, bound: Bound) -> Any:
        """The raw answer of a call. Raises `RegistryError`."""
        request = bound.call.request(bound.keys, bound.fixed, bound.page)
        started = perf_counter()
        try:
            document = await self.sender.send(self.destination, request)
            if not bound.call.promise(document):
                raise RegistryBadAnswer(self.name)
        except NotFound:
            self.health.error = None
            raise
        except RegistryError as error:
            self.health.error = error
            raise
        self.health = Health(perf_counter() - started, datetime.now(UTC))
        return document

    def admit(self, ref: Ref) -> None:
        """Check a reference before anything of it reaches a request. Raises `InvalidId`."""
        patterns = self.kind.keys[ref.entity]
        if any(
            pattern.fullmatch(key) is None or not key.strip(". ")
            for pattern, key in zip(patterns, ref.keys, strict=True)
        ):
            raise InvalidId(f"{spoken(str(ref))} is not an id of this graph.")

    def record(self) -> Mapping[str, Any]:
        """The registry as the graph shows it."""
        health = self.health
        seen = health.last_success
        return {
            "name": self.name,
            "kind": self.kind.name,
            "region": getattr(self.settings, "region", None),
            "status": {
                "state": health.state,
                "latency": health.latency,
                "last_success": None if seen is None else seen.isoformat(timespec="milliseconds")[:-6] + "Z",
                "error": None if health.error is None else error_record(health.error),
            },
            "capabilities": self.kind.capabilities,
        }


def error_record(error: RegistryError) -> Mapping[str, Any]:
    """A registry's failure as data, for coverage and status."""
    return {
        "code": error.code,
        "message": str(error),
        "retryable": error.retryable,
        "retry_after": error.retry_after,
        "request_id": error.request_id,
    }
