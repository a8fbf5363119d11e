"""The calls that queries cost: no more than the selection needs, as the plan says before."""

from collections import Counter
from typing import Any

import pytest

from tests.conftest import Client

pytestmark = pytest.mark.timeout(600)  # the first run installs the locked packages

GROUPS, GROUP, PACKAGES, PACKAGE = (
    "ListModelPackageGroups",
    "DescribeModelPackageGroup",
    "ListModelPackages",
    "DescribeModelPackage",
)
PAGED = 'id: "aws:model/model-050"'
QUERIES = {
    "a page of models": ("{ models(first: 100) { nodes { id name description createdAt } } }", {GROUPS: 2}),
    "a small page of models": ("{ models(first: 20) { nodes { id name } totalCount } }", {GROUPS: 1}),
    "latest versions": (
        "{ models(first: 20) { nodes { id latestVersion { name approval readiness } } } }",
        {GROUPS: 1, PACKAGES: 20},
    ),
    "what latest versions are made of": (
        "{ models(first: 20) { nodes { id latestVersion { name framework } } } }",
        {GROUPS: 1, PACKAGES: 20, PACKAGE: 30},  # ten groups have upper-case letters, which moto lowers in packages
    ),
    "one model": (f"{{ model({PAGED}) {{ name description owner {{ name }} }} }}", {GROUP: 1}),
    "one model with its latest version": (
        f"{{ model({PAGED}) {{ name latestVersion {{ name approval }} }} }}",
        {GROUP: 1, PACKAGES: 1},
    ),
    "one model with versions": (
        f"{{ model({PAGED}) {{ name latestVersion {{ name }} versions(first: 20) {{ nodes {{ name approval }} }} }} }}",
        {GROUP: 1, PACKAGES: 1},
    ),
    "approved versions": (
        f"{{ model({PAGED}) {{ versions(first: 20, filter: {{approval: APPROVED}}) {{ nodes {{ name }} }} }} }}",
        {GROUP: 1, PACKAGES: 1},
    ),
    "one version": (
        '{ modelVersion(id: "aws:model/model-050/version/7") { name uri labels { key } } }',
        {PACKAGE: 1},
    ),
    "one version with its model": (
        '{ modelVersion(id: "aws:model/model-050/version/7") { name model { name description } } }',
        {PACKAGE: 1, GROUP: 1},
    ),
    "a model by name": ('{ models(filter: {nameEquals: "model-050"}) { nodes { id } } }', {GROUPS: 1}),
}


@pytest.mark.parametrize("name", QUERIES)
async def test_a_query_costs_these_calls(gateway: Client, name: str) -> None:
    query, calls = QUERIES[name]
    answer = await gateway.request("POST", json={"query": query}, headers={"X-Gateway-Plan": "include"})
    assert "errors" not in answer.body, answer.body
    assert Counter(call["call"] for call in answer.body["extensions"]["calls"]) == calls
    assert await planned(gateway, query) >= sum(calls.values())


async def planned(gateway: Client, query: str) -> Any:
    """Return the number of calls that the plan announces."""
    answer = await gateway.request("POST", json={"query": query}, headers={"X-Gateway-Plan": "only"})
    return sum(call["times"] for call in answer.body["extensions"]["plan"])
