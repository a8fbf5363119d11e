"""A configured registry: its kind, its settings, the client that calls it, and its health."""

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Protocol

from gateway.catalog.ids import Ref, quoted
from gateway.catalog.query_plan import BoundCall
from gateway.config.settings import CREDENTIALS, QuotaSettings, RegistrySettings, Secret
from gateway.config.tls import registry_tls
from gateway.errors import InvalidId, RegistryError
from gateway.memory_budget import MEMO_CHARACTERS
from gateway.registries.fields import Table
from gateway.registries.kind import Call, Kind
from gateway.upstream.caching_client import ANY, Answer, Freshness
from gateway.upstream.credentials import RegistryContext, credential_provider
from gateway.upstream.health import Health
from gateway.upstream.http_session import proxy_for
from gateway.upstream.messages import CacheKey, Destination, Endpoint, Request, Scope

CACHED_REQUESTS: Final = 2_000
"""The number of calls per registry whose request and cache key are cached, if their arguments are short."""


class Client(Protocol):
    """Fetches answers of unsigned requests. ``cached`` returns an answer without I/O, None if there is none."""

    def fetch(
        self, destination: Destination, request: Request, family: str, freshness: Freshness = ANY
    ) -> Awaitable[Answer]: ...

    def cached(self, registry: str, key: CacheKey, family: str, freshness: Freshness = ANY) -> Answer | None: ...


@dataclass(slots=True)
class Registry:
    """One configured registry.

    ``circuit`` returns the state of its circuit breaker, ``now`` the time in seconds since 1970.
    """

    kind: Kind
    settings: RegistrySettings
    client: Client
    health: Health = field(default_factory=Health)
    circuit: Callable[[], Enum] | None = None
    now: Callable[[], float] = time.time
    destination: Destination = field(init=False)
    _requests: dict[BoundCall, tuple[Request, CacheKey, str]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        kind, settings = self.kind, self.settings
        context = RegistryContext(settings, self.now)
        self.destination = Destination(
            settings.name,
            Scope.of(kind.name, *identity(settings, kind.role_variables, context.environ)),
            {
                service: Endpoint.parse(address, proxy_for(address, settings.proxy.reveal()))
                for service, address in kind.services(settings).items()
            },
            settings.timeout,
            settings.max_answer_bytes,
            kind.sign,
            partial(kind.check, settings.name),
            credential_provider(
                settings,
                kind.credentials(settings),
                self.now,
                kind.cloud_key(settings, context),
                kind.assumed_role(settings, context),
            ),
            registry_tls(settings),
            kind.headers(settings),
            kind.quota,
            QuotaSettings(requests_per_second=settings.requests_per_second, in_flight=settings.in_flight),
        )

    @property
    def name(self) -> str:
        return self.settings.name

    def fetch(self, bound: BoundCall, freshness: Freshness = ANY) -> Awaitable[Answer]:
        """Return the answer of a call. Raises `RegistryError`."""
        request, _, family = self._requests.get(bound) or self._request_and_key(bound)
        return self.client.fetch(self.destination, request, family, freshness)

    def cached(self, bound: BoundCall, freshness: Freshness = ANY) -> Answer | None:
        """Return the answer of a call if it is in memory and fresh enough, else None."""
        _, key, family = self._requests.get(bound) or self._request_and_key(bound)
        return self.client.cached(self.settings.name, key, family, freshness)

    def _request_and_key(self, bound: BoundCall) -> tuple[Request, CacheKey, str]:
        """Return the request of a call, its cache key, and its cache family."""
        request = self.kind.with_settings(self.settings, bound.call.request(bound.keys, bound.fixed, bound.page))
        prepared = request, self.destination.scope.key(request), bound.call.family
        if request.length <= MEMO_CHARACTERS:
            if len(self._requests) == CACHED_REQUESTS:
                self._requests.clear()
            self._requests[bound] = prepared
        return prepared

    def cache_prefixes(self, ref: Ref | None = None) -> Iterator[str]:
        """Yield the prefixes of the cache keys of all answers, or of all answers that may contain one object.

        Every page of a list may contain the object, and every answer that a version refers to may describe it. So may
        every answer about a version of a model or algorithm, if it contains fields of that.
        """
        scope = self.destination.scope
        if ref is None:
            yield f"{scope.digest}:"
            return
        for call in (*self.kind.calls, *(stream.call for stream in self.kind.streams)):
            contains = may_contain(call, ref.entity)
            is_keyed = not call.follows and all(at < len(ref.keys) for at in call.key_positions)
            if call.paging is not None or call.rows is not None or (contains and not is_keyed):
                yield f"{scope.digest}:{call.name}:"
            elif contains:
                request = call.request(tuple(ref.keys[i] for i in call.key_positions))
                yield str(scope.key(self.kind.with_settings(self.settings, request)))

    def validate(self, ref: Ref) -> None:
        """Check that the keys of a reference are valid, before they become part of a request. Raises `InvalidId`."""
        for pattern, key in zip(self.kind.keys[ref.entity], ref.keys, strict=True):
            if pattern.fullmatch(key) is None or not all(segment.strip(". ") for segment in key.split("/")):
                raise InvalidId(f"{quoted(str(ref))} is not an id of this graph.")

    def record(self) -> Mapping[str, Any]:
        """Return the record of the registry, for the schema's type `Registry`."""
        health = self.health
        last_success = health.last_success
        return {
            "name": self.name,
            "kind": self.kind.name,
            "region": getattr(self.settings, "region", None),
            "status": {
                "state": health.state,
                "circuit": "CLOSED" if self.circuit is None else self.circuit().name,
                "latency": health.latency,
                "last_success": None
                if last_success is None
                else last_success.isoformat(timespec="milliseconds")[:-6] + "Z",
                "error": None if health.error is None else error_record(health.error),
            },
            "capabilities": self.kind.capabilities,
        }


def may_contain(call: Call, entity: str) -> bool:
    """Whether answers of a call for single objects may contain an entity: as the object, its owner, or inside it."""
    return any(
        part.layout.entity == entity
        or (part.layout.owner is not None and part.layout.owner.entity == entity)
        or has_entity(part.layout.fields, entity)
        for part in call.entities
    )


def has_entity(table: Table, entity: str) -> bool:
    """Whether a field of a table contains an entity, such as the latest version."""
    return any(
        (field.layout is not None and field.layout.entity == entity)
        or (field.table is not None and has_entity(field.table, entity))
        for field in table.values()
    )


def identity(
    settings: RegistrySettings, role_variables: Iterable[str] = (), environ: Mapping[str, str] = MappingProxyType({})
) -> Iterator[str]:
    """Yield the settings that determine whose data a registry returns: all except name, limits and secrets.

    A bearer token is the only secret among them, since nothing else identifies its account. A configured ``account``
    replaces it, the key id and the user name, so that the cache survives a rotation. The source of the credentials is
    included, too, so that different accounts with the same name share no answers. Where a cloud supplies the key, so
    are the environment variables that name its role or profile: keys of one role share answers, and different roles do
    not. Only a hash leaves the process.
    """
    common = {declared.name for declared in fields(RegistrySettings)}
    if settings.account:
        yield from (f"{name}={getattr(settings, name, '')}" for name in ("account", *CREDENTIALS))
    if getattr(settings, "credentials_from", ""):
        yield from (f"{name}={environ.get(name, '')}" for name in role_variables)
    for declared in fields(settings):
        value, rules = getattr(settings, declared.name), declared.metadata
        replaced = settings.account and (rules["key"] or rules["identifies"])
        if declared.name in common or replaced or (isinstance(value, Secret) and not rules["identifies"]):
            continue
        yield f"{declared.name}={value.reveal() if isinstance(value, Secret) else value}"


def error_record(error: RegistryError) -> Mapping[str, Any]:
    """Return the record of a failure, for coverage and status."""
    return {
        "code": error.code,
        "message": str(error),
        "retryable": error.retryable,
        "retry_after": error.retry_after,
        "request_id": error.request_id,
    }
