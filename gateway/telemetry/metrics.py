"""The figures of one application, for Prometheus.

Labels only take values that the gateway itself knows: configured names, names of calls, codes. Nothing that a client
chooses is a label, so that no client can make series.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

from gateway import __version__
from gateway.errors import NotFound, RegistryError, RegistryThrottled
from gateway.telemetry.facts import Attempt, Facts, State

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
"""Upper bounds in seconds: from an answer out of memory to the deadline of an operation."""

OPERATIONS = ("query", "mutation", "subscription")
"""Types of operations; a document that has none of them is an ``unknown`` one."""


class Metrics(Facts):
    """Counts facts, in a registry of collectors of its own: applications of one process do not share figures."""

    def __init__(self) -> None:
        self.collectors = of = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=of)
        Gauge("gateway_info", "1, with the version.", ["version"], registry=of).labels(__version__).set(1)

        def counter(name: str, help: str, *labels: str) -> Counter:
            return Counter(f"gateway_{name}", help, labels, registry=of)

        def histogram(name: str, help: str, *labels: str) -> Histogram:
            return Histogram(f"gateway_{name}_seconds", help, labels, registry=of, buckets=BUCKETS)

        self.operations = counter("operations", "Operations answered, by type and outcome.", "type", "outcome")
        self.operation_times = histogram("operation_duration", "Time of an operation, by type.", "type")
        self.operation_errors = counter("operation_errors", "Errors in answers, by code.", "code")
        self.in_progress = Gauge("gateway_operations_in_progress", "Operations being answered.", registry=of)
        self.watchers = Gauge("gateway_watchers", "Subscriptions that are open.", registry=of)

        call = ("registry", "call")
        self.attempts = counter("upstream_attempts", "Requests sent, by outcome: OK or a code.", *call, "code")
        self.attempt_times = histogram("upstream_attempt_duration", "Time of a request to a registry.", *call)
        self.failures = counter("upstream_failures", "Questions given up, by code.", *call, "code")
        self.retries = counter("upstream_retries", "Requests sent again after one that failed.", *call)
        self.hedges = counter("upstream_hedges", "Requests sent beside a slow one.", *call)
        self.throttles = counter("upstream_throttles", "Requests that a registry refused for their rate.", *call)
        self.quota_waits = histogram("upstream_quota_wait", "Time that a request waited for its quota.", "registry")
        self.openings = counter("circuit_openings", "Times that a registry was left alone.", "registry")
        self.circuits = Gauge("gateway_circuit_state", "1 for the state it is in.", ["registry", "state"], registry=of)

        self.answers = counter("cache_answers", "Questions answered, by where from.", *call, "state")
        self.refreshes = counter("cache_refreshes", "Refreshes started behind stale answers.", *call)
        self.entries = Gauge("gateway_cache_entries", "Answers kept in memory.", registry=of)
        self.bytes = Gauge("gateway_cache_bytes", "Their size as JSON.", registry=of)
        self.lease_waits = histogram("lease_wait", "Time spent waiting for another replica that asks the same.")
        self.shared_failures = counter("shared_cache_failures", "Operations of the shared cache that failed.")

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All figures as text, and its media type, by a scraper's ``Accept``."""
        encode, media_type = choose_encoder(accept)
        return encode(self.collectors), media_type

    def watch_circuit(self, registry: str, states: Iterable[str], state: Callable[[], str]) -> None:
        """Show which of its states a registry's circuit is in; the mere passing of time may change it."""
        for one in states:
            self.circuits.labels(registry, one).set_function(partial(is_in, state, one))

    def watch_cache(self, entries: Callable[[], int], size: Callable[[], int]) -> None:
        """Show what is kept in memory."""
        self.entries.set_function(entries)
        self.bytes.set_function(size)

    @contextmanager
    def attempt(self, registry: str, call: str, method: str) -> Iterator[Attempt]:
        started, code = perf_counter(), "CANCELLED"
        try:
            with super().attempt(registry, call, method) as attempt:
                yield attempt
            code = "OK"
        except RegistryError as error:
            code = "OK" if isinstance(error, NotFound) else error.code
            if isinstance(error, RegistryThrottled):
                self.throttles.labels(registry, call).inc()
            raise
        finally:
            self.attempts.labels(registry, call, code).inc()
            self.attempt_times.labels(registry, call).observe(perf_counter() - started)

    def answered(self, registry: str, call: str, state: State) -> None:
        super().answered(registry, call, state)
        self.answers.labels(registry, call, state.value).inc()

    def failed(self, registry: str, call: str, error: RegistryError) -> None:
        self.failures.labels(registry, call, error.code).inc()

    def refreshed(self, registry: str, call: str) -> None:
        self.refreshes.labels(registry, call).inc()

    def waited(self, registry: str, seconds: float) -> None:
        self.quota_waits.labels(registry).observe(seconds)

    def retried(self, registry: str, call: str) -> None:
        self.retries.labels(registry, call).inc()

    def hedged(self, registry: str, call: str) -> None:
        self.hedges.labels(registry, call).inc()

    def opened(self, registry: str) -> None:
        self.openings.labels(registry).inc()

    def leased(self, seconds: float) -> None:
        self.lease_waits.observe(seconds)

    def shared_cache_failed(self) -> None:
        self.shared_failures.inc()


def is_in(state: Callable[[], str], one: str) -> float:
    return float(state() == one)
