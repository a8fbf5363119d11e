"""A configured registry: its kind, its settings, the client that calls it, and its health."""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from functools import partial
from typing import Any, Final, Protocol

from gateway.catalog.ids import Ref, quoted
from gateway.catalog.query_plan import BoundCall
from gateway.config.settings import CREDENTIALS, RegistrySettings, Secret
from gateway.config.tls import registry_tls
from gateway.errors import InvalidId, RegistryError
from gateway.registries.kind import Kind
from gateway.upstream.caching_client import ANY, Answer, Freshness
from gateway.upstream.credentials import credential_provider
from gateway.upstream.health import Health
from gateway.upstream.http_session import proxy_for
from gateway.upstream.messages import Destination, Endpoint, Key, Request, Scope

CACHED_REQUESTS: Final = 10_000
"""Calls for which a registry caches the prepared request and the key of its answer."""


class Client(Protocol):
    """Fetches the answer of an unsigned request, as fresh as requested; ``cached`` is the answer that needs no I/O."""

    def fetch(
        self, destination: Destination, request: Request, family: str, freshness: Freshness = ANY
    ) -> Awaitable[Answer]: ...

    def cached(self, registry: str, key: Key, family: str, freshness: Freshness = ANY) -> Answer | None: ...


@dataclass(slots=True)
class Registry:
    """One configured registry; ``circuit`` returns the state of its circuit breaker, ``now`` the time in seconds since
    1970."""

    kind: Kind
    settings: RegistrySettings
    client: Client
    health: Health = field(default_factory=Health)
    circuit: Callable[[], Enum] | None = None
    now: Callable[[], float] = time.time
    destination: Destination = field(init=False)
    _requests: dict[BoundCall, tuple[Request, Key, str]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        kind, settings = self.kind, self.settings
        self.destination = Destination(
            settings.name,
            Scope.of(kind.name, *identity(settings)),
            {
                service: Endpoint.parse(address, proxy_for(address, settings.proxy.reveal()))
                for service, address in kind.services(settings).items()
            },
            settings.timeout,
            settings.max_answer_bytes,
            kind.sign,
            partial(kind.check, settings.name),
            credential_provider(settings, kind.credentials(settings), self.now),
            registry_tls(settings),
        )

    @property
    def name(self) -> str:
        return self.settings.name

    async def fetch(self, bound: BoundCall, freshness: Freshness = ANY) -> Answer:
        """The answer of a call. Raises `RegistryError`."""
        request, _, family = self._requests.get(bound) or self._prepare(bound)
        return await self.client.fetch(self.destination, request, family, freshness)

    def cached(self, bound: BoundCall, freshness: Freshness = ANY) -> Answer | None:
        """The cached answer of a call, if it is fresh enough and in memory."""
        _, key, family = self._requests.get(bound) or self._prepare(bound)
        return self.client.cached(self.settings.name, key, family, freshness)

    def _prepare(self, bound: BoundCall) -> tuple[Request, Key, str]:
        """A call's request, the cache key of its answer, and its family of lifetimes."""
        if len(self._requests) == CACHED_REQUESTS:
            self._requests.clear()
        request = bound.call.request(bound.keys, bound.fixed, bound.page)
        prepared = self._requests[bound] = request, self.destination.scope.key(request), bound.call.family
        return prepared

    def cache_prefixes(self, ref: Ref | None = None) -> Iterator[str]:
        """Prefixes of the cache keys of all its answers; or of those that may hold one object: the object's own, and
        every page of a list."""
        scope = self.destination.scope
        if ref is None:
            yield f"{scope.digest}:"
            return
        for call in (*self.kind.calls, *(stream.call for stream in self.kind.streams)):
            if call.paging is not None or call.rows is not None:
                yield f"{scope.digest}:{call.name}:"
            elif any(part.shape.entity == ref.entity for part in call.parts):
                yield str(scope.key(call.request(tuple(ref.keys[i] for i in call.takes))))

    def validate(self, ref: Ref) -> None:
        """Check that a reference can exist before any of it reaches a request. Raises `InvalidId`."""
        for pattern, key in zip(self.kind.keys[ref.entity], ref.keys, strict=True):
            if pattern.fullmatch(key) is None or not key.strip(". "):
                raise InvalidId(f"{quoted(str(ref))} is not an id of this graph.")

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
                "circuit": "CLOSED" if self.circuit is None else self.circuit().name,
                "latency": health.latency,
                "last_success": None if seen is None else seen.isoformat(timespec="milliseconds")[:-6] + "Z",
                "error": None if health.error is None else error_record(health.error),
            },
            "capabilities": self.kind.capabilities,
        }


def identity(settings: RegistrySettings) -> Iterator[str]:
    """The settings that decide whose data a registry returns: all but its name, its limits and its secrets.

    Where an ``account`` is configured, it replaces the id of the key, so that a key may be rotated without losing the
    cache; the source of the key counts, too: two registries that give two accounts the same name share nothing.
    """
    common = {declared.name for declared in fields(RegistrySettings)}
    if settings.account:
        yield from (f"{name}={getattr(settings, name)}" for name in ("account", *CREDENTIALS))
    for declared in fields(settings):
        value = getattr(settings, declared.name)
        if declared.name in common or isinstance(value, Secret) or (settings.account and declared.metadata["key"]):
            continue
        yield f"{declared.name}={value}"


def error_record(error: RegistryError) -> Mapping[str, Any]:
    """A registry's failure as data, for coverage and status."""
    return {
        "code": error.code,
        "message": str(error),
        "retryable": error.retryable,
        "retry_after": error.retry_after,
        "request_id": error.request_id,
    }
