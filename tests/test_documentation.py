"""README.md and docs/ agree with the code."""

import ast
import json
import re
from pathlib import Path

import pytest
from graphql import GraphQLEnumType, is_specified_scalar_type

from gateway import errors
from gateway.auth.api_keys import parse
from gateway.auth.principals import ROLES, ROUTER
from gateway.schema.schema import SCHEMA, print_sdl
from tests.conftest import demo
from tests.documentation import PAGES, ROOT, generated, section, text

OF_FEDERATION = {"link__Import", "link__Purpose"}
"""Types of the arguments of Federation's `@link`, whose descriptions are not ours."""


def error_types(base: type[errors.GatewayError]) -> list[type[errors.GatewayError]]:
    return [base, *(kind for child in base.__subclasses__() for kind in error_types(child))]


# Tables


@pytest.mark.parametrize("name", generated())
def test_a_generated_table_is_current(name: str) -> None:
    assert section(name) == generated()[name].strip(), "run `make docs`"


def test_the_example_of_a_key_file_is_valid() -> None:
    found = re.search(r"```toml\n# keys.toml\n(.*?)```", text("docs/security.md"), re.DOTALL)
    assert found is not None
    (entry,) = parse(found[1].encode())
    assert (entry.caller.name, entry.caller.registries) == ("reports", ("pai-*",))
    assert entry.caller.roles == {"read", "raw"}


def test_the_table_of_roles_is_complete() -> None:
    listed = re.findall(r"^\| `([a-z]+)` \|", text("docs/security.md"), re.MULTILINE)
    assert {*ROLES, ROUTER} <= set(listed)


def test_the_table_of_errors_has_every_code_that_clients_see() -> None:
    codes = set(re.findall(r"\b(?:[A-Z]+(?:_[A-Z]+)+|[A-Z]{9,})\b", errors.__doc__ or ""))
    assert set(re.findall(r"^\| `([A-Z_]+)`", section("errors"), re.MULTILINE)) == codes


def test_the_error_tree_names_every_error_with_its_code() -> None:
    for kind in error_types(errors.GatewayError)[1:]:
        if kind is not errors.RegistryError and kind is not errors.NotFound:
            assert re.search(rf"{kind.__name__} +{kind.code} ", errors.__doc__ or ""), kind


# Pages


async def test_the_readme_shows_the_real_answer_to_its_query() -> None:
    readme = text("README.md")
    [query] = re.findall(r"```graphql\n(.*?)```", readme, re.DOTALL)
    [shown] = re.findall(r"```json\n(.*?)```", readme, re.DOTALL)
    [sent] = re.findall(r"^(\{\"query\".*)$", readme, re.MULTILINE)
    assert json.loads(sent)["query"].split() == query.split()
    async with demo() as gateway:
        assert (await gateway.query(query)).body == json.loads(shown)


def test_the_readme_is_at_most_200_lines_long() -> None:
    assert len(text("README.md").splitlines()) <= 200


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_every_page_is_linked_from_another() -> None:
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
        if not target.startswith(("https://", "#"))
    }
    assert {page for page in PAGES if page.name != "README.md"} <= linked


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    known = set(re.findall(r"^\| `([a-z_.]+)`", generated()["settings"], re.MULTILINE))
    groups = {key.partition(".")[0] for key in known}
    named = set(re.findall(r"`([a-z_]+\.[a-z_]+)(?: = [^`]*)?`", page.read_text(encoding="utf-8")))
    assert {name for name in named if name.partition(".")[0] in groups} - known <= {"keys.toml"}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_metric_that_a_page_names_exists(page: Path) -> None:
    known = set(re.findall(r"^\| `(gateway_\w+)`", generated()["metrics"], re.MULTILINE))
    named = set(re.findall(r"(?<!:)\bgateway_[a-z_]+", page.read_text(encoding="utf-8")))
    assert {name.removesuffix("_bucket") for name in named} <= known


def test_every_path_of_the_project_that_a_page_names_exists() -> None:
    for page in PAGES:
        for named in re.findall(r"`((?:gateway|tests|docker)/[\w/.-]*)`", page.read_text(encoding="utf-8")):
            assert (ROOT / named).exists() or named == "gateway/registries/acme.py", f"{page.name}: {named}"


def test_the_folder_map_has_every_folder_and_module_of_the_package() -> None:
    listed = set(re.findall(r"^\| `gateway/([\w.]+)/?` \|", text("docs/architecture.md"), re.MULTILINE))
    there = {path.name for path in (ROOT / "gateway").iterdir() if path.is_dir() or path.suffix == ".py"}
    assert listed == there - {"__init__.py", "__pycache__", "py.typed"}


# Glossary


def names_in_the_code() -> set[str]:
    """Return the modules of the package, with its folders, and the names that they define at the top level."""
    found: set[str] = set()
    for path in (ROOT / "gateway").rglob("*.py"):
        found.add(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Assign):
                found.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return found


def test_every_name_in_the_glossary_exists() -> None:
    cells = re.findall(r"^\| \*\*[^|]+ \| ([^|]*) \|", text("docs/glossary.md"), re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`([\w.]+)`", cell)}
    assert len(named) > 40
    assert named - names_in_the_code() == set()


def test_the_terms_of_the_glossary_are_in_order() -> None:
    terms = re.findall(r"^\| \*\*(.+?)\*\* \|", text("docs/glossary.md"), re.MULTILINE)
    assert len(terms) > 30
    assert terms == sorted(terms, key=str.lower)


# Schema


def test_the_printed_schema_is_the_one_in_the_repository() -> None:
    assert text("schema.graphql") == print_sdl() + "\n"


def described() -> list[tuple[str, str | None]]:
    """Return everything in the schema that can have a description, and its description."""
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
