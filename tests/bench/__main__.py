"""``python -m tests.bench``: measures everything, and writes ``build/bench/results.md`` and ``growth.svg``."""

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

from tests.bench import growth, kept, report, targets
from tests.bench.load import ask, measured, session
from tests.bench.processes import Server
from tests.bench.questions import Q4, QUESTIONS, SETS

LIBRARIES = ("uvicorn", "uvloop", "httptools", "orjson", "graphql-core", "strawberry-graphql", "aiohttp")
KEPT_MODELS = 20_000


async def answered(server: Server, path: str = "/graphql") -> dict[str, bytes]:
    """The first answer to each question, of each set of variables: what is kept afterwards is kept for all."""
    connections = session(server.address)
    found = {}
    for question in QUESTIONS:
        bodies = [await ask(connections, path, question.body(number)) for number in range(SETS)]
        found[question.name] = bodies[0]
    await connections.close()
    return found


def agree(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> None:
    """Raises RuntimeError where two servers do not answer the same."""
    for name, body in one.items():
        if orjson.loads(body)["data"] != orjson.loads(other[name])["data"]:
            raise RuntimeError(f"{name} is answered differently: {body[:300]!r} and {other[name][:300]!r}")


async def compared(rounds: int, seconds: float) -> Mapping[str, Mapping[str, float]]:
    """Microseconds of CPU by target and question: medians of rounds in which each target has its turn."""
    figures: dict[str, defaultdict[str, list[float]]] = {}
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(targets.cloud())
        cold = await stack.enter_async_context(targets.gateway(address, kept=False))
        hot = await stack.enter_async_context(targets.gateway(address, kept=True))
        naive = await stack.enter_async_context(targets.naive(address))
        bodies = await answered(hot)
        agree(bodies, await answered(cold))
        agree(bodies, await answered(naive))
        raw = await stack.enter_async_context(targets.raw(bodies))

        async def turn(name: str, server: Server, path: str, question: str, step: int, start: int) -> None:
            asked = next(one for one in QUESTIONS if one.name == question)
            path = path.format(question)
            cost = await measured(server, path, lambda n: asked.body(n * step % SETS + start), seconds)
            figures.setdefault(name, defaultdict(list))[question].append(cost.cpu)

        for again in range(rounds):
            for question in QUESTIONS:
                name = question.name
                await turn(report.NAIVE, naive, "/graphql", name, 1, 0)
                await turn("gateway, nothing kept", cold, "/graphql", name, 1, 0)
                await turn("gateway, kept, 50 sets of variables in turn", hot, "/graphql", name, 1, 0)
                await turn("gateway, kept, the same query", hot, "/graphql", name, 0, 0)
                if question.endless:
                    never = 1_000_000 * (again + 1)
                    cost = await measured(hot, "/graphql", question.body, seconds, first=never)
                    row = figures.setdefault("gateway, kept, variables never seen", defaultdict(list))
                    row[name].append(cost.cpu)
                await turn(report.LIMIT, raw, "/{}", name, 0, 0)
    return {target: {name: median(costs) for name, costs in row.items()} for target, row in figures.items()}


async def start_time(rounds: int) -> float:
    """Seconds from starting the gateway to its first answer."""
    times = []
    async with targets.cloud() as address:
        for _ in range(rounds):
            async with targets.gateway(address, kept=True) as server:
                connections = session(server.address)
                await ask(connections, "/graphql", Q4.body(0))
                times.append(perf_counter() - server.begun)
                await connections.close()
    return median(times)


async def results(
    rounds: int, seconds: float, sizes: Mapping[str, Sequence[int]], models: int = KEPT_MODELS
) -> tuple[str, str]:
    """What was measured, as Markdown, and the plot of what grows, as SVG."""
    figures = await compared(rounds, seconds)
    grown = [one async for one in growth.series(seconds, {name: list(many) for name, many in sizes.items()})]
    started = await start_time(rounds)
    size = (await kept.of(models))["bytes"]
    told = [
        f"# Benchmark of {date.today():%Y-%m-%d}",
        f"{cpu_count()} CPUs ({platform.machine()}), Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
        + f". Medians of {rounds} interleaved rounds of {seconds:g} s with 16 clients; CPU time of the server's "
        "process as Linux tells it.",
        "\n".join(f"- {one.name}: {one.about}" for one in QUESTIONS),
        report.costs([one.name for one in QUESTIONS], figures),
        report.growths(grown),
        f"A model that is kept takes {size:,.0f} bytes. From start to first answer: {started:.2f} s.",
    ]
    return "\n\n".join(told) + "\n", report.plot(grown)


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
