"""What is asked: four queries, of a list, an object with its children, a list with children, and one deep object."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

SETS = 50
"""Sets of variables that are asked with in turn."""

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Question:
    """A query; ``variables`` gives its set of that number. ``endless``: no number is ever the same as another."""

    name: str
    about: str
    text: str
    variables: Callable[[int], Mapping[str, Any]]
    endless: bool = False

    def body(self, number: int) -> bytes:
        return orjson.dumps({"query": self.text, "variables": self.variables(number)})


def since(number: int) -> Mapping[str, Any]:
    """Different questions with the same answer, of which nothing that is kept whole can be given again."""
    return {"since": (LONG_AGO + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%SZ")}


Q1 = Question(
    "Q1",
    "50 + 50 models of two registries: 600 values, 2 calls",
    """query ($since: DateTime!) { models(first: 100, filter: {createdAt: {from: $since}}) {
      nodes { id nativeId name registryName ownership createdAt } } }""",
    since,
    endless=True,
)
Q2 = Question(
    "Q2",
    "one model and its 3 versions: 20 values, 2 calls",
    """query ($id: ID!) { model(id: $id) { id nativeId name ownership createdAt
      versions(first: 10) { nodes { name uri framework approval createdAt } } } }""",
    lambda number: {"id": f"pai:model/model-{number % SETS:06}"},
)
Q3 = Question(
    "Q3",
    "50 models, each with its 3 versions: 550 values, 51 calls",
    """query ($since: DateTime!) { models(first: 50, filter: {registries: ["pai"], createdAt: {from: $since}}) {
      nodes { id name versions(first: 10) { nodes { name framework approval } } } } }""",
    since,
    endless=True,
)
Q4 = Question(
    "Q4",
    "one version of an algorithm with what it takes: 26 values, 1 call",
    """query ($id: ID!) { algorithmVersion(id: $id) { id name createdAt spec { jobType image command
      hyperParameters { name type description required }
      inputChannels { name required supportedChannelTypes }
      metricDefinitions { name regex description } } } }""",
    lambda number: {"id": f"pai:algorithm/algo-{number % SETS}/version/v1"},
)
QUESTIONS = (Q1, Q2, Q3, Q4)
