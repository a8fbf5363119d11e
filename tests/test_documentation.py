"""What is written for people is held to what the code says."""

import re
from pathlib import Path

import pytest
from graphql import GraphQLEnumType, is_specified_scalar_type

from gateway import errors
from gateway.auth.api_keys import parse
from gateway.auth.principals import ROLES, ROUTER
from gateway.config.loading import table
from gateway.registries import KINDS
from gateway.schema.schema import SCHEMA, printed
from tests.test_generations import DIFFERENCES

ROOT = Path(__file__).parent.parent
OF_FEDERATION = {"link__Import", "link__Purpose"}
"""Types of the arguments of Federation's `@link`, which are not ours to describe."""


def section(name: str) -> str:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name} -->\n(.*)<!-- /{name} -->", readme, re.DOTALL)
    assert found is not None
    return found[1].strip()


def error_types(base: type[errors.GatewayError]) -> list[type[errors.GatewayError]]:
    return [base, *(kind for child in base.__subclasses__() for kind in error_types(child))]


def test_the_readme_lists_every_setting() -> None:
    assert section("settings") == table({name: kind.settings for name, kind in KINDS.items()}).strip()


def test_the_readmes_file_of_keys_is_one() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"```toml\n# keys.toml\n(.*?)```", readme, re.DOTALL)
    assert found is not None
    (entry,) = parse(found[1].encode())
    assert (entry.caller.name, entry.caller.registries) == ("reports", ("pai-*",))
    assert entry.caller.roles == {"read", "raw"}


def test_the_readme_lists_every_role() -> None:
    listed = re.findall(r"^\| `([a-z]+)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {*ROLES, ROUTER} <= set(listed)


def test_the_readme_lists_every_error_code_that_clients_see() -> None:
    codes = set(re.findall(r"\b(?:[A-Z]+(?:_[A-Z]+)+|[A-Z]{9,})\b", errors.__doc__ or ""))
    assert set(re.findall(r"^\| `([A-Z_]+)`", section("errors"), re.MULTILINE)) == codes


def test_the_readme_lists_every_difference_between_the_generations_of_qianfan() -> None:
    rows = [f"| `{field}` | {who} | {why} |" for field, (who, why) in DIFFERENCES.items()]
    assert section("generations").splitlines()[2:] == rows


def test_the_error_tree_names_every_error_with_its_code() -> None:
    for kind in error_types(errors.GatewayError)[1:]:
        if kind is not errors.RegistryError and kind is not errors.NotFound:
            assert re.search(rf"{kind.__name__} +{kind.code} ", errors.__doc__ or ""), kind


def test_the_printed_schema_is_the_one_in_the_repository() -> None:
    assert (ROOT / "schema.graphql").read_text(encoding="utf-8") == printed() + "\n"


def described() -> list[tuple[str, str | None]]:
    """Everything of the schema that can have a description, and its description."""
    found: list[tuple[str, str | None]] = []
    for name, kind in SCHEMA._schema.type_map.items():
        if name.startswith("__") or name in OF_FEDERATION or is_specified_scalar_type(kind):
            continue
        found.append((name, kind.description))
        if isinstance(kind, GraphQLEnumType):
            found += [(f"{name}.{word}", value.description) for word, value in kind.values.items()]
        for field_name, field in getattr(kind, "fields", {}).items():
            found.append((f"{name}.{field_name}", field.description))
            for argument_name, argument in getattr(field, "args", {}).items():
                found.append((f"{name}.{field_name}({argument_name})", argument.description))
    return found


@pytest.mark.parametrize(("place", "description"), described())
def test_everything_in_the_schema_is_described(place: str, description: str | None) -> None:
    assert description, place
    assert description.endswith("."), place
