"""How the CPU time of a request grows with the size of a page, the number of clients, and so on."""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, repeat

import orjson

from tests.bench import cache_costs, targets
from tests.bench.load import CLIENTS, measured, send_all, session
from tests.bench.paging import ROWS, cursors, page
from tests.bench.processes import Server
from tests.bench.queries import Q1


@dataclass(frozen=True)
class Series:
    """Microseconds of CPU by size. If ``flat``, the cost should be constant; otherwise at most linear."""

    name: str
    flat: bool
    points: tuple[tuple[int, float], ...]


async def series(seconds: float, sizes: Mapping[str, list[int]]) -> AsyncIterator[Series]:
    """Measure all series, one after the other, with the given sizes."""
    unseen = count()

    def listing(first: int) -> Iterator[bytes]:
        """Yield requests for a page of ``first`` rows with a filter that no request named before."""
        text = Q1.text.replace("first: 100", f"first: {first}")
        return (orjson.dumps({"query": text, "variables": Q1.variables(number)}) for number in unseen)

    async def cost(server: Server, bodies: Iterator[bytes], clients: int = CLIENTS) -> float:
        return (await measured(server, bodies, seconds, clients)).cpu

    async with targets.cloud() as address, targets.gateway(address, cached=True) as server:
        rows = [(first, await cost(server, listing(first))) for first in sizes["rows of a page"]]
        yield Series("rows of a page", False, tuple(rows))
        clients = [(many, await cost(server, listing(10), many)) for many in sizes["concurrent clients"]]
        yield Series("concurrent clients", True, tuple(clients))

    facets: list[tuple[int, float]] = []
    for many in sizes["models in facets"]:
        async with targets.cloud(many) as address, targets.gateway(address, cached=True) as server:
            await send_all(server, iter([facet(next(unseen))]))  # reads the lists
            facets.append((many, await cost(server, map(facet, unseen))))
    yield Series("models in facets", False, tuple(facets))

    depths = sizes["depth of a page"]
    async with targets.cloud(ROWS * (max(depths) + 1)) as address:
        async with targets.gateway(address, cached=True) as server, session(server.address) as connections:
            before = [None, *await cursors(connections, ROWS * (max(depths) - 1))]
        async with targets.gateway(address, cached=False) as server:
            deep = [(depth, await cost(server, repeat(page(before[ROWS * (depth - 1)])))) for depth in depths]
            yield Series("depth of a page", True, tuple(deep))

    async with targets.cloud() as address:
        registries: list[tuple[int, float]] = []
        for many in sizes["registries"]:
            async with targets.gateway(address, cached=True, many=many) as server:
                registries.append((many, await cost(server, listing(50))))
        yield Series("registries", False, tuple(registries))

    entries = [(many, (await cache_costs.measure(many, small=True))["cpu"]) for many in sizes["cache entries"]]
    yield Series("cache entries", True, tuple(entries))


def facet(number: int) -> bytes:
    """Return a request for facets with a filter that no request named before."""
    text = """query ($since: DateTime!) { models(first: 1, filter: {ownership: OWN, createdAt: {from: $since}}) {
      facets(fields: [REGISTRY, TYPE, PROVIDER, FRAMEWORK]) { field exact values { value count } } } }"""
    return orjson.dumps({"query": text, "variables": Q1.variables(number)})


FULL: Mapping[str, list[int]] = {
    "rows of a page": [1, 10, 25, 50, 100],
    "concurrent clients": [1, 10, 100, 1000],
    "models in facets": [200, 2_000, 20_000],
    "depth of a page": [1, 10, 100, 1000],
    "registries": [2, 5, 10, 20],
    "cache entries": [1_000, 10_000, 100_000],
}
