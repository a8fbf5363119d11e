"""The published schema follows the linter's rules: descriptions, naming, and connections as Relay specifies them."""

from pathlib import Path

import pytest

from tests import npm
from tests.contract.api import PRINTED, api

HERE = Path(__file__).parent

SCHEMA_WITH_FAULTS = '''
"""The root of all queries."""
type Query {
  """Things."""
  things(
    """How many."""
    first: String
    """Where."""
    after: String
  ): ThingConnection
  # Something without a description
  undescribed: Float
}
"""The root of all mutations."""
type Mutation {
  """Delete a thing."""
  lose_thing: Boolean @deprecated
}
"A page."
type ThingConnection {
  """The rows."""
  edges: ThingEdge
}
"""A row."""
type ThingEdge {
  """The thing."""
  node: [Thing]
}
"""A thing."""
type Thing {
  """Its name."""
  thingName: Size
}
"""The size of a thing."""
enum Size {
  """Big."""
  BIG
  """Also big."""
  big
}
"""The position of a page."""
type PageInfo {
  """Whether the list continues."""
  hasNextPage: Boolean
}
'''
VIOLATED_RULES = {
    "description-style",
    "naming-convention",
    "no-hashtag-description",
    "no-root-type",
    "no-typename-prefix",
    "no-unreachable-types",
    "relay-arguments",
    "relay-connection-types",
    "relay-edge-types",
    "relay-page-info",
    "require-deprecation-reason",
    "require-description",
    "strict-id-in-types",
    "unique-enum-value-names",
}

pytestmark = pytest.mark.timeout(600)  # the first run installs the locked packages


@pytest.fixture(scope="module")
def linter() -> Path:
    """Install the linter."""
    return npm.installed(HERE)


async def lint(linter: Path, schema: str) -> list[str]:
    """Return the linter's findings in a schema, each with rule, line and message."""
    file = linter / "build" / "schema.graphql"
    file.parent.mkdir(exist_ok=True)
    file.write_text(schema, encoding="utf-8")
    return (await npm.node(linter, "lint.js", str(file))).splitlines()


async def test_the_published_schema_follows_the_rules(linter: Path) -> None:
    assert await lint(linter, api(PRINTED.read_text(encoding="utf-8"))) == []


async def test_each_rule_finds_a_violation(linter: Path) -> None:
    findings = await lint(linter, SCHEMA_WITH_FAULTS)
    assert {finding.split()[0].removeprefix("graphql/") for finding in findings} == VIOLATED_RULES
