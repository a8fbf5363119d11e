"""Counters and histograms without locks, for Prometheus.

The library's own metrics take a lock for every sample. These belong to the thread of the event loop, which updates and
reads them.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
"""Upper bounds in seconds, from a response out of the cache to the deadline of an operation."""

BOUNDS = (*map(str, BUCKETS), "+Inf")

Labels = tuple[Hashable, ...]
"""The values of a series' labels."""


class Counts(Collector):
    """A counter. ``of`` maps label values to the count and may be updated directly.

    Without labels, the series exists from the start with the value 0.
    """

    def __init__(self, name: str, help: str, labels: tuple[str, ...]) -> None:
        self.name, self.help, self.labels = name, help, labels
        self.of: defaultdict[Labels, int] = defaultdict(int, {} if labels else {(): 0})

    def start_at_zero(self, series: Iterable[Labels]) -> None:
        """Let series exist before they are counted, so that Prometheus sees the first count as an increase."""
        self.of |= dict.fromkeys(series, 0)

    def add(self, *labels: Hashable) -> None:
        self.of[labels] += 1

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self.name, self.help, labels=self.labels)
        for labels, count in self.of.items():
            family.add_metric([*map(str, labels)], count)
        yield family


class Times(Collector):
    """A histogram of durations in seconds, with `BUCKETS`. Without labels, the series exists from the start."""

    def __init__(self, name: str, help: str, labels: tuple[str, ...]) -> None:
        self.name, self.help, self.labels = name, help, labels
        self._series: defaultdict[Labels, list[float]] = defaultdict(lambda: [0] * len(BOUNDS) + [0.0])
        if not labels:
            self._series[()]

    def add(self, seconds: float, *labels: Hashable) -> None:
        series = self._series[labels]  # the count of each bucket, then the sum
        series[bisect_left(BUCKETS, seconds)] += 1
        series[-1] += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self.name, self.help, labels=self.labels)
        for labels, (*counts, total) in self._series.items():
            family.add_metric([*map(str, labels)], [*zip(BOUNDS, accumulate(counts), strict=True)], total)
        yield family
