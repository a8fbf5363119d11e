"""How the cost of an answer grows with what there is of something."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import orjson

from tests.bench import kept, targets
from tests.bench.load import CLIENTS, ask, measured, session
from tests.bench.processes import Server
from tests.bench.questions import Q1

DEEP_PAGE = 10
"""Rows of a page far down."""


@dataclass(frozen=True)
class Series:
    """Microseconds of CPU by how much there is; ``flat``: it should not grow, else not faster than what there is."""

    name: str
    unit: str
    flat: bool
    points: tuple[tuple[int, float], ...]


def listing(first: int) -> Callable[[int], bytes]:
    """Bodies that ask for a page of so many rows, each other than the ones before."""
    text = Q1.text.replace("first: 100", f"first: {first}")
    return lambda number: orjson.dumps({"query": text, "variables": Q1.variables(number)})


def page(first: int, after: str | None) -> bytes:
    text = """query ($first: Int!, $after: String) {
      models(first: $first, after: $after, filter: {registries: ["pai"]}) {
        nodes { id name createdAt } pageInfo { endCursor } } }"""
    return orjson.dumps({"query": text, "variables": {"first": first, "after": after}})


async def cursors(server: Server, depths: list[int]) -> Mapping[int, str | None]:
    """The cursors after which the pages of these numbers begin; found by walking there."""
    connections, after, found = session(server.address), None, dict[int, str | None]()
    at = 1
    for depth in sorted(depths):
        while at < depth:
            pages = min(10, depth - at)
            answer = orjson.loads(await ask(connections, "/graphql", page(DEEP_PAGE * pages, after)))
            after, at = answer["data"]["models"]["pageInfo"]["endCursor"], at + pages
        found[depth] = after
    await connections.close()
    return found


async def series(seconds: float, most: Mapping[str, list[int]]) -> AsyncIterator[Series]:
    """All series, one after the other; ``most`` says how much there is of each."""

    async def cost(server: Server, body: Callable[[int], bytes], clients: int = CLIENTS, first: int = 0) -> float:
        return (await measured(server, "/graphql", body, seconds, clients, first)).cpu

    async with targets.cloud() as address, targets.gateway(address, kept=True) as server:
        rows = [(first, await cost(server, listing(first))) for first in most["rows of a page"]]
        yield Series("rows of a page", "rows", False, tuple(rows))
        clients = [(many, await cost(server, listing(10), many)) for many in most["clients at once"]]
        yield Series("clients at once", "clients", True, tuple(clients))

    depths = most["depth of a page"]
    async with targets.cloud(DEEP_PAGE * (max(depths) + 1)) as address:
        async with targets.gateway(address, kept=True) as server:
            bodies = {depth: page(DEEP_PAGE, after) for depth, after in (await cursors(server, depths)).items()}
        async with targets.gateway(address, kept=False) as server:
            deep = [(depth, await cost(server, lambda _, body=body: body)) for depth, body in bodies.items()]
            yield Series("depth of a page", "pages", True, tuple(deep))

    async with targets.cloud() as address:
        registries: list[tuple[int, float]] = []
        for many in most["registries"]:
            async with targets.gateway(address, kept=True, many=many) as server:
                registries.append((many, await cost(server, listing(50))))
        yield Series("registries", "registries", False, tuple(registries))

    entries = [(many, (await kept.of(many, small=True))["cpu"]) for many in most["entries kept"]]
    yield Series("entries kept", "entries", True, tuple(entries))


FULL: Mapping[str, list[int]] = {
    "rows of a page": [1, 10, 25, 50, 100],
    "clients at once": [1, 10, 100, 1000],
    "depth of a page": [1, 10, 100, 1000],
    "registries": [2, 5, 10, 20],
    "entries kept": [1_000, 10_000, 100_000, 1_000_000],
}
LEAST: Mapping[str, list[int]] = {
    "rows of a page": [1, 2],
    "clients at once": [1, 2],
    "depth of a page": [1, 2],
    "registries": [2, 3],
    "entries kept": [10, 20],
}
