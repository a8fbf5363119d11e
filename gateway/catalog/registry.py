"""A configured registry: its kind, its settings, the way to it, and how it has been answering."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from functools import partial
from typing import Any, Final, Protocol

from gateway.catalog.ids import Ref, spoken
from gateway.catalog.plan import Bound
from gateway.config.settings import CREDENTIALS, RegistrySettings, Secret
from gateway.config.tls import registry_tls
from gateway.errors import InvalidId, RegistryError
from gateway.registries.kind import Kind
from gateway.upstream.caching_client import ANY, Answer, Freshness
from gateway.upstream.credentials import credential_provider
from gateway.upstream.health import Health
from gateway.upstream.http_session import proxy_for
from gateway.upstream.messages import Destination, Endpoint, Key, Request, Scope

MOST_ASKED: Final = 10_000
"""Calls whose requests and keys a registry remembers, since they cost more than what they find."""


class Fetcher(Protocol):
    """Client that returns the answers to unsigned requests; ``cached`` returns an answer that needs no waiting."""

    async def fetch(
        self, destination: Destination, request: Request, family: str, freshness: Freshness = ANY
    ) -> Answer: ...

    def cached(self, registry: str, key: Key, family: str, freshness: Freshness = ANY) -> Answer | None: ...


@dataclass(slots=True)
class Registry:
    """One configured registry; ``circuit`` tells the state of its breaker, ``now`` the seconds since 1970."""

    kind: Kind
    settings: RegistrySettings
    source: Fetcher
    health: Health = field(default_factory=Health)
    circuit: Callable[[], Enum] | None = None
    now: Callable[[], float] = time.time
    destination: Destination = field(init=False)
    _asked: dict[Bound, tuple[Request, Key, str]] = field(default_factory=dict, init=False, repr=False)

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

    def ask(self, bound: Bound, wanted: Freshness = ANY) -> asyncio.Future[Answer]:
        """Start a call, and return its answer as a future that the caller may complete. Fails with `RegistryError`."""
        request, _, family = self._asked.get(bound) or self._as_asked(bound)
        task = asyncio.ensure_future(self.source.fetch(self.destination, request, family, wanted))
        sent: asyncio.Future[Answer] = task.get_loop().create_future()
        task.add_done_callback(partial(deliver, sent))
        return sent

    def at_hand(self, bound: Bound, wanted: Freshness = ANY) -> Answer | None:
        """The answer of a call that needs no waiting, if there is one."""
        _, key, family = self._asked.get(bound) or self._as_asked(bound)
        return self.source.cached(self.settings.name, key, family, wanted)

    def _as_asked(self, bound: Bound) -> tuple[Request, Key, str]:
        """A call's request, the key of its answer, and its family of lifetimes: they are remembered."""
        if len(self._asked) == MOST_ASKED:
            self._asked.clear()
        request = bound.call.request(bound.keys, bound.fixed, bound.page)
        asked = self._asked[bound] = request, self.destination.scope.key(request), bound.call.family
        return asked

    def prefixes(self, ref: Ref | None = None) -> Iterator[str]:
        """Beginnings of the cache keys of all its answers; or of those that may tell of one object: its own, and
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

    def admit(self, ref: Ref) -> None:
        """Check a reference before anything of it reaches a request. Raises `InvalidId`."""
        for pattern, key in zip(self.kind.keys[ref.entity], ref.keys, strict=True):
            if pattern.fullmatch(key) is None or not key.strip(". "):
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
                "circuit": "CLOSED" if self.circuit is None else self.circuit().name,
                "latency": health.latency,
                "last_success": None if seen is None else seen.isoformat(timespec="milliseconds")[:-6] + "Z",
                "error": None if health.error is None else error_record(health.error),
            },
            "capabilities": self.kind.capabilities,
        }


def deliver(sent: asyncio.Future[Answer], task: asyncio.Future[Answer]) -> None:
    """Complete a future with the outcome of a task, unless it is complete."""
    if task.cancelled():
        sent.cancel()
    elif (error := task.exception()) is None:
        if not sent.done():
            sent.set_result(task.result())
    elif not sent.done():
        sent.set_exception(error)
        sent.exception()  # asyncio would log the failure of a call that nobody awaits


def identity(settings: RegistrySettings) -> Iterator[str]:
    """What decides whose data a registry answers: all of its settings but its name, its limits and its secrets.

    An ``account``, where it is said, stands in place of the key's id, so that a key may change without what is kept;
    beside it, where its key comes from: registries that call two accounts the same share nothing for that.
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
