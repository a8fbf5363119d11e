"""The figures of one application, for Prometheus.

Labels only take values that the gateway itself knows: configured names, names of calls, codes. Nothing that a client
chooses is a label, so that no client can make series.
"""

from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from gateway import __version__
from gateway.errors import NotFound, RegistryError, RegistryThrottled
from gateway.telemetry.facts import Attempt, Facts, State

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
"""Upper bounds in seconds: from an answer out of memory to the deadline of an operation."""

OPERATIONS = ("query", "mutation", "subscription")
"""Types of operations; a document that has none of them is an ``unknown`` one."""


disable_created_metrics()  # type: ignore[no-untyped-call] # a series beside each series, which nobody asks for

ANSWERED = tuple(state.value for state in State if state is not State.FAILED)


class Described(NamedTuple):
    """A metric, as people look it up."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


class Metrics(Facts):
    """Counts facts, in a registry of collectors of its own: applications of one process do not share figures."""

    def __init__(self) -> None:
        self.collectors = CollectorRegistry(auto_describe=True)
        self.described: list[Described] = []
        ProcessCollector(registry=self.collectors)
        self._gauge("info", "1, and the version.", "version").labels(__version__).set(1)

        self.exchanges = self._counter("http_requests", "HTTP requests and WebSockets, by status.", "status")
        self.operations = self._counter("operations", "Operations: ok, partial, failed, cancelled.", "type", "outcome")
        self.operation_times = self._histogram("operation_duration", "Time of an operation.", "type")
        self.operation_errors = self._counter("operation_errors", "Errors in answers.", "code")
        self.in_progress = 0
        running = self._gauge("operations_in_progress", "Operations being answered.")
        running.set_function(lambda: self.in_progress)
        self.watchers = self._gauge("watchers", "Subscriptions that are open.")

        self._ended: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._exchanged: dict[int | None, Counter] = {}

        call = ("registry", "call")
        self.attempts = self._counter("upstream_attempts", "Requests sent; code is OK or an error's.", *call, "code")
        self.attempt_times = self._histogram("upstream_attempt_duration", "Time of a request to a registry.", *call)
        self.failures = self._counter("upstream_failures", "Questions given up.", *call, "code")
        self.retries = self._counter("upstream_retries", "Requests sent again after one that failed.", *call)
        self.hedges = self._counter("upstream_hedges", "Requests sent beside a slow one.", *call)
        self.throttles = self._counter("upstream_throttles", "Requests refused by a registry for their rate.", *call)
        self.quota_waits = self._histogram(
            "upstream_quota_wait", "Time that a request waited for its turn.", "registry"
        )
        self.circuits = self._gauge(
            "circuit_state",
            "1 for the state that a registry's circuit is in: CLOSED, OPEN or HALF_OPEN.",
            "registry",
            "state",
        )
        self.openings = self._counter("circuit_openings", "Times that a registry was left alone.", "registry")

        self.answers = self._counter("cache_answers", f"Questions answered: {', '.join(ANSWERED)}.", *call, "state")
        self._answered: dict[tuple[str, str, State], Counter] = {}
        self._attempted: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}
        self._waited: dict[str, Histogram] = {}
        self.refreshes = self._counter("cache_refreshes", "Refreshes started behind stale answers.", *call)
        self.entries = self._gauge("cache_entries", "Answers kept in memory.")
        self.bytes = self._gauge("cache_bytes", "Their size as JSON.")
        self.lease_waits = self._histogram("lease_wait", "Time spent waiting for another replica that asks the same.")
        self.shared_failures = self._counter("shared_cache_failures", "Operations of the shared cache that failed.")

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        self.described.append(Described(f"gateway_{name}_total", "counter", labels, help))
        return Counter(f"gateway_{name}", help, labels, registry=self.collectors)

    def _gauge(self, name: str, help: str, *labels: str) -> Gauge:
        self.described.append(Described(f"gateway_{name}", "gauge", labels, help))
        return Gauge(f"gateway_{name}", help, labels, registry=self.collectors)

    def _histogram(self, name: str, help: str, *labels: str) -> Histogram:
        self.described.append(Described(f"gateway_{name}_seconds", "histogram", labels, help))
        return Histogram(f"gateway_{name}_seconds", help, labels, registry=self.collectors, buckets=BUCKETS)

    def ended(self, kind: str, outcome: str, seconds: float) -> None:
        """An operation has ended."""
        if (kind, outcome) not in self._ended:  # looking a series up by its labels costs more than counting
            self._ended[kind, outcome] = self.operations.labels(kind, outcome), self.operation_times.labels(kind)
        operations, times = self._ended[kind, outcome]
        operations.inc()
        times.observe(seconds)

    def exchanged(self, status: int | None) -> None:
        """An HTTP request, or a WebSocket, has ended."""
        if status not in self._exchanged:
            self._exchanged[status] = self.exchanges.labels(status or "none")
        self._exchanged[status].inc()

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

    def attempted(self, attempt: Attempt, error: BaseException | None) -> None:
        registry, call = attempt.registry, attempt.call
        if error is None or isinstance(error, NotFound):
            code = "OK"
        else:
            code = error.code if isinstance(error, RegistryError) else "CANCELLED"
            if isinstance(error, RegistryThrottled):
                self.throttles.labels(registry, call).inc()
        if (registry, call, code) not in self._attempted:
            series = self.attempts.labels(registry, call, code), self.attempt_times.labels(registry, call)
            self._attempted[registry, call, code] = series
        attempts, times = self._attempted[registry, call, code]
        attempts.inc()
        times.observe(perf_counter() - attempt.started)

    def answered(self, registry: str, call: str, state: State, times: int = 1) -> None:
        super().answered(registry, call, state, times)
        if (registry, call, state) not in self._answered:
            self._answered[registry, call, state] = self.answers.labels(registry, call, state.value)
        self._answered[registry, call, state].inc(times)

    def failed(self, registry: str, call: str, error: RegistryError) -> None:
        self.failures.labels(registry, call, error.code).inc()

    def refreshed(self, registry: str, call: str) -> None:
        self.refreshes.labels(registry, call).inc()

    def waited(self, registry: str, seconds: float) -> None:
        if registry not in self._waited:
            self._waited[registry] = self.quota_waits.labels(registry)
        self._waited[registry].observe(seconds)

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


def table() -> str:
    """The metrics as a table in Markdown."""
    lines = ["| Metric | Type | Labels | Meaning |", "| --- | --- | --- | --- |"]
    found = Metrics().described
    lines += [f"| `{one.name}` | {one.type} | {', '.join(one.labels)} | {one.help} |" for one in found]
    return "\n".join(lines) + "\n"
