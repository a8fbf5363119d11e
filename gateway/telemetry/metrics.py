"""Prometheus metrics of one application.

Label values come from the gateway alone: configured names, names of calls, codes. Clients never choose a label value,
so they cannot create series.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import product
from time import perf_counter
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector
from prometheus_client.exposition import choose_encoder

from gateway import __version__
from gateway.errors import Cause, NotFound, RegistryError, RegistryThrottled
from gateway.memory_budget import SHARES
from gateway.telemetry.events import Attempt, CallState, Events
from gateway.telemetry.series import Counts, Times

OPERATIONS = ("query", "mutation", "subscription")
"""Operation types. The type is ``unknown`` if the document is invalid."""

OUTCOMES = ("ok", "partial", "failed", "cancelled")
"""Outcomes of operations, see `OperationReport.outcome`."""

ANSWERED = tuple(state.value for state in CallState if state is not CallState.FAILED)


class MetricDescription(NamedTuple):
    """One row of the documentation table."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


class Metrics(Events):
    """Updates metrics on events. Each application has its own collector registry, so that two applications in one
    process do not share metrics."""

    def __init__(self) -> None:
        self.collectors = CollectorRegistry(auto_describe=True)
        self.descriptions: list[MetricDescription] = []
        ProcessCollector(registry=self.collectors)
        self._gauge("info", "Always 1; the label has the version of the gateway.", "version").labels(__version__).set(1)

        self.exchanges = self._counter("http_requests", "HTTP requests and WebSocket connections, by status.", "status")
        self.operations = self._counter(
            "operations", "Operations, by outcome: ok, partial, failed or cancelled.", "type", "outcome"
        )
        self.operations.start_at_zero(product(OPERATIONS, OUTCOMES))
        self.operation_times = self._histogram("operation_duration", "Duration of operations.", "type")
        self.operation_errors = self._counter("operation_errors", "Errors in GraphQL responses.", "code")
        self.operation_errors.start_at_zero([("INTERNAL_SERVER_ERROR",)])
        self.in_progress = 0
        running = self._gauge("operations_in_progress", "Operations in progress.")
        running.set_function(lambda: self.in_progress)
        self.watchers = self._gauge("watchers", "Open subscriptions.")

        call = ("registry", "call")
        self.attempts = self._counter(
            "upstream_attempts", "Requests sent to registries; code is OK or an error code.", *call, "code"
        )
        self.attempt_times = self._histogram("upstream_attempt_duration", "Duration of requests to registries.", *call)
        self.failures = self._counter("upstream_failures", "Upstream calls that failed for good.", *call, "code")
        self.connection_failures = self._counter(
            "upstream_connection_failures",
            f"Requests without a response; cause is {', '.join(Cause)}.",
            "registry",
            "cause",
        )
        self.reconnects = self._counter(
            "upstream_reconnects", "Requests sent again because an idle connection had ended.", *call
        )
        self.retries = self._counter("upstream_retries", "Requests repeated after a failure.", *call)
        self.hedges = self._counter("upstream_hedges", "Second requests sent because the first was slow.", *call)
        self.throttles = self._counter("upstream_throttles", "Requests that a registry throttled.", *call)
        self.quota_waits = self._histogram(
            "upstream_quota_wait", "Time that requests waited for the rate limit.", "registry"
        )
        self.circuits = self._gauge(
            "circuit_state",
            "1 for the current state of the circuit breaker: CLOSED, OPEN or HALF_OPEN; else 0.",
            "registry",
            "state",
        )
        self.unrenewed = self._gauge(
            "credentials_renewal_failed",
            "1 while a registry's access key cannot be renewed, since its last renewal failed; else 0.",
            "registry",
        )
        self.openings = self._counter("circuit_openings", "Times that a circuit breaker opened.", "registry")

        self.answers = self._counter(
            "cache_answers", f"Upstream calls answered, by source: {', '.join(ANSWERED)}.", *call, "state"
        )
        self.refreshes = self._counter("cache_refreshes", "Background refreshes of stale responses.", *call)
        self.entries = self._gauge("cache_entries", "Upstream responses cached in memory.")
        self.bytes = self._gauge("cache_bytes", "Estimated memory of the cached upstream responses, in bytes.")
        self.memory = self._gauge(
            "memory_budget_bytes", "Estimated memory of each cache and, as total, of all of them, in bytes.", "cache"
        )
        self.lease_waits = self._histogram(
            "lease_wait", "Time spent waiting for another replica that is making the same call."
        )
        self.shared_failures = self._counter("shared_cache_failures", "Failed operations of the shared cache.")

    def _counter(self, name: str, help: str, *labels: str) -> Counts:
        self.descriptions.append(MetricDescription(f"gateway_{name}_total", "counter", labels, help))
        counts = Counts(f"gateway_{name}", help, labels)
        self.collectors.register(counts)
        return counts

    def _gauge(self, name: str, help: str, *labels: str) -> Gauge:
        self.descriptions.append(MetricDescription(f"gateway_{name}", "gauge", labels, help))
        return Gauge(f"gateway_{name}", help, labels, registry=self.collectors)

    def _histogram(self, name: str, help: str, *labels: str) -> Times:
        self.descriptions.append(MetricDescription(f"gateway_{name}_seconds", "histogram", labels, help))
        times = Times(f"gateway_{name}_seconds", help, labels)
        self.collectors.register(times)
        return times

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics as text, and the media type, for a scraper's ``Accept`` header."""
        encode, media_type = choose_encoder(accept)
        return encode(self.collectors), media_type

    def watch_circuit(self, registry: str, states: Iterable[str], state: Callable[[], str]) -> None:
        """Export the state of a registry's circuit breaker. It is read at each scrape, as it changes with time."""
        for candidate in states:
            self.circuits.labels(registry, candidate).set_function(partial(is_in, state, candidate))

    def watch_credentials(self, registry: str, problem: Callable[[], str | None]) -> None:
        """Export whether the last renewal of a registry's access key failed."""
        self.unrenewed.labels(registry).set_function(lambda: problem() is not None)

    def watch_cache(self, entries: Callable[[], int], size: Callable[[], int]) -> None:
        """Export the number of entries and the size of the cache."""
        self.entries.set_function(entries)
        self.bytes.set_function(size)

    def watch_memory(self, sizes: Callable[[], Mapping[str, int]]) -> None:
        """Export the memory of the caches, by name."""
        for name in (*SHARES, "total"):
            self.memory.labels(name).set_function(partial(size_of, sizes, name))

    def attempted(self, attempt: Attempt, error: BaseException | None) -> None:
        registry, call = attempt.registry, attempt.call
        if error is None or isinstance(error, NotFound):
            code = "OK"
        else:
            code = error.code if isinstance(error, RegistryError) else "CANCELLED"
            if isinstance(error, RegistryError) and error.cause is not None:
                self.connection_failures.add(registry, error.cause.value)
            if isinstance(error, RegistryThrottled):
                self.throttles.add(registry, call)
        self.attempts.of[registry, call, code] += 1
        self.attempt_times.add(perf_counter() - attempt.started, registry, call)

    def answered(self, registry: str, call: str, state: CallState) -> None:
        self.answers.of[registry, call, state] += 1

    def answered_from_cache(self, answers: Mapping[tuple[str, str, CallState], int]) -> None:
        counts = self.answers.of
        for answered, times in answers.items():
            counts[answered] += times

    def failed(self, registry: str, call: str, error: RegistryError) -> None:
        self.failures.add(registry, call, error.code)

    def refreshed(self, registry: str, call: str) -> None:
        self.refreshes.add(registry, call)

    def waited(self, registry: str, seconds: float) -> None:
        self.quota_waits.add(seconds, registry)

    def retried(self, registry: str, call: str) -> None:
        self.retries.add(registry, call)

    def reconnected(self, registry: str, call: str) -> None:
        self.reconnects.add(registry, call)

    def hedged(self, registry: str, call: str) -> None:
        self.hedges.add(registry, call)

    def opened(self, registry: str) -> None:
        self.openings.add(registry)

    def leased(self, seconds: float) -> None:
        self.lease_waits.add(seconds)

    def shared_cache_failed(self) -> None:
        self.shared_failures.add()


def is_in(state: Callable[[], str], candidate: str) -> float:
    return float(state() == candidate)


def size_of(sizes: Callable[[], Mapping[str, int]], name: str) -> float:
    return sizes().get(name, 0)


def table() -> str:
    """Return the documentation of all metrics as a Markdown table."""
    header = "| Metric | Type | Labels | Meaning |\n| --- | --- | --- | --- |\n"
    return header + "".join(
        f"| `{metric.name}` | {metric.type} | {', '.join(metric.labels)} | {metric.help} |\n"
        for metric in Metrics().descriptions
    )
