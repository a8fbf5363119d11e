"""The benchmark itself: it compares equal responses and reports readable results. Speed is not tested."""

import sys
from xml.etree import ElementTree

import pytest

from tests.bench import cache_costs, growth, report
from tests.bench.__main__ import check_equal, compare
from tests.bench.growth import Series
from tests.bench.queries import QUERIES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures with Linux's /proc")


async def test_a_round_measures_every_target() -> None:
    figures = await compare(rounds=1, seconds=0.02)
    names = {query.name for query in QUERIES}
    assert [target for target, row in figures.items() if set(row) != names] == ["gateway, cached, new variables"]
    assert all(cost > 0 for row in figures.values() for cost in row.values())


def test_targets_with_different_responses_are_not_compared() -> None:
    with pytest.raises(RuntimeError, match="Q1 is answered differently"):
        check_equal({"Q1": b'{"data": {"models": []}}'}, {"Q1": b'{"data": {"models": null}}'})


async def test_a_cache_entry_has_a_size_and_a_cost() -> None:
    figures = await cache_costs.measure_here(50)
    assert set(figures) == {"bytes", "cpu"}


def test_costs_are_reported_relative_to_the_naive_gateway_and_the_limit() -> None:
    figures = {report.NAIVE: {"Q1": 5000.0}, "gateway": {"Q1": 250.0}, "other": {}, report.LIMIT: {"Q1": 25.0}}
    assert report.costs(["Q1"], figures).splitlines()[2:] == [
        "| naive Strawberry | 5,000 (1 ×, 0.5 %) |",
        "| gateway | 250 (20 ×, 10 %) |",
        "| other |  |",
        "| limit: prepared bytes | 25 (200 ×, 100 %) |",
    ]


def test_the_plot_has_a_point_for_each_measurement() -> None:
    drawn = [Series(name, name, True, ((1, 90.0), (10, 110.0), (100, 2000.0))) for name in growth.FULL]
    plot = ElementTree.fromstring(report.plot(drawn))  # noqa: S314
    assert len(plot.findall(".//{*}circle")) == 3 * len(growth.FULL)
    assert [text.text for text in plot.findall(".//{*}text[@font-size]")] == [
        f"µs of CPU by {name}" for name in growth.FULL
    ]
