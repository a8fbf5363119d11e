"""The benchmark's queries: a list, an object with its children, a list with children, and a deep object."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from graphql import get_introspection_query

SETS = 50
"""Sets of variables that are sent in turn."""

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Query:
    """A query. ``variables`` returns a different set of variables for each number."""

    name: str
    about: str
    text: str
    variables: Callable[[int], Mapping[str, Any]]

    def body(self, number: int) -> bytes:
        return orjson.dumps({"query": self.text, "variables": self.variables(number)})


def since(number: int) -> Mapping[str, Any]:
    """Return different variables with the same result, for which no cached GraphQL response exists."""
    return {"since": (LONG_AGO + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%SZ")}


Q1 = Query(
    "Q1",
    "50 + 50 models of two registries: 600 values, 2 calls",
    """query ($since: DateTime!) { models(first: 100, filter: {ownership: OWN, createdAt: {from: $since}}) {
      nodes { id nativeId name registryName ownership createdAt } } }""",
    since,
)
Q2 = Query(
    "Q2",
    "one model and its 3 versions: 20 values, 2 calls",
    """query ($id: ID!) { model(id: $id) { id nativeId name ownership createdAt
      versions(first: 10) { nodes { name uri framework approval createdAt } } } }""",
    lambda number: {"id": f"pai:model/model-{number:06}"},
)
Q3 = Query(
    "Q3",
    "50 models, each with its 3 versions: 550 values, 51 calls",
    """query ($since: DateTime!) { models(first: 50, filter: {
      ownership: OWN, registries: ["pai"], createdAt: {from: $since}}) {
      nodes { id name versions(first: 10) { nodes { name framework approval } } } } }""",
    since,
)
Q4 = Query(
    "Q4",
    "one algorithm version with its specification: 26 values, 1 call",
    """query ($id: ID!) { algorithmVersion(id: $id) { id name createdAt spec { jobType image command
      hyperParameters { name type description required }
      inputChannels { name required supportedChannelTypes }
      metricDefinitions { name regex description } } } }""",
    lambda number: {"id": f"pai:algorithm/algo-{number}/version/v1"},
)
QUERIES = (Q1, Q2, Q3, Q4)
INTROSPECTION = Query(
    "introspection",
    "the whole schema, as GraphiQL requests it",
    get_introspection_query(input_value_deprecation=True),
    lambda number: {},
)
