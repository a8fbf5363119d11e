"""Measure everything, and write ``results.md``, ``results.json`` (the ratios) and ``growth.svg`` to ``build/bench``."""

import argparse
import asyncio
import platform
import sys
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from os import cpu_count
from pathlib import Path
from statistics import median
from time import perf_counter

import orjson

from tests.bench import cache_costs, growth, report, targets
from tests.bench.load import CLIENTS, send_query, session
from tests.bench.queries import Q4, QUERIES
from tests.bench.requests import Sizes, tables
from tests.bench.tables import Table, guarded, recorded, worse

LIBRARIES = ("uvicorn", "uvloop", "httptools", "orjson", "graphql-core", "strawberry-graphql", "aiohttp")
CACHED_MODELS = 20_000


async def start_time(rounds: int) -> float:
    """Return the seconds from the start of the gateway to its first response."""
    times = []
    async with targets.cloud() as address:
        for _ in range(rounds):
            async with targets.gateway(address, cached=True) as server, session(server.address) as connections:
                await send_query(connections, Q4.body(0))
                times.append(perf_counter() - server.started)
    return median(times)


async def measure(rounds: int, seconds: float) -> tuple[list[Table], str, str]:
    """Run all measurements. Returns the tables, all of them as Markdown, and the plots of growth as SVG."""
    found = await tables(rounds, seconds, Sizes())
    grown = [series async for series in growth.series(seconds, growth.FULL)]
    started = await start_time(rounds)
    size = (await cache_costs.measure(CACHED_MODELS))["bytes"]
    sections = [
        f"# Benchmark of {date.today():%Y-%m-%d}",
        f"{cpu_count()} CPUs ({platform.machine()}), Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
        + f". Medians of {rounds} interleaved rounds of {seconds:g} s with {CLIENTS} clients, unless stated otherwise; "
        "CPU time of the server's process as reported by Linux. In parentheses: divided by each reference; less "
        "is better.",
        "\n".join(f"- {query.name}: {query.about}" for query in QUERIES),
        *map(report.section, found),
        f"## Growth\n\n{report.growths(grown)}",
        f"A cached model takes {size:,.0f} bytes. From start to first response: {started:.2f} s.",
    ]
    return found, "\n\n".join(sections) + "\n", report.plot(grown)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--folder", type=Path, default=Path("build/bench"))
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="FILE",
        help="results.json of another run; exit with 1 if a figure is more than 25 %% worse in both its ratios",
    )
    options = parser.parse_args(arguments)
    try:
        before = recorded(options.compare) if options.compare else None
    except ValueError as error:
        parser.error(f"argument --compare: {error}")
    found, text, plot = asyncio.run(measure(options.rounds, options.seconds))
    ratios = {one.name: one.ratios() for one in found}
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "results.md").write_text(text, encoding="utf-8")
    (options.folder / "results.json").write_bytes(orjson.dumps(ratios, option=orjson.OPT_INDENT_2))
    (options.folder / "growth.svg").write_text(plot, encoding="utf-8")
    print(text)
    if before is not None:
        lines = worse(before, guarded(ratios))
        print("\n".join(["Worse than the recorded run:", *lines] if lines else ["Nothing is worse."]))
        sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
