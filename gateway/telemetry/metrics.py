"""The figures of one application, for Prometheus.

Labels only take values that the gateway itself knows: configured names, names of calls, codes. Nothing that a client
chooses is a label, so that no client can make series.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from time import perf_counter
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector
from prometheus_client.exposition import choose_encoder

from gateway import __version__
from gateway.errors import Cause, NotFound, RegistryError, RegistryThrottled
from gateway.telemetry.events import Attempt, Events, State
from gateway.telemetry.series import Counts, Times

OPERATIONS = ("query", "mutation", "subscription")
"""Types of operations; a document that has none of them is an ``unknown`` one."""

ANSWERED = tuple(state.value for state in State if state is not State.FAILED)


class Described(NamedTuple):
    """A metric, as people look it up."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


class Metrics(Events):
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

        call = ("registry", "call")
        self.attempts = self._counter("upstream_attempts", "Requests sent; code is OK or an error's.", *call, "code")
        self.attempt_times = self._histogram("upstream_attempt_duration", "Time of a request to a registry.", *call)
        self.failures = self._counter("upstream_failures", "Questions given up.", *call, "code")
        self.connection_failures = self._counter(
            "upstream_connection_failures",
            f"Requests without a response; cause is {', '.join(Cause)}.",
            "registry",
            "cause",
        )
        self.reconnects = self._counter(
            "upstream_reconnects", "Requests sent again since an idle connection had ended.", *call
        )
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
        self.refreshes = self._counter("cache_refreshes", "Refreshes started behind stale answers.", *call)
        self.entries = self._gauge("cache_entries", "Answers kept in memory.")
        self.bytes = self._gauge("cache_bytes", "Their size as JSON.")
        self.lease_waits = self._histogram("lease_wait", "Time spent waiting for another replica that asks the same.")
        self.shared_failures = self._counter("shared_cache_failures", "Operations of the shared cache that failed.")

    def _counter(self, name: str, help: str, *labels: str) -> Counts:
        self.described.append(Described(f"gateway_{name}_total", "counter", labels, help))
        counts = Counts(f"gateway_{name}", help, labels)
        self.collectors.register(counts)
        return counts

    def _gauge(self, name: str, help: str, *labels: str) -> Gauge:
        self.described.append(Described(f"gateway_{name}", "gauge", labels, help))
        return Gauge(f"gateway_{name}", help, labels, registry=self.collectors)

    def _histogram(self, name: str, help: str, *labels: str) -> Times:
        self.described.append(Described(f"gateway_{name}_seconds", "histogram", labels, help))
        times = Times(f"gateway_{name}_seconds", help, labels)
        self.collectors.register(times)
        return times

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
            if isinstance(error, RegistryError) and error.cause is not None:
                self.connection_failures.add(registry, error.cause.value)
            if isinstance(error, RegistryThrottled):
                self.throttles.add(registry, call)
        self.attempts.of[registry, call, code] += 1
        self.attempt_times.add(perf_counter() - attempt.started, registry, call)

    def answered(self, registry: str, call: str, state: State) -> None:
        self.answers.of[registry, call, state] += 1

    def again(self, answers: Mapping[tuple[str, str, State], int]) -> None:
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


def is_in(state: Callable[[], str], one: str) -> float:
    return float(state() == one)


def table() -> str:
    """The metrics as a table in Markdown."""
    lines = ["| Metric | Type | Labels | Meaning |", "| --- | --- | --- | --- |"]
    found = Metrics().described
    lines += [f"| `{one.name}` | {one.type} | {', '.join(one.labels)} | {one.help} |" for one in found]
    return "\n".join(lines) + "\n"
