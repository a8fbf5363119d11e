"""How the CPU time of a request grows with the size of a page, the number of clients, and so on."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import orjson

from tests.bench import cache_costs, targets
from tests.bench.load import CLIENTS, measured, send_query, session
from tests.bench.processes import Server
from tests.bench.queries import Q1

DEEP_PAGE = 10
"""Rows of a page that is deep in a list."""


@dataclass(frozen=True)
class Series:
    """Microseconds of CPU by size. If ``flat``, the cost should be constant; otherwise at most linear."""

    name: str
    unit: str
    flat: bool
    points: tuple[tuple[int, float], ...]


def listing(first: int) -> Callable[[int], bytes]:
    """Return a function that builds a different request for a page of ``first`` rows for each number."""
    text = Q1.text.replace("first: 100", f"first: {first}")
    return lambda number: orjson.dumps({"query": text, "variables": Q1.variables(number)})


def page(first: int, after: str | None) -> bytes:
    text = """query ($first: Int!, $after: String) {
      models(first: $first, after: $after, filter: {registries: ["pai"]}) {
        nodes { id name createdAt } pageInfo { endCursor } } }"""
    return orjson.dumps({"query": text, "variables": {"first": first, "after": after}})


async def cursors(server: Server, depths: list[int]) -> Mapping[int, str | None]:
    """Return the cursor before each of these page numbers, found by paging through the list."""
    connections, after, found = session(server.address), None, dict[int, str | None]()
    at = 1
    for depth in sorted(depths):
        while at < depth:
            pages = min(10, depth - at)
            answer = orjson.loads(await send_query(connections, "/graphql", page(DEEP_PAGE * pages, after)))
            after, at = answer["data"]["models"]["pageInfo"]["endCursor"], at + pages
        found[depth] = after
    await connections.close()
    return found


async def series(seconds: float, sizes: Mapping[str, list[int]]) -> AsyncIterator[Series]:
    """Measure all series, one after the other, with the given sizes."""

    async def cost(server: Server, body: Callable[[int], bytes], clients: int = CLIENTS, first: int = 0) -> float:
        return (await measured(server, "/graphql", body, seconds, clients, first)).cpu

    async with targets.cloud() as address, targets.gateway(address, cached=True) as server:
        rows = [(first, await cost(server, listing(first))) for first in sizes["rows of a page"]]
        yield Series("rows of a page", "rows", False, tuple(rows))
        clients = [(many, await cost(server, listing(10), many)) for many in sizes["concurrent clients"]]
        yield Series("concurrent clients", "clients", True, tuple(clients))

    depths = sizes["depth of a page"]
    async with targets.cloud(DEEP_PAGE * (max(depths) + 1)) as address:
        async with targets.gateway(address, cached=True) as server:
            bodies = {depth: page(DEEP_PAGE, after) for depth, after in (await cursors(server, depths)).items()}
        async with targets.gateway(address, cached=False) as server:
            deep = [(depth, await cost(server, lambda _, body=body: body)) for depth, body in bodies.items()]
            yield Series("depth of a page", "pages", True, tuple(deep))

    async with targets.cloud() as address:
        registries: list[tuple[int, float]] = []
        for many in sizes["registries"]:
            async with targets.gateway(address, cached=True, many=many) as server:
                registries.append((many, await cost(server, listing(50))))
        yield Series("registries", "registries", False, tuple(registries))

    entries = [(many, (await cache_costs.measure(many, small=True))["cpu"]) for many in sizes["cache entries"]]
    yield Series("cache entries", "entries", True, tuple(entries))


FULL: Mapping[str, list[int]] = {
    "rows of a page": [1, 10, 25, 50, 100],
    "concurrent clients": [1, 10, 100, 1000],
    "depth of a page": [1, 10, 100, 1000],
    "registries": [2, 5, 10, 20],
    "cache entries": [1_000, 10_000, 100_000, 1_000_000],
}
LEAST: Mapping[str, list[int]] = {
    "rows of a page": [1, 2],
    "concurrent clients": [1, 2],
    "depth of a page": [1, 2],
    "registries": [2, 3],
    "cache entries": [10, 20],
}
