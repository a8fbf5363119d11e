"""``python -m tests.bench`` runs all measurements and writes ``build/bench/results.md`` and ``growth.svg``."""

import argparse
import asyncio
import platform
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import date
from importlib.metadata import version
from os import cpu_count
from pathlib import Path
from statistics import median
from time import perf_counter

import orjson

from tests.bench import cache_costs, growth, report, targets
from tests.bench.load import measured, send_query, session
from tests.bench.processes import Server
from tests.bench.queries import Q4, QUERIES, SETS, Query

LIBRARIES = ("uvicorn", "uvloop", "httptools", "orjson", "graphql-core", "strawberry-graphql", "aiohttp")
CACHED_MODELS = 20_000


async def first_responses(server: Server, path: str = "/graphql") -> dict[str, bytes]:
    """Send every query with every set of variables, to fill the cache; return the first response to each query."""
    connections = session(server.address)
    found = {}
    for query in QUERIES:
        bodies = [await send_query(connections, path, query.body(number)) for number in range(SETS)]
        found[query.name] = bodies[0]
    await connections.close()
    return found


def check_equal(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> None:
    """Raise RuntimeError if two servers return different data for a query."""
    for name, body in one.items():
        if orjson.loads(body)["data"] != orjson.loads(other[name])["data"]:
            raise RuntimeError(f"{name} is answered differently: {body[:300]!r} and {other[name][:300]!r}")


async def compare(rounds: int, seconds: float) -> Mapping[str, Mapping[str, float]]:
    """Return microseconds of CPU per request by target and query: medians of rounds that interleave the targets."""
    figures: dict[str, defaultdict[str, list[float]]] = {}
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(targets.cloud())
        cold = await stack.enter_async_context(targets.gateway(address, cached=False))
        hot = await stack.enter_async_context(targets.gateway(address, cached=True))
        naive = await stack.enter_async_context(targets.naive(address))
        bodies = await first_responses(hot)
        check_equal(bodies, await first_responses(cold))
        check_equal(bodies, await first_responses(naive))
        raw = await stack.enter_async_context(targets.raw(bodies))

        async def measure(target: str, server: Server, path: str, query: Query, step: int) -> None:
            cost = await measured(server, path, lambda number: query.body(number * step % SETS), seconds)
            figures.setdefault(target, defaultdict(list))[query.name].append(cost.cpu)

        for round_number in range(rounds):
            for query in QUERIES:
                await measure(report.NAIVE, naive, "/graphql", query, 1)
                await measure("gateway, no cache", cold, "/graphql", query, 1)
                await measure("gateway, cached, 50 sets of variables in turn", hot, "/graphql", query, 1)
                await measure("gateway, cached, the same query", hot, "/graphql", query, 0)
                if query.unlimited:
                    unseen = 1_000_000 * (round_number + 1)
                    cost = await measured(hot, "/graphql", query.body, seconds, first=unseen)
                    row = figures.setdefault("gateway, cached, new variables", defaultdict(list))
                    row[query.name].append(cost.cpu)
                await measure(report.LIMIT, raw, f"/{query.name}", query, 0)
    return {target: {name: median(costs) for name, costs in row.items()} for target, row in figures.items()}


async def start_time(rounds: int) -> float:
    """Return the seconds from the start of the gateway to its first response."""
    times = []
    async with targets.cloud() as address:
        for _ in range(rounds):
            async with targets.gateway(address, cached=True) as server:
                connections = session(server.address)
                await send_query(connections, "/graphql", Q4.body(0))
                times.append(perf_counter() - server.started)
                await connections.close()
    return median(times)


async def results(
    rounds: int, seconds: float, sizes: Mapping[str, Sequence[int]], models: int = CACHED_MODELS
) -> tuple[str, str]:
    """Run all measurements and return the tables as Markdown and the plots of growth as SVG."""
    figures = await compare(rounds, seconds)
    grown = [series async for series in growth.series(seconds, {name: list(many) for name, many in sizes.items()})]
    started = await start_time(rounds)
    size = (await cache_costs.measure(models))["bytes"]
    sections = [
        f"# Benchmark of {date.today():%Y-%m-%d}",
        f"{cpu_count()} CPUs ({platform.machine()}), Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
        + f". Medians of {rounds} interleaved rounds of {seconds:g} s with 16 clients; CPU time of the server's "
        "process as reported by Linux.",
        "\n".join(f"- {query.name}: {query.about}" for query in QUERIES),
        report.costs([query.name for query in QUERIES], figures),
        report.growths(grown),
        f"A cached model takes {size:,.0f} bytes. From start to first response: {started:.2f} s.",
    ]
    return "\n\n".join(sections) + "\n", report.plot(grown)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--folder", type=Path, default=Path("build/bench"))
    options = parser.parse_args()
    tables, plot = asyncio.run(results(options.rounds, options.seconds, growth.FULL))
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "results.md").write_text(tables, encoding="utf-8")
    (options.folder / "growth.svg").write_text(plot, encoding="utf-8")
    print(tables)


if __name__ == "__main__":
    main()
