"""Series of figures that cost an addition to count, and become Prometheus' own when they are read.

The library's counters take a lock for each figure. These belong to one thread: the event loop's, which also reads them.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
"""Upper bounds in seconds: from an answer out of memory to the deadline of an operation."""

BOUNDS = (*map(str, BUCKETS), "+Inf")

Labels = tuple[Hashable, ...]
"""A series by the values of its labels."""


class Counts(Collector):
    """How often something happened: ``of`` holds the numbers, to be added to. Without labels it begins with zero."""

    def __init__(self, name: str, help: str, labels: tuple[str, ...]) -> None:
        self.name, self.help, self.labels = name, help, labels
        self.of: defaultdict[Labels, int] = defaultdict(int, {} if labels else {(): 0})

    def add(self, *labels: Hashable) -> None:
        self.of[labels] += 1

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self.name, self.help, labels=self.labels)
        for labels, count in self.of.items():
            family.add_metric([*map(str, labels)], count)
        yield family


class Times(Collector):
    """How long something took, in seconds, by `BUCKETS`. Without labels it begins with none."""

    def __init__(self, name: str, help: str, labels: tuple[str, ...]) -> None:
        self.name, self.help, self.labels = name, help, labels
        self._of: defaultdict[Labels, list[float]] = defaultdict(lambda: [0] * len(BOUNDS) + [0.0])
        if not labels:
            self._of[()]

    def add(self, seconds: float, *labels: Hashable) -> None:
        series = self._of[labels]  # how many fell into each bucket, and the sum
        series[bisect_left(BUCKETS, seconds)] += 1
        series[-1] += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self.name, self.help, labels=self.labels)
        for labels, (*counts, total) in self._of.items():
            family.add_metric([*map(str, labels)], [*zip(BOUNDS, accumulate(counts), strict=True)], total)
        yield family
