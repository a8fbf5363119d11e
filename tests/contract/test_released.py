"""A change that breaks clients of the last released schema is named in the changelog.

`released.graphql` is the schema of the last release; `make released` renews it with each. What only adds (a value of an
enumeration, an optional argument) breaks no client that expects it, and needs no line.
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
    """What stands under a heading, up to the next one of its level."""
    level = heading.split()[0]
    found = re.search(rf"^{heading}\n(.*?)(?=^{level} |\Z)", text, re.DOTALL | re.MULTILINE)
    return found[1] if found else ""


def unnamed(released: str, now: str, changelog: str) -> list[str]:
    """The breaking changes between two schemas that the changelog does not name under Unreleased, Breaking.

    It names a change with the words of `find_breaking_changes`; its backticks and line breaks are free.
    """
    named = " ".join(section(section(changelog, "## Unreleased"), "### Breaking").replace("`", "").split())
    changes = [change.description for change in find_breaking_changes(build_schema(released), build_schema(now))]
    return [
        change for change in changes if not re.search(rf"(?<![\w.]){re.escape(change.rstrip('.'))}(?![\w!\])])", named)
    ]


def test_every_breaking_change_is_named() -> None:
    released, now, changelog = (path.read_text(encoding="utf-8") for path in (RELEASED, PRINTED, CHANGELOG))
    assert unnamed(api(released), api(now), changelog) == [], "CHANGELOG.md must name these: Unreleased, Breaking"


BEFORE = """
type Query { model(id: ID!, first: Int): Model }
type Model { name: String  owner: Owner  size: Size }
type Owner { id: ID! }
enum Size { BIG SMALL }
input Filter { name: String }
input Range { from: Int }
"""
BREAKING: dict[str, tuple[str, str, str]] = {
    "a field less": ("owner: Owner", "", "Field `Model.owner` was removed"),
    "another type": ("name: String  o", "name: Int  o", "Field `Model.name` changed type from `String` to `Int`"),
    "null where there was none": ("id: ID! }", "id: ID }", "Field `Owner.id` changed type from `ID!` to `ID`"),
    "a value less": ("BIG", "", "Enum value `Size.BIG` was removed"),
    "an argument less": (", first: Int", "", "Argument `Query.model(first:)` was removed"),
    "an argument required": ("Int)", "Int!)", "Argument `Query.model(first:)` has changed type from `Int` to `Int!`"),
    "another argument required": ("Int)", "Int, by: ID!)", "A required argument `Query.model(by:)` was added"),
    "an input required": ("name: String }", "name: String  by: ID! }", "A required field `Filter.by` was added"),
    "a type less": ("input Filter { name: String }", "", "`Filter` was removed"),
}
SAFE: dict[str, tuple[str, str]] = {
    "one more field": ("name: String  o", "name: String  title: String  o"),
    "one more value": ("BIG", "BIG HUGE"),
    "one more optional argument": ("Int)", "Int, after: String)"),
    "one more type": ("enum Size", "type Label { key: String }\nenum Size"),
    "a promise of no null": ("owner: Owner", "owner: Owner!"),
}


@pytest.mark.parametrize("case", BREAKING)
def test_a_breaking_change_needs_its_own_line_under_unreleased(case: str) -> None:
    old, new, line = BREAKING[case]
    after = BEFORE.replace(old, new)
    change = line.replace("`", "") + "."
    for changelog in (
        "",
        f"## Unreleased\n\n### Added\n\n- {line}.\n",
        f"## Unreleased\n\n### Breaking\n\n- Nothing.\n\n## 0.1.0\n\n### Breaking\n\n- {line}.\n",
    ):
        assert unnamed(BEFORE, after, changelog) == [change]
    wrapped = line.replace(" was ", "\n  was ")
    assert unnamed(BEFORE, after, f"## Unreleased\n\n### Breaking\n\n- {wrapped}: ask for another.\n") == []


def test_a_line_on_a_longer_name_is_another_line() -> None:
    after = BEFORE.replace("input Filter { name: String }", "")
    changelog = "## Unreleased\n\n### Breaking\n\n- `ModelFilter` was removed.\n"
    assert unnamed(BEFORE, after, changelog) == ["Filter was removed."]


@pytest.mark.parametrize("case", SAFE)
def test_an_addition_needs_no_line(case: str) -> None:
    assert unnamed(BEFORE, BEFORE.replace(*SAFE[case]), "") == []
