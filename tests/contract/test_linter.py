"""The published schema has descriptions everywhere, names of one kind, and connections as Relay wants them."""

from pathlib import Path

import pytest

from tests import npm
from tests.contract.api import PRINTED, api

HERE = Path(__file__).parent

FAULTY = '''
"""Everything that can be asked."""
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
"""What changes things."""
type Mutation {
  """Lose a thing."""
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
"""How big."""
enum Size {
  """Big."""
  BIG
  """Also big."""
  big
}
"""Where the page stands."""
type PageInfo {
  """Whether rows follow."""
  hasNextPage: Boolean
}
'''
FOUND = {
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

pytestmark = pytest.mark.timeout(600)  # the first run installs what is locked


@pytest.fixture(scope="module")
def linter() -> Path:
    return npm.installed(HERE)


async def linted(linter: Path, schema: str) -> list[str]:
    """What the linter finds in a schema: rule, line and words."""
    file = linter / "build" / "schema.graphql"
    file.parent.mkdir(exist_ok=True)
    file.write_text(schema, encoding="utf-8")
    return (await npm.node(linter, "lint.js", str(file))).splitlines()


async def test_the_published_schema_is_clean(linter: Path) -> None:
    assert await linted(linter, api(PRINTED.read_text(encoding="utf-8"))) == []


async def test_each_rule_finds_its_fault(linter: Path) -> None:
    findings = await linted(linter, FAULTY)
    assert {finding.split()[0].removeprefix("graphql/") for finding in findings} == FOUND
