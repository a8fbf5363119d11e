"""The pages of docs/, and the tables in them that are generated: `python -m tests.documentation` writes the tables.

A generated table is between `<!-- name -->` and `<!-- /name -->`.
"""

import re
from pathlib import Path
from typing import Final

import yaml
from strawberry.types.base import get_object_definition

from gateway.catalog.filters import REGISTRY_FILTERS
from gateway.catalog.selection import to_camel_case
from gateway.config import loading
from gateway.mcp.tools import own_tools
from gateway.registries import KINDS
from gateway.schema import field_sources
from gateway.schema.schema import GRAPHQL_SCHEMA
from gateway.telemetry import metrics
from tests.test_generations import DIFFERENCES

ROOT: Final = Path(__file__).parent.parent
DOCS: Final = ROOT / "docs"
PAGES: Final = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def text(page: str) -> str:
    """Return the text of a page by its path from the repository's root."""
    return (ROOT / page).read_text(encoding="utf-8")


def section(name: str) -> str:
    """Return the text between a name's comments, on the one page that has them."""
    [found] = [match[1] for page in PAGES for match in pattern(name).finditer(page.read_text(encoding="utf-8"))]
    return found.strip()


def pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=<!-- {name} -->\n)(.*?)(?=<!-- /{name} -->)", re.DOTALL)


def generations() -> str:
    """The differences between the generations of Qianfan's API, as a table in Markdown."""
    rows = [f"| `{field}` | {generation} | {reason} |" for field, (generation, reason) in DIFFERENCES.items()]
    return "\n".join(["| field | supplied by | reason |", "| --- | --- | --- |", *rows]) + "\n"


def quotas() -> str:
    """The quotas of the kinds, as a table in Markdown."""
    rows = [
        f"| `{name}` | {kind.quota.requests_per_second:g} | {kind.quota.in_flight} | {kind.quota.max_wait:g} |"
        for name, kind in KINDS.items()
    ]
    head = "| kind | requests per second | requests in flight | longest wait in seconds |"
    return "\n".join([head, "| --- | --- | --- | --- |", *rows]) + "\n"


PLACES: Final = {
    None: "chooses lists",
    field_sources.NEVER: "matches nothing",
    field_sources.UPSTREAM: "registry",
    field_sources.UPSTREAM_LOOSELY: "registry and gateway",
    field_sources.ONE_UPSTREAM: "registry, if it is one value",
    field_sources.READ: "gateway",
    field_sources.CALLS: "gateway, **1 call for a row**",
}
"""The cells of the table of filters."""


def filters() -> str:
    """Where each filter is applied, as a table in Markdown."""
    kinds = list(KINDS.values())
    rows = []
    for entity, inputs in field_sources.FILTERS.items():
        for field in get_object_definition(inputs, strict=True).fields:
            name = field.python_name
            if name not in REGISTRY_FILTERS:
                places = [
                    PLACES[field_sources.filter_note(kind, entity, name)]
                    if field_sources.supplied_fields(kind, entity)
                    else "–"
                    for kind in kinds
                ]
                rows.append(f"| {inputs.__name__} | `{to_camel_case(name)}` | {' | '.join(places)} |")
    head = f"| | filter | {' | '.join(kind.title for kind in kinds)} |"
    return "\n".join([head, "|" + " --- |" * (len(kinds) + 2), *rows]) + "\n"


def alerts() -> str:
    """The alerts of docker/alerts.yaml, as a table in Markdown."""
    *_, group = yaml.safe_load((ROOT / "docker" / "alerts.yaml").read_bytes())["groups"]
    rows = [
        f"| `{rule['alert']}` | `{rule['expr']}` | {rule.get('for', '0m')} | {rule['annotations']['action']} |"
        for rule in group["rules"]
    ]
    return "\n".join(["| alert | condition | for | what to do |", "| --- | --- | --- | --- |", *rows]) + "\n"


def tools() -> str:
    """The tools for agents, as a table in Markdown."""
    rows = [
        f"| `{tool.name}` | {tool.description} | {', '.join(f'`{name}`' for name in tool.arguments)} |"
        for tool in own_tools(GRAPHQL_SCHEMA)
    ]
    return "\n".join(["| tool | purpose | arguments |", "| --- | --- | --- |", *rows]) + "\n"


def generated() -> dict[str, str]:
    """The generated tables by name."""
    return {
        "settings": loading.table({name: kind.settings for name, kind in KINDS.items()}),
        "metrics": metrics.table(),
        "generations": generations(),
        "quotas": quotas(),
        "filters": filters(),
        "alerts": alerts(),
        "tools": tools(),
    }


def write() -> None:
    """Write every generated table to its page."""
    for page in PAGES:
        before = after = page.read_text(encoding="utf-8")
        for name, table in generated().items():
            after = pattern(name).sub(lambda match, table=table: table, after)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(f"wrote {page.relative_to(ROOT)}")


if __name__ == "__main__":
    write()
