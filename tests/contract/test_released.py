"""The changelog names every breaking change since the last released schema.

`released.graphql` is the schema of the last release; `make released` updates it. An addition, such as an enumeration
value or an optional argument, is not a breaking change and needs no line.
"""

import re
from pathlib import Path

import pytest
from graphql import build_schema
from graphql.utilities import find_breaking_changes

from tests.contract.api import PRINTED, api

RELEASED = Path(__file__).parent / "released.graphql"
CHANGELOG = PRINTED.parent / "CHANGELOG.md"


def section(text: str, heading: str) -> str:
    """Return the text between a heading and the next heading of the same level."""
    level = heading.split()[0]
    found = re.search(rf"^{heading}\n(.*?)(?=^{level} |\Z)", text, re.DOTALL | re.MULTILINE)
    return found[1] if found else ""


def unnamed_changes(released: str, current: str, changelog: str) -> list[str]:
    """Return the breaking changes that the changelog does not name under Unreleased, Breaking.

    A line must contain the text of `find_breaking_changes`. Backticks and line breaks do not matter.
    """
    named = " ".join(section(section(changelog, "## Unreleased"), "### Breaking").replace("`", "").split())
    changes = [change.description for change in find_breaking_changes(build_schema(released), build_schema(current))]
    return [
        change for change in changes if not re.search(rf"(?<![\w.]){re.escape(change.rstrip('.'))}(?![\w!\])])", named)
    ]


def test_every_breaking_change_is_named() -> None:
    released, current, changelog = (path.read_text(encoding="utf-8") for path in (RELEASED, PRINTED, CHANGELOG))
    assert unnamed_changes(api(released), api(current), changelog) == [], (
        "CHANGELOG.md must name these: Unreleased, Breaking"
    )


BEFORE = """
type Query { model(id: ID!, first: Int): Model }
type Model { name: String  owner: Owner  size: Size }
type Owner { id: ID! }
enum Size { BIG SMALL }
input Filter { name: String }
input Range { from: Int }
"""
BREAKING_CHANGES: dict[str, tuple[str, str, str]] = {
    "removed field": ("owner: Owner", "", "Field `Model.owner` was removed"),
    "changed type": ("name: String  o", "name: Int  o", "Field `Model.name` changed type from `String` to `Int`"),
    "nullable type": ("id: ID! }", "id: ID }", "Field `Owner.id` changed type from `ID!` to `ID`"),
    "removed enumeration value": ("BIG", "", "Enum value `Size.BIG` was removed"),
    "removed argument": (", first: Int", "", "Argument `Query.model(first:)` was removed"),
    "required argument": ("Int)", "Int!)", "Argument `Query.model(first:)` has changed type from `Int` to `Int!`"),
    "new required argument": ("Int)", "Int, by: ID!)", "A required argument `Query.model(by:)` was added"),
    "new required input field": ("name: String }", "name: String  by: ID! }", "A required field `Filter.by` was added"),
    "removed type": ("input Filter { name: String }", "", "`Filter` was removed"),
}
ADDITIONS: dict[str, tuple[str, str]] = {
    "field": ("name: String  o", "name: String  title: String  o"),
    "enumeration value": ("BIG", "BIG HUGE"),
    "optional argument": ("Int)", "Int, after: String)"),
    "type": ("enum Size", "type Label { key: String }\nenum Size"),
    "non-null type": ("owner: Owner", "owner: Owner!"),
}


@pytest.mark.parametrize("case", BREAKING_CHANGES)
def test_a_breaking_change_needs_its_own_line_under_unreleased(case: str) -> None:
    old, new, line = BREAKING_CHANGES[case]
    after = BEFORE.replace(old, new)
    change = line.replace("`", "") + "."
    for changelog in (
        "",
        f"## Unreleased\n\n### Added\n\n- {line}.\n",
        f"## Unreleased\n\n### Breaking\n\n- Nothing.\n\n## 0.1.0\n\n### Breaking\n\n- {line}.\n",
    ):
        assert unnamed_changes(BEFORE, after, changelog) == [change]
    wrapped = line.replace(" was ", "\n  was ")
    assert unnamed_changes(BEFORE, after, f"## Unreleased\n\n### Breaking\n\n- {wrapped}: use another one.\n") == []


def test_a_line_about_a_longer_name_does_not_count() -> None:
    after = BEFORE.replace("input Filter { name: String }", "")
    changelog = "## Unreleased\n\n### Breaking\n\n- `ModelFilter` was removed.\n"
    assert unnamed_changes(BEFORE, after, changelog) == ["Filter was removed."]


@pytest.mark.parametrize("case", ADDITIONS)
def test_an_addition_needs_no_line(case: str) -> None:
    assert unnamed_changes(BEFORE, BEFORE.replace(*ADDITIONS[case]), "") == []
