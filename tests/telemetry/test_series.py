"""Counters and histograms without locks: their text equals that of the Prometheus library's own."""

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, enable_created_metrics
from prometheus_client.exposition import choose_encoder

from gateway.telemetry.events import CallState
from gateway.telemetry.series import BUCKETS, Counts, Times

HELP = 'Its "help", with a \\ in it.'
LABELS = ("registry", "state")
SERIES = (
    ("pai", CallState.HIT),
    ("pai", CallState.STALE),
    ('a "name"\nwith \\', CallState.HIT),
    ("pai", CallState.HIT),
)
SECONDS = (0.0, 0.0004, 0.001, 0.0011, 0.3, 20.0, 21.5, 1e6)


@pytest.fixture(autouse=True)
def without_created_samples() -> Iterator[None]:
    disable_created_metrics()  # type: ignore[no-untyped-call]
    yield
    enable_created_metrics()  # type: ignore[no-untyped-call]


@pytest.fixture(params=["text/plain", "application/openmetrics-text; version=1.0.0"])
def accept(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def read(accept: str, collectors: CollectorRegistry) -> str:
    encode, _ = choose_encoder(accept)
    return encode(collectors).decode()


def test_a_counter_is_exported_like_the_librarys_own(accept: str) -> None:
    ours, theirs = CollectorRegistry(auto_describe=True), CollectorRegistry(auto_describe=True)
    labelled, plain = Counts("gateway_tried", HELP, LABELS), Counts("gateway_all", HELP, ())
    ours.register(labelled)
    ours.register(plain)
    expected = Counter("gateway_tried", HELP, LABELS, registry=theirs), Counter("gateway_all", HELP, registry=theirs)
    assert read(accept, ours) == read(accept, theirs)
    for registry, state in SERIES:
        labelled.add(registry, state)
        expected[0].labels(registry, state.value).inc()
    plain.add()
    expected[1].inc()
    assert read(accept, ours) == read(accept, theirs)


def test_a_histogram_is_exported_like_the_librarys_own(accept: str) -> None:
    ours, theirs = CollectorRegistry(auto_describe=True), CollectorRegistry(auto_describe=True)
    labelled, plain = Times("gateway_took_seconds", HELP, LABELS), Times("gateway_waited_seconds", HELP, ())
    ours.register(labelled)
    ours.register(plain)
    expected = Histogram("gateway_took_seconds", HELP, LABELS, registry=theirs, buckets=BUCKETS)
    waited = Histogram("gateway_waited_seconds", HELP, registry=theirs, buckets=BUCKETS)
    assert read(accept, ours) == read(accept, theirs)
    for registry, state in SERIES:
        for seconds in SECONDS:
            labelled.add(seconds, registry, state)
            expected.labels(registry, state.value).observe(seconds)
            plain.add(seconds)
            waited.observe(seconds)
    assert read(accept, ours) == read(accept, theirs)
