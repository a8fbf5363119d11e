"""Wires the rooms into one application; the only module that meets them all."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TypedDict

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Route, WebSocketRoute

from gateway.auth.authenticator import Authenticator
from gateway.auth.rate_limits import CallerRateLimiter
from gateway.catalog.bounds import Bounds
from gateway.catalog.plan import Bound
from gateway.catalog.polling import VersionPollers
from gateway.catalog.registry import Fetcher, Registry
from gateway.config.settings import (
    CacheSettings,
    CatalogSettings,
    LimitsSettings,
    Settings,
    SettingsError,
    TelemetrySettings,
)
from gateway.errors import RegistryError
from gateway.execution.documents import Documents
from gateway.execution.findings import Findings
from gateway.execution.persisted_queries import PersistedQueries
from gateway.execution.pipeline import Pipeline
from gateway.execution.request_context import RequestContext
from gateway.execution.response_cache import ResponseCache
from gateway.execution.warm_up import names, warm
from gateway.http import health, playground
from gateway.http.admin import CacheEndpoint
from gateway.http.authentication import RequestAuthenticator
from gateway.http.graphql import GraphQLEndpoint
from gateway.http.metrics import MetricsEndpoint, metrics_port
from gateway.http.prepared_requests import PreparedRequests
from gateway.http.request_ids import RequestIds
from gateway.http.websocket import WebSocketEndpoint
from gateway.registries import KINDS
from gateway.schema.schema import CORE, SCHEMA
from gateway.telemetry.events import Events
from gateway.telemetry.observer import Observer
from gateway.upstream.cache import BoundedMemory, Cache
from gateway.upstream.caching_client import ANY, CachingClient, Lifetimes, UncachedClient
from gateway.upstream.circuit_breaker import BreakerState as Circuit
from gateway.upstream.health import HealthMonitor
from gateway.upstream.http_client import HttpClient
from gateway.upstream.redis_cache import SharedCache
from gateway.upstream.resilient_client import ResilientClient

OPEN_TO_ALL: Mapping[str, frozenset[str]] = {
    "development": frozenset({"read", "raw", "explain"}),
    "production": frozenset({"read"}),
}
"""What anybody may do, by the server's profile."""


EXPOSED = ("Age", "ETag", "Retry-After", "X-Request-Id")
"""Headers that pages of other origins may read."""


class BreakerState(TypedDict):
    """What the application hands to every request."""

    registries: Mapping[str, Registry]
    bounds: Bounds
    cache: Cache | None
    stopping: asyncio.Event


def registries(settings: Settings, source: Fetcher) -> dict[str, Registry]:
    """The configured registries by name, in their order, over a source of answers that nobody watches."""
    return {one.name: Registry(KINDS[one.kind].of(one), one, source) for one in settings.registries}


def bounds(settings: CatalogSettings, limits: LimitsSettings) -> Bounds:
    return Bounds(
        settings.scan_rows,
        settings.scan_detail_rows,
        settings.deadline,
        limits.calls,
        limits.page_rows,
        limits.ids,
        limits.references,
    )


@dataclass(slots=True)
class Kept:
    """What one application leaves to the one after it, when the settings are read anew."""

    memory: BoundedMemory | None = None
    bounds: tuple[int, int] | None = None

    def memory_for(self, settings: CacheSettings) -> BoundedMemory:
        """The answers in memory; with other bounds they begin anew. Their keys tell their accounts apart."""
        bounds = settings.entries, settings.megabytes * 1_000_000
        if self.memory is None or self.bounds != bounds:
            self.memory, self.bounds = BoundedMemory(*bounds), bounds
        return self.memory


@asynccontextmanager
async def cached(
    settings: CacheSettings, now: Callable[[], float], facts: Events, kept: Kept
) -> AsyncIterator[Cache | None]:
    """The cache that the settings ask for, listening to other replicas as long as it is open."""
    if not settings.enabled:
        yield None
        return
    url = settings.redis.reveal()
    shared = SharedCache(url, settings.redis_timeout, time.monotonic, facts) if url else None
    cache = Cache(kept.memory_for(settings), shared, settings.stale_on_error, now)
    listening = asyncio.create_task(cache.listen())
    try:
        yield cache
    finally:
        listening.cancel()
        if shared is not None:
            await shared.close()


def lifetimes(settings: CacheSettings) -> Lifetimes:
    fresh = {"lists": settings.lists, "objects": settings.objects, "catalogues": settings.catalogues}
    return Lifetimes(fresh, settings.missing, settings.stale, settings.jitter)


def made_bytes(settings: CacheSettings) -> int:
    """How many bytes of whole answers and of findings are kept each: a quarter of what registries' answers may take."""
    return settings.megabytes * 1_000_000 // 4 if settings.enabled else 0


def warm_up(path: str) -> tuple[str, list[str]]:
    """The queries of a file, and their names. Raises `SettingsError`."""
    if not path:
        return "", []
    try:
        document = Path(path).read_text(encoding="utf-8")
        return document, names(document)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SettingsError((f"cache.warm_up: {path}: {reason}",)) from None


@asynccontextmanager
async def told(settings: TelemetrySettings, observer: Observer) -> AsyncIterator[None]:
    """Around the application's life: metrics on their port, if they have one, and at the end the last of the traces."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, observer.close)
        if settings.metrics == "port":
            door = MetricsEndpoint(observer)
            await stack.enter_async_context(metrics_port(door, settings.metrics_host, settings.metrics_port))
        yield


def cross_origin(origins: list[str]) -> list[Middleware]:
    """What lets pages of these origins ask, without cookies; nothing for none."""
    if not origins:
        return []
    methods = ("GET", "POST")
    return [Middleware(CORSMiddleware, origins, methods, ("*",), expose_headers=EXPOSED)]


def create_app(settings: Settings, now: Callable[[], float] = time.time, kept: Kept | None = None) -> RequestIds:
    """The gateway as an ASGI application; its upstream session lives as long as the application.

    ``now`` gives the time, in seconds since 1970, by which answers grow old and keys end. Raises `SettingsError` when a
    file that the settings name cannot be used, or traces cannot be made.
    """
    document, named = warm_up(settings.cache.warm_up)
    anyone = OPEN_TO_ALL[settings.server.profile]
    access = Authenticator(settings.access, settings.cache.admin_token, anyone, now)
    entrance = RequestAuthenticator(access)
    documents = Documents(CORE, settings.limits, suggestions=settings.server.profile == "development")
    observer = Observer(settings.telemetry)
    watches = VersionPollers(settings.subscriptions, bounds(settings.catalog, settings.limits))
    wholes = ResponseCache(made_bytes(settings.cache) if settings.cache.answers else 0)
    findings = Findings(made_bytes(settings.cache))
    persisted, gate = PersistedQueries(settings.documents), CallerRateLimiter(settings.limits)
    executor = Pipeline(SCHEMA, documents, persisted, gate, observer, watches, wholes, findings)
    door = GraphQLEndpoint(executor, settings.limits, entrance)
    doors = health.HealthEndpoints(entrance)
    metrics = MetricsEndpoint(observer, entrance if access.asks else None)
    origins, most = settings.server.cors.split(), settings.subscriptions.per_connection
    sockets = WebSocketEndpoint(executor, entrance, settings.limits, most, origins)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[BreakerState]:
        health_monitor = HealthMonitor()
        async with (
            told(settings.telemetry, observer),
            HttpClient(events=observer, health=health_monitor) as http_client,
            cached(settings.cache, now, observer, kept or Kept()) as cache,
        ):
            guard = ResilientClient(
                http_client, settings.retry, settings.quota, settings.breaker, settings.hedging, events=observer
            )
            source: UncachedClient | CachingClient = UncachedClient(guard, observer)
            if cache is not None:
                source = CachingClient(guard, cache, lifetimes(settings.cache), settings.cache.wait, events=observer)
                observer.watch_cache(cache.memory.__len__, lambda: cache.memory.used)
            opened = {
                one.name: Registry(
                    KINDS[one.kind].of(one),
                    one,
                    source,
                    health_monitor.health[one.name],
                    partial(guard.state, one.name),
                    now,
                )
                for one in settings.registries
            }
            for name in opened:
                observer.watch_circuit(name, tuple(Circuit), partial(guard.state, name))
            limits = bounds(settings.catalog, settings.limits)
            scene = RequestContext(opened, limits, ANY, frozenset({"read", "raw"}))
            warming = [asyncio.create_task(warm(executor, scene, document, name)) for name in named]
            yield {"registries": opened, "bounds": limits, "cache": cache, "stopping": asyncio.Event()}
            for task in warming:
                task.cancel()
            source.close()

    app = Starlette(
        routes=[
            *(playground.routes() if settings.server.profile == "development" else []),
            *(
                [Route("/cache", CacheEndpoint(entrance).answer, methods=["GET", "DELETE"])]
                if access.knows_admins
                else []
            ),
            Route("/graphql", door.answer, methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
            WebSocketRoute("/graphql", sockets.answer),
            Route("/healthz", health.healthz),
            *([metrics.route] if settings.telemetry.metrics == "path" else []),
            Route("/readyz", doors.readyz),
            *([Route("/schema.graphql", doors.schema)] if access.asks or "explain" in anyone else []),
        ],
        middleware=[*cross_origin(origins), Middleware(GZipMiddleware, compresslevel=5)],
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # the address that it redirects to is the one in the request's Host
    if access.asks:  # everybody must show first who they are
        return RequestIds(app, observer)
    return RequestIds(PreparedRequests(app, executor, settings.limits.body_seconds), observer)


@dataclass(frozen=True, slots=True)
class Probe:
    """Outcome of one cheap call to a registry; ``problem`` is None if it succeeded, else the error and its cause."""

    registry: str
    seconds: float
    problem: str | None


async def probe(settings: Settings) -> list[Probe]:
    """Make one cheap call to every configured registry."""
    probes = []
    async with HttpClient() as http_client:
        for registry in registries(settings, UncachedClient(http_client)).values():
            started = perf_counter()
            try:
                await registry.ask(Bound(registry.name, registry.kind.probe))
                problem = None
            except RegistryError as error:
                reason = error.cause or error.vendor_code
                problem = f"{error} ({reason})" if reason else str(error)
            probes.append(Probe(registry.name, perf_counter() - started, problem))
    return probes
