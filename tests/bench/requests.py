"""The CPU time of requests: never sent before, cold, and sent before; the latency of a mixed load; introspection."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count, cycle, repeat
from math import ceil

import orjson

from tests.bench import targets
from tests.bench.load import CLIENTS, Cost, measured, send_all, send_query, session
from tests.bench.paging import ROWS, STEP, cursors, page
from tests.bench.processes import Server
from tests.bench.queries import INTROSPECTION, Q2, Q4, QUERIES, SETS, Query
from tests.bench.tables import LIMIT, NAIVE, Table

PAGES_PER_SECOND = 4_000
"""More pages than the gateway can answer."""


@dataclass(frozen=True)
class Sizes:
    """``ids`` of models that are requested in turn, ``depth`` of a page in pages, ``clients`` of the mixed load."""

    ids: int = 10_000
    depth: int = 100
    clients: int = 200


async def responses(server: Server, *queries: Query) -> Mapping[str, bytes]:
    """Return the response to each query with the first set of variables."""
    async with session(server.address) as connections:
        return {query.name: await send_query(connections, query.body(0)) for query in queries}


def check_equal(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> None:
    """Raise RuntimeError if two servers return different data for a query."""
    for name, body in one.items():
        if orjson.loads(body)["data"] != orjson.loads(other[name])["data"]:
            raise RuntimeError(f"{name} is answered differently: {body[:300]!r} and {other[name][:300]!r}")


async def measured_cached(server: Server, bodies: Iterator[bytes], seconds: float, upstream: str) -> Cost:
    """Measure requests that need no upstream call. Raises RuntimeError if one of them made a call."""
    cost = await measured(server, bodies, seconds, upstream=upstream)
    if cost.calls:
        raise RuntimeError(f"{cost.calls:.3g} upstream calls per request, although everything is cached")
    return cost


async def costs(rounds: int, seconds: float, sizes: Sizes) -> list[Table]:
    """Measure the four queries, in rounds that interleave the servers."""
    unseen = Table(
        "Never requested before",
        "All upstream responses are cached. Each request for Q1 or Q3 names a moment that no request named before. Q2 "
        f"and Q4 name {sizes.ids:,} ids in turn, each of which was requested once before; the response cache answers.",
    )
    alone = Table(
        "Cold, one connection",
        "One client, so that no calls are shared. `cache.enabled = false`. The upstream counted the calls.",
        calls=True,
    )
    shared = Table(
        f"Cold, {CLIENTS} connections",
        "Identical calls that are under way at the same time are made once: those of Q1 and Q3, whose moments no "
        "registry receives. `cache.enabled = false`. The upstream counted the calls.",
        calls=True,
    )
    again = Table("Requested again", "Every request was sent before, so the response cache answers.")
    mixed = Table(
        "Mixed load",
        f"{sizes.clients} clients send the four queries in turn. Each names a moment or an id that no request named "
        "before; pages of lists are cached.",
        "ms of latency",
        ("p50",),
    )
    new = {query: map(query.body, count(sizes.ids)) for query in QUERIES}
    known = {query: map(query.body, cycle(range(sizes.ids))) for query in (Q2, Q4)}
    in_turn = {query: cycle([query.body(number) for number in range(SETS)]) for query in QUERIES}
    async with AsyncExitStack() as stack:
        cloud = await stack.enter_async_context(targets.cloud())
        cold = await stack.enter_async_context(targets.gateway(cloud, cached=False))
        hot = await stack.enter_async_context(targets.gateway(cloud, cached=True))
        naive = await stack.enter_async_context(targets.module("naive", cloud))
        bodies = await responses(hot, *QUERIES)
        for server in (cold, naive):
            check_equal(bodies, await responses(server, *QUERIES))
        raw = await stack.enter_async_context(targets.raw(bodies))
        for query in QUERIES:
            await send_all(hot, map(query.body, range(sizes.ids if query in known else SETS)))

        async def cached(table: Table, row: str, query: Query, requests: Iterator[bytes]) -> None:
            table.add(row, query.name, (await measured_cached(hot, requests, seconds, cloud)).cpu)

        async def cold_and_references(query: Query) -> None:
            calls = {}
            for row, server in ((NAIVE, naive), ("gateway", cold), (LIMIT, raw)):
                path = f"/{query.name}" if server is raw else "/graphql"
                cost = await measured(server, in_turn[query], seconds, 1, path, cloud)
                alone.add(row, query.name, cost.cpu, cost.calls)
                calls[row] = cost.calls
                cost = await measured(server, in_turn[query], seconds, CLIENTS, path, cloud)
                for table in (shared,) if server is cold else (unseen, shared, again):
                    table.add(row, query.name, cost.cpu, cost.calls)
            if calls[NAIVE] != calls["gateway"]:
                raise RuntimeError(f"{query.name} needs different upstream calls: {calls}")

        for _ in range(rounds):
            for query in QUERIES:
                if query in known:
                    row = f"gateway, {sizes.ids:,} ids in turn, each requested once before"
                    await cached(unseen, row, query, known[query])
                else:
                    await cached(unseen, "gateway, a new moment each time", query, new[query])
                await cold_and_references(query)
                await cached(again, f"gateway, {SETS} sets of variables in turn", query, in_turn[query])
                await cached(again, "gateway, the same request", query, repeat(query.body(0)))
            mixture = (next(new[query]) for query in cycle(QUERIES))
            cost = await measured(hot, mixture, 3 * seconds, sizes.clients)
            mixed.add("p50", "gateway", cost.p50)
            mixed.add("p99", "gateway", cost.p99)
    return [unseen, alone, shared, again, mixed]


async def next_page(rounds: int, seconds: float, sizes: Sizes) -> Table:
    """Measure a page that is deep in a list, and the first page."""
    deep = f"{sizes.depth} pages deep"
    table = Table(
        "The next page by cursor",
        f"Pages of {ROWS} models of one registry; all upstream responses are cached. No request was sent before: the "
        "first pages each name a new moment. A cursor belongs to its filter. Therefore lists with different moments "
        f"were paged through beforehand, {STEP} rows at a time, and each of the next {STEP} cursors is used once.",
        references=("first page",),
    )
    rows = sizes.depth * ROWS + STEP
    filters = ceil(1.2 * rounds * seconds * PAGES_PER_SECOND / STEP) + 1
    async with (
        targets.cloud(rows + ROWS) as cloud,
        targets.gateway(cloud, cached=True) as server,
        session(server.address, CLIENTS) as connections,
    ):
        found = await asyncio.gather(*(cursors(connections, rows, number) for number in range(filters)))
        first_pages = map(page, repeat(None), count(filters))
        next_pages = (page(after, number) for number, all_of in enumerate(found) for after in all_of[-STEP:])
        for _ in range(STEP):  # the pages of the upstream may depend on the size of a page
            await send_query(connections, next(next_pages))
        for _ in range(rounds):
            for row, bodies in (("first page", first_pages), (deep, next_pages)):
                table.add(row, "gateway", (await measured_cached(server, bodies, seconds, cloud)).cpu)
    return table


async def introspection(rounds: int, seconds: float) -> Table:
    """Measure introspection, which the gateway leaves to Strawberry and does not cache."""
    table = Table(
        "Executed by Strawberry",
        "Introspection as GraphiQL requests it, by `strawberry.asgi.GraphQL` and by the gateway over the same schema. "
        "One client, so that no execution is shared.",
        references=("plain Strawberry",),
    )
    async with (
        targets.gateway("http://127.0.0.1:9", cached=True, profile="development") as gateway,  # calls no upstream
        targets.module("plain") as plain,
    ):
        check_equal(await responses(plain, INTROSPECTION), await responses(gateway, INTROSPECTION))
        for _ in range(rounds):
            for row, server in (("plain Strawberry", plain), ("gateway", gateway)):
                cost = await measured(server, repeat(INTROSPECTION.body(0)), seconds, clients=1)
                table.add(row, INTROSPECTION.name, cost.cpu)
    return table


async def tables(rounds: int, seconds: float, sizes: Sizes) -> list[Table]:
    """Measure all tables."""
    unseen, *others = await costs(rounds, seconds, sizes)
    pages, strawberry = await next_page(rounds, seconds, sizes), await introspection(rounds, seconds)
    return [unseen, pages, *others, strawberry]
