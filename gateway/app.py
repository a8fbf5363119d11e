"""The composition root: builds the application from the settings."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TypedDict

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp

from gateway.auth.authenticator import Authenticator
from gateway.auth.jwks import key_set
from gateway.auth.rate_limits import CallerRateLimiter
from gateway.catalog.bounds import Bounds
from gateway.catalog.polling import VersionPollers
from gateway.catalog.query_plan import BoundCall
from gateway.catalog.registry import Client, Registry
from gateway.config.files import read_file
from gateway.config.redis_urls import redis_tls_problem
from gateway.config.settings import (
    AccessSettings,
    CacheSettings,
    CatalogSettings,
    LimitsSettings,
    ServerSettings,
    Settings,
    SettingsError,
    TelemetrySettings,
    gathering,
)
from gateway.config.tls import check_server_tls
from gateway.errors import RegistryError
from gateway.execution.documents import Documents
from gateway.execution.persisted_queries import PersistedQueries
from gateway.execution.pipeline import Pipeline
from gateway.execution.request_context import RequestContext
from gateway.execution.response_cache import ResponseCache
from gateway.execution.warm_up import operation_names, warm_up
from gateway.http import catalog_page, health, playground
from gateway.http.admin import CacheEndpoint
from gateway.http.authentication import RequestAuthenticator
from gateway.http.compression import Compression
from gateway.http.dispatcher import Dispatcher
from gateway.http.graphql import GraphQLEndpoint
from gateway.http.mcp import McpEndpoint, ProtectedResource
from gateway.http.metrics import MetricsEndpoint, metrics_port
from gateway.http.negotiation import REVISION
from gateway.http.pages import files_route
from gateway.http.playground.assets import is_installed
from gateway.http.prepared_requests import PreparedRequests
from gateway.http.request_ids import RequestIds
from gateway.http.requested_paths import RequestedPaths
from gateway.http.responses import COMPRESSION_LEVEL
from gateway.http.websocket import WebSocketEndpoint
from gateway.mcp.tools import Tools
from gateway.memory_budget import BoundedCache, MemoryBudget
from gateway.registries import KINDS
from gateway.schema.schema import GRAPHQL_SCHEMA, SCHEMA
from gateway.telemetry.events import Events
from gateway.telemetry.observer import Observer
from gateway.telemetry.tracing import Tracing
from gateway.telemetry.worker_metrics import WorkerMetrics
from gateway.upstream.cache import BoundedMemory, Cache
from gateway.upstream.caching_client import ANY, CachingClient, Lifetimes, UncachedClient
from gateway.upstream.circuit_breaker import BreakerState
from gateway.upstream.health import HealthMonitor
from gateway.upstream.hints import hint
from gateway.upstream.http_client import HttpClient
from gateway.upstream.redis_cache import SharedCache
from gateway.upstream.resilient_client import ResilientClient

logger = logging.getLogger("gateway.http")

ANONYMOUS_ROLES: Mapping[str, frozenset[str]] = {
    "development": frozenset({"read", "raw", "explain"}),
    "production": frozenset({"read"}),
}
"""Roles of anonymous callers, by the server's profile."""

EXPOSED_HEADERS = ("Age", "ETag", "Retry-After", "X-Request-Id")
"""Response headers that pages of other origins may read."""


class AppState(TypedDict):
    """The state that every request can reach."""

    registries: Mapping[str, Registry]
    bounds: Bounds
    cache: Cache | None
    budget: MemoryBudget
    stopping: asyncio.Event


def registries(settings: Settings, client: Client) -> dict[str, Registry]:
    """Return the configured registries by name, over one client. Their health is not monitored.

    Raises `SettingsError`.
    """
    opened: dict[str, Registry] = {}
    problems: list[str] = []
    for registry in settings.registries:
        with gathering(problems):
            opened[registry.name] = Registry(KINDS[registry.kind].of(registry), registry, client)
    if problems:
        raise SettingsError(tuple(dict.fromkeys(problems)))
    return opened


def bounds(settings: CatalogSettings, limits: LimitsSettings) -> Bounds:
    """Return the limits of one operation."""
    return Bounds(
        settings.scan_rows,
        settings.scan_detail_rows,
        settings.deadline,
        limits.calls,
        limits.rows,
        limits.page_rows,
        limits.ids,
        limits.references,
    )


@dataclass(slots=True)
class CacheMemory:
    """The memory of the cache, which outlives a reload of the settings unless its bounds change."""

    memory: BoundedMemory | None = None
    bounds: tuple[int, int] | None = None

    def for_settings(self, settings: CacheSettings, size: int) -> BoundedMemory:
        """Return the memory with the bounds of the settings: the number of entries, and ``size`` in bytes.

        Its keys contain the account: accounts share nothing.
        """
        bounds = settings.entries, size
        if self.memory is None or self.bounds != bounds:
            self.memory, self.bounds = BoundedMemory(*bounds), bounds
        return self.memory


@asynccontextmanager
async def open_cache(
    settings: CacheSettings, now: Callable[[], float], events: Events, memory: CacheMemory, budget: MemoryBudget
) -> AsyncIterator[Cache | None]:
    """Open the cache if the settings enable it. While open, it applies the purges of other replicas."""
    if not settings.enabled:
        yield None
        return
    url = settings.redis.reveal()
    shared = SharedCache(url, settings.redis_timeout, time.monotonic, events) if url else None
    answers = budget.caches["answers"] = memory.for_settings(settings, budget.share("answers"))
    cache = Cache(answers, shared, settings.stale_on_error, now)
    tasks = [asyncio.create_task(cache.listen())]
    if shared is not None:
        tasks.append(asyncio.create_task(shared.log_problems()))
    try:
        yield cache
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if shared is not None:
            await shared.close()


def lifetimes(settings: CacheSettings) -> Lifetimes:
    """Return the lifetimes of cache entries."""
    fresh = {"lists": settings.lists, "objects": settings.objects, "catalogues": settings.catalogues}
    return Lifetimes(fresh, settings.missing, settings.stale, settings.jitter)


def load_warm_up(path: str) -> tuple[str, list[str]]:
    """Load the document for cache warm-up, and return it with the names of its operations. Raises `SettingsError`."""
    if not path:
        return "", []
    try:
        document = read_file(path).decode()
        return document, operation_names(document)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SettingsError((f"cache.warm_up: {path}: {reason}",)) from None


def exposition(observer: Observer, workers: WorkerMetrics | None) -> Callable[[str], Awaitable[tuple[bytes, str]]]:
    """Return what writes the metrics of all workers, or of the only one, for a header ``Accept``."""

    async def own(accept: str) -> tuple[bytes, str]:
        return observer.exposition(accept)

    return own if workers is None else workers.exposition


@asynccontextmanager
async def telemetry(
    settings: TelemetrySettings, observer: Observer, workers: WorkerMetrics | None
) -> AsyncIterator[None]:
    """Serve metrics on their own port, if they have one; at the end, send the remaining traces."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, observer.close)
        if workers is not None:
            stack.enter_context(workers.publishing(observer.collectors))
        if settings.metrics == "port":
            endpoint = MetricsEndpoint(exposition(observer, workers))
            await stack.enter_async_context(metrics_port(endpoint, settings.metrics_host, settings.metrics_port))
        yield


def create_app(
    settings: Settings,
    now: Callable[[], float] = time.time,
    cache_memory: CacheMemory | None = None,
    workers: WorkerMetrics | None = None,
) -> ASGIApp:
    """Build the gateway as an ASGI application. Its connections to registries are open during its lifespan.

    ``now`` is the time in seconds since 1970, for the age of cache entries and the expiry of credentials. ``workers``
    adds up the metrics of several worker processes.

    Raises `SettingsError` for settings that cannot work, a file that cannot be used, and when traces cannot be
    exported.
    """
    problems = [*settings.problems()]
    budget = MemoryBudget(settings.cache.megabytes * 1_000_000)
    anonymous = ANONYMOUS_ROLES[settings.server.profile]
    if not problems and (reason := redis_tls_problem(settings.cache.redis.reveal())):
        problems.append(f"cache.redis: {reason}")
    with gathering(problems):
        check_server_tls(settings.server)
    with gathering(problems):
        warm_up_document, warm_up_names = load_warm_up(settings.cache.warm_up)
    with gathering(problems):
        access = Authenticator(settings.access, settings.cache.admin_token, anonymous, now)
    with gathering(problems):
        persisted_queries = PersistedQueries(settings.documents, budget.cache("queries"), now)
    with gathering(problems):
        observer = Observer(settings.telemetry)
    if problems:
        raise SettingsError(tuple(problems))
    authenticator = RequestAuthenticator(access, settings.cache.anonymous_directives)
    observer.watch_memory(budget.sizes)
    stores_responses = settings.cache.enabled and settings.cache.answers
    suggestions = settings.server.profile == "development"
    pipeline = Pipeline(
        SCHEMA,
        Documents(GRAPHQL_SCHEMA, settings.limits, suggestions, budget.cache("documents", cyclic=True)),
        persisted_queries,
        CallerRateLimiter(settings.limits),
        observer,
        VersionPollers(settings.subscriptions, bounds(settings.catalog, settings.limits)),
        ResponseCache(budget.cache("responses") if stores_responses else BoundedCache(0)),
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[AppState]:
        if problem := playground_problem(settings.server):
            logger.warning(problem)
        health_monitor = HealthMonitor()
        async with (
            telemetry(settings.telemetry, observer, workers),
            HttpClient(events=observer, health=health_monitor) as http_client,
            open_cache(settings.cache, now, observer, cache_memory or CacheMemory(), budget) as cache,
        ):
            resilient = ResilientClient(
                http_client, settings.retry, settings.quota, settings.breaker, settings.hedging, events=observer
            )
            client: UncachedClient | CachingClient = UncachedClient(resilient, observer)
            if cache is not None:
                client = CachingClient(
                    resilient, cache, lifetimes(settings.cache), settings.cache.wait, events=observer
                )
                observer.watch_cache(cache.memory.__len__, lambda: cache.memory.used)
            opened: dict[str, Registry] = {}
            for registry in settings.registries:
                name, kind = registry.name, KINDS[registry.kind].of(registry)
                circuit = partial(resilient.state, name)
                with gathering(problems):
                    opened[name] = Registry(kind, registry, client, health_monitor.health[name], circuit, now)
                observer.watch_circuit(name, tuple(BreakerState), circuit)
            if problems:
                raise SettingsError(tuple(dict.fromkeys(problems)))
            limits = bounds(settings.catalog, settings.limits)
            context = RequestContext(opened, limits, ANY, frozenset({"read", "raw"}))
            warming = [
                asyncio.create_task(warm_up(pipeline, context, warm_up_document, name)) for name in warm_up_names
            ]
            yield {
                "registries": opened,
                "bounds": limits,
                "cache": cache,
                "budget": budget,
                "stopping": asyncio.Event(),
            }
            for task in warming:
                task.cancel()
            client.close()

    graphql: ASGIApp = GraphQLEndpoint(
        pipeline, settings.limits, authenticator, settings.server.http_revision == REVISION
    )
    if not access.required:
        graphql = PreparedRequests(graphql, pipeline, settings.limits.body_seconds, budget.cache("requests"))
    if settings.server.profile == "development":
        graphql = playground.BrowserRedirect(graphql)
    others = Starlette(
        routes=list(routes(settings, pipeline, authenticator, exposition(observer, workers))),
        middleware=[Middleware(Compression, compresslevel=COMPRESSION_LEVEL)],
        lifespan=lifespan,
    )
    others.router.redirect_slashes = False  # a redirect would go to the address in the request's Host header
    routed = Dispatcher({"/graphql": graphql}, others)
    # the exact path needs no rewriting, and is the one that nearly all requests have
    app: ASGIApp = Dispatcher({"/graphql": graphql}, RequestedPaths(routed, settings.server.root_path))
    if settings.server.cors:
        origins = settings.server.allowed_origins
        app = CORSMiddleware(
            app,
            origins.listed,
            ("GET", "POST"),
            ("*",),
            allow_origin_regex=origins.pattern,
            expose_headers=EXPOSED_HEADERS,
        )
    return RequestIds(app, observer)


def routes(
    settings: Settings,
    pipeline: Pipeline,
    authenticator: RequestAuthenticator,
    metrics: Callable[[str], Awaitable[tuple[bytes, str]]],
) -> Iterator[BaseRoute]:
    """Yield the endpoints that the settings enable, except GraphQL over HTTP."""
    access, profile = authenticator.authenticator, settings.server.profile
    if profile == "development":
        yield Route("/", playground.page)
        yield Route("/catalog", catalog_page.page)
        yield files_route([*playground.FILES, *catalog_page.FILES])
    if access.admits_admins:
        yield Route("/cache", CacheEndpoint(authenticator).handle, methods=["GET", "DELETE"])
    origins, max_operations = settings.server.allowed_origins, settings.subscriptions.per_connection
    websockets = WebSocketEndpoint(pipeline, authenticator, settings.limits, max_operations, origins)
    yield WebSocketRoute("/graphql", websockets.handle)
    yield from mcp_routes(settings, pipeline, authenticator)
    yield Route("/healthz", health.healthz)
    if settings.telemetry.metrics == "path":
        yield MetricsEndpoint(metrics, authenticator if access.required else None).route
    endpoints = health.HealthEndpoints(authenticator)
    yield Route("/readyz", endpoints.readyz)
    if access.required or "explain" in ANONYMOUS_ROLES[profile]:
        yield Route("/schema.graphql", endpoints.schema)


def mcp_routes(settings: Settings, pipeline: Pipeline, authenticator: RequestAuthenticator) -> Iterator[BaseRoute]:
    """Yield the endpoint for the Model Context Protocol and the metadata of its tokens, if the settings enable them."""
    development = settings.server.profile == "development"
    if not (development if settings.mcp.enabled is None else settings.mcp.enabled):
        return
    tools, resource = Tools(pipeline.documents, pipeline.persisted_queries), None
    if settings.mcp.url and settings.access.issuer:
        resource = ProtectedResource(settings.mcp.url, settings.access.issuer, tools)
        yield from (Route(path, resource.handle) for path in resource.paths)
    origins = settings.server.allowed_origins
    endpoint = McpEndpoint(pipeline, tools, settings.limits, authenticator, origins, resource)
    yield Route("/mcp", endpoint, methods=["POST"])


@dataclass(frozen=True, slots=True)
class Probe:
    """Outcome of a test of something that the gateway depends on: a registry, by its name, or a setting.

    ``problem`` is None if it can be used, else what is wrong. ``hint`` is what to do, empty if that is not known.
    """

    name: str
    seconds: float
    problem: str | None
    hint: str = ""


async def probe(settings: Settings) -> list[Probe]:
    """Make one cheap call to every configured registry, and test the shared cache, the issuer of tokens, the collector
    of traces and the files of the playground, if they are to be used.

    Raises `SettingsError` for what keeps a gateway from starting, as `create_app` does.
    """
    async with HttpClient() as http_client:
        opened = registries(settings, UncachedClient(http_client))
        tests: dict[str, Callable[[], Awaitable[str | None]]] = {}
        if settings.cache.enabled and settings.cache.redis:
            tests["cache.redis"] = partial(redis_problem, settings.cache)
        if settings.access.jwks:
            tests["access.jwks"] = partial(issuer_problem, settings.access)
        if settings.telemetry.traces:
            tests["telemetry.traces"] = partial(asyncio.to_thread, collector_problem, settings.telemetry)
        probes = [*map(probe_registry, opened.values()), *(timed(name, test) for name, test in tests.items())]
        outcomes = await asyncio.gather(*probes)
    if problem := playground_problem(settings.server):
        outcomes.append(Probe("playground", 0, problem))
    return outcomes


async def timed(name: str, test: Callable[[], Awaitable[str | None]]) -> Probe:
    started = perf_counter()
    problem = await test()
    return Probe(name, perf_counter() - started, problem)


async def probe_registry(registry: Registry) -> Probe:
    started, problem, advice = perf_counter(), None, ""
    try:
        await registry.fetch(BoundCall(registry.name, registry.kind.probe))
    except RegistryError as error:
        problem, advice = f"{error} ({error.reason})" if error.reason else str(error), hint(error)
    return Probe(registry.name, perf_counter() - started, problem, advice)


async def redis_problem(settings: CacheSettings) -> str | None:
    shared = SharedCache(settings.redis.reveal(), settings.redis_timeout, time.monotonic)
    try:
        problems = await shared.problems()
    finally:
        await shared.close()
    return f"The shared cache cannot be used fully: {'; '.join(problems)}." if problems else None


async def issuer_problem(settings: AccessSettings) -> str | None:
    problem = await key_set(settings.jwks, settings.algorithms, time.time).problem()
    if problem is None:
        return None
    return f"The issuer's keys cannot be fetched ({problem}). Tokens get ISSUER_UNAVAILABLE until they can."


def collector_problem(settings: TelemetrySettings) -> str | None:
    tracing = Tracing(settings.traces)
    accepted = tracing.reaches_collector()
    tracing.close()
    return None if accepted else "The collector does not accept traces. Check the address, and that it speaks OTLP."


def playground_problem(settings: ServerSettings) -> str | None:
    return playground.NOT_INSTALLED if settings.profile == "development" and not is_installed() else None
