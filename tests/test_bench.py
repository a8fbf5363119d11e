"""The benchmark itself: it compares equal responses and reports readable results. Speed is not tested."""

import sys
from pathlib import Path
from xml.etree import ElementTree

import orjson
import pytest

from tests.bench import cache_costs, growth, report, targets
from tests.bench.__main__ import main
from tests.bench.growth import Series
from tests.bench.load import count_calls, session
from tests.bench.queries import QUERIES
from tests.bench.requests import Sizes, check_equal, costs, introspection, next_page
from tests.bench.tables import LIMIT, NAIVE, Guarded, Table, guarded, recorded, worse

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures with Linux's /proc")


SIZES = Sizes(ids=60, depth=1, clients=2)


def columns(table: Table) -> list[list[str]]:
    """Return the columns of each row that has a cost."""
    return [[name for name, figure in row.items() if figure.cost > 0] for row in table.medians().values()]


async def test_a_round_measures_every_query_in_every_table() -> None:
    found = {table.name: table for table in await costs(1, 0.02, SIZES)}
    names = [query.name for query in QUERIES]
    assert {name: columns(table) for name, table in found.items()} == {
        "Never requested before": [names, names, ["Q1", "Q3"], ["Q2", "Q4"]],
        "Cold, one connection": [names] * 3,
        "Cold, 16 connections": [names] * 3,
        "Requested again": [names] * 4,
        "Mixed load": [["gateway"]] * 2,
    }
    alone = found["Cold, one connection"].medians()
    assert [figure.calls for figure in alone["gateway"].values()] == [2, 2, 51, 1]
    assert [figure.calls for figure in alone[LIMIT].values()] == [0, 0, 0, 0]


async def test_a_round_measures_the_next_page() -> None:
    table = await next_page(1, 0.02, SIZES)
    assert list(table.medians()) == ["first page", "1 pages deep"]
    assert columns(table) == [["gateway"]] * 2


async def test_a_round_measures_introspection() -> None:
    table = await introspection(1, 0.02)
    assert list(table.medians()) == ["plain Strawberry", "gateway"]
    assert columns(table) == [["introspection"]] * 2


async def test_the_upstream_counts_its_calls() -> None:
    async with targets.cloud() as address, session(address) as connections:
        for _ in range(3):
            async with connections.get("/api/v1/models"):
                pass
        assert await count_calls(address) == 3
        assert await count_calls(address) == 3


def test_targets_with_different_responses_are_not_compared() -> None:
    with pytest.raises(RuntimeError, match="Q1 is answered differently"):
        check_equal({"Q1": b'{"data": {"models": []}}'}, {"Q1": b'{"data": {"models": null}}'})


async def test_a_cache_entry_has_a_size_and_a_cost() -> None:
    figures = await cache_costs.measure_here(50)
    assert set(figures) == {"bytes", "cpu"}


# Report


def sample(calls: bool = False) -> Table:
    table = Table("Cold", "About it.", calls=calls)
    for cost in (200.0, 300.0, 250.0):
        table.add("gateway", "Q1", cost, 2.0)
    table.add(NAIVE, "Q1", 5000.0, 2.0)
    table.add(NAIVE, "Q2", 4000.0, 1.0)
    table.add(LIMIT, "Q1", 25.0)
    return table


def test_a_table_has_medians_and_their_ratios_to_the_references() -> None:
    assert report.section(sample()).splitlines() == [
        "## Cold",
        "",
        "About it.",
        "",
        "| µs of CPU (÷ naive Strawberry, ÷ prebuilt bytes) | Q1 | Q2 |",
        "| --- | --: | --: |",
        "| naive Strawberry | 5,000 | 4,000 |",
        "| prebuilt bytes | 25 |  |",
        "| gateway | 250 (0.05, 10) |  |",
    ]


def test_a_table_can_have_the_upstream_calls() -> None:
    assert report.section(sample(calls=True)).splitlines()[4:] == [
        "| µs of CPU (÷ naive Strawberry, ÷ prebuilt bytes); calls | Q1 | Q2 |",
        "| --- | --: | --: |",
        "| naive Strawberry | 5,000; 2 | 4,000; 1 |",
        "| prebuilt bytes | 25; 0 |  |",
        "| gateway | 250 (0.05, 10); 2 |  |",
    ]


def test_the_plot_has_a_point_for_each_measurement() -> None:
    drawn = [Series(name, True, ((1, 90.0), (10, 110.0), (100, 2000.0))) for name in growth.FULL]
    plot = ElementTree.fromstring(report.plot(drawn))  # noqa: S314
    assert len(plot.findall(".//{*}circle")) == 3 * len(growth.FULL)
    assert [text.text for text in plot.findall(".//{*}text[@font-size]")] == [
        f"µs of CPU by {name}" for name in growth.FULL
    ]


# Comparison


def ratios(naive: float, limit: float, column: str = "Q1") -> Guarded:
    return {("Cold", "gateway", column): {NAIVE: naive, LIMIT: limit}}


@pytest.mark.parametrize(
    ("naive", "limit"),
    [(0.2, 10.0), (0.25, 12.5), (0.3, 12.5), (0.25, 15.0), (0.1, 5.0), (0.4, 5.0)],
    ids=["equal", "at the limit", "one worse", "the other worse", "better", "a faster reference"],
)
def test_a_figure_is_not_worse_unless_both_ratios_grew_by_more_than_a_quarter(naive: float, limit: float) -> None:
    assert worse(ratios(0.2, 10.0), ratios(naive, limit)) == []


def test_a_figure_is_worse_if_both_ratios_grew_by_more_than_a_quarter() -> None:
    before = {**ratios(0.2, 10.0), **ratios(0.2, 10.0, "Q2")}
    now = {**ratios(0.26, 12.6), **ratios(0.2, 10.0, "Q2"), **ratios(9.0, 900.0, "Q3")}
    assert worse(before, now) == ["Cold, gateway, Q1: 0.2 → 0.26 (÷ naive Strawberry), 10 → 12.6 (÷ prebuilt bytes)"]


def test_a_recorded_figure_that_is_no_longer_measured_is_reported() -> None:
    assert worse(ratios(0.2, 10.0), {}) == ["Cold, gateway, Q1: not measured now"]


def test_figures_with_other_references_are_not_compared(tmp_path: Path) -> None:
    pages = Table("Pages", "About them.", references=("first page",))
    pages.add("first page", "gateway", 100.0)
    pages.add("deep page", "gateway", 120.0)
    measured = {table.name: table.ratios() for table in (sample(), pages)}
    assert measured["Pages"] == {"deep page": {"gateway": {"first page": 1.2}}}
    (tmp_path / "results.json").write_bytes(orjson.dumps(measured))
    assert recorded(tmp_path / "results.json") == guarded(measured) == ratios(0.05, 10.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file or directory"),
        ("", "is not the results.json of a run"),
        ("# Benchmark", "is not the results.json of a run"),
        ("{}", "is not the results.json of a run"),
        ("[1]", "is not the results.json of a run"),
        ('{"Cold": 1}', "is not the results.json of a run"),
        ('{"Cold": {"gateway": {"Q1": 3}}}', "is not the results.json of a run"),
        ('{"Cold": {"gateway": {"Q1": {"naive Strawberry": {}, "prebuilt bytes": 1}}}}', "is not the results.json of"),
    ],
)
def test_a_file_that_is_not_a_recorded_run_is_refused_before_the_run(
    content: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit) as ended:
        main(["--compare", str(path)])
    assert ended.value.code == 2
    assert f"argument --compare: {path}" in (error := capsys.readouterr().err)
    assert message in error
