"""Pages of a long list of models, by cursor."""

from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from tests.bench.load import send_query
from tests.bench.queries import since

ROWS = 10
"""Rows of a page that is measured."""

STEP = 100
"""Rows of a page on the way to it."""

PAGE = """query ($first: Int!, $after: String, $since: DateTime!) {
  models(first: $first, after: $after, filter: {ownership: OWN, registries: ["pai"], createdAt: {from: $since}}) {
    nodes { id name createdAt } pageInfo { endCursor } } }"""
CURSORS = PAGE.replace("nodes { id name createdAt }", "edges { cursor }")


def page(after: str | None, number: int = 0, first: int = ROWS, text: str = PAGE) -> bytes:
    """Return the request for the page after a cursor. Each number is another filter with the same rows."""
    variables: Mapping[str, Any] = {"first": first, "after": after, **since(number)}
    return orjson.dumps({"query": text, "variables": variables})


async def cursors(connections: aiohttp.ClientSession, rows: int, number: int = 0) -> list[str]:
    """Return the cursors of the first rows of the list with this filter, found by paging through it."""
    found = list[str]()
    while len(found) < rows:
        answer = await send_query(connections, page(found[-1] if found else None, number, STEP, CURSORS))
        found += [edge["cursor"] for edge in orjson.loads(answer)["data"]["models"]["edges"]]
    return found[:rows]
