"""The example of docs/adding-a-registry.md is a complete kind of registry."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from graphql import get_named_type, parse, validate

from gateway.config.settings import Secret
from gateway.registries import KINDS
from gateway.registries.fields import EntityLayout
from gateway.registries.kind import Call, Kind, Paging, Stream
from gateway.schema.field_sources import supplied_fields
from gateway.schema.schema import SCHEMA
from tests.conftest import served, settings
from tests.registries.samples import COMPUTED, ENTITIES, RELATIONS, project_table, schema_fields, walk_fields

PAGE = (Path(__file__).parent.parent / "docs" / "adding-a-registry.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the code blocks of the page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


LISTED, DETAILED, ANSWER = map(json.loads, blocks("json"))
[QUERY] = blocks("graphql")


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """The module that the page's Python blocks make up."""
    module = ModuleType("gateway.registries.acme")
    exec(compile("\n\n".join(blocks("python")), "acme.py", "exec"), module.__dict__)  # noqa: S102
    return module


@pytest.fixture
async def hub() -> AsyncIterator[TestServer]:
    """A server with the responses of the page, and two models."""

    async def listed(request: web.Request) -> web.Response:
        assert request.headers["Authorization"].startswith("ACME key:")
        return web.json_response(LISTED)

    async def detailed(request: web.Request) -> web.Response:
        if request.match_info["id"] == DETAILED["id"]:
            return web.json_response(DETAILED)
        [row] = [row for row in LISTED["models"] if row["id"] == request.match_info["id"]]
        return web.json_response({**row, "releases": []})

    app = web.Application()
    app.add_routes([web.get("/v1/models", listed), web.get("/v1/models/{id}", detailed)])
    async with TestServer(app) as server:
        yield server


async def test_a_gateway_serves_the_example(example: Any, hub: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "acme", example.ACME)  # type: ignore[arg-type]
    address = str(hub.make_url("")).rstrip("/")
    registry = example.AcmeSettings(
        name="acme", kind="acme", access_key="key", secret_key=Secret("secret"), endpoint=address
    )
    async with served(settings(registry)) as gateway:
        answer = await gateway.query(QUERY)
    assert answer.body == ANSWER


async def test_a_gateway_serves_releases_that_have_calls_of_their_own(
    example: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = [f"1.{number}" for number in range(60)]

    def published(tag: str) -> Any:
        return {"tag": tag, "engine": "jax", "published": f"2026-01-01T00:{tag[2:]:0>2}:00Z"}

    async def release_list(request: web.Request) -> web.Response:
        first = 50 * (int(request.query["page"]) - 1)
        return web.json_response({"releases": [published(tag) for tag in tags[first : first + 50]], "count": len(tags)})

    async def one_release(request: web.Request) -> web.Response:
        if request.match_info["tag"] in tags:
            return web.json_response(published(request.match_info["tag"]))
        return web.json_response({"error": {"code": "no_such_model"}}, status=404)

    app = web.Application()
    app.add_routes([web.get("/v1/models/{id}/releases", release_list)])
    app.add_routes([web.get("/v1/models/{id}/releases/{tag}", one_release)])
    calls = (example.LIST_RELEASES, example.GET_RELEASE)
    monkeypatch.setitem(KINDS, "acme", replace(example.ACME, calls=calls))  # type: ignore[arg-type]
    async with TestServer(app) as server:
        registry = example.AcmeSettings(
            name="acme", kind="acme", access_key="key", secret_key=Secret("secret"), endpoint=str(server.make_url(""))
        )
        async with served(settings(registry)) as gateway:
            answer = await gateway.query(
                """{ model(id: "acme:model/m-1") { latestVersion { name }
                                                   versions(first: 60) { totalCount nodes { name } } }
                     old: modelVersion(id: "acme:model/m-1/version/1.0") { frameworkName }
                     none: modelVersion(id: "acme:model/m-1/version/9") { frameworkName } }"""
            )
    versions = answer.data["model"]["versions"]
    assert versions["totalCount"] == 60
    assert [row["name"] for row in versions["nodes"]] == tags[::-1]
    assert answer.data["model"]["latestVersion"] == {"name": "1.59"}
    assert (answer.data["old"], answer.data["none"]) == ({"frameworkName": "jax"}, None)


def test_the_example_supplies_or_declares_absent_every_field_of_the_graph(example: Any) -> None:
    kind: Kind = example.ACME
    for entity in ENTITIES:
        by_calls = supplied_fields(kind, entity)
        if not by_calls:
            assert kind.absent[entity] == set()
            continue
        assert by_calls | kind.absent[entity] | COMPUTED | RELATIONS[entity] == set(schema_fields(entity))


@pytest.mark.parametrize(
    ("table", "raw", "value"),
    [
        ("OWNER_OBJECT", {"owner": {"login": "a", "id": 7}}, {"owner": {"name": "a", "native_id": "7"}}),
        ("OWNER_KEY", {"owned_by": "a"}, {"owner": {"name": "a"}}),
        ("OWNER_KEY", {}, {"owner": None}),
        ("TAGS", {"tags": ["chat"]}, {"labels": [{"key": "chat"}]}),
        ("TAGS", {"tags": None}, {"labels": None}),
    ],
)
def test_the_value_objects_of_the_page_are_complete(example: Any, table: str, raw: Any, value: Any) -> None:
    fields = getattr(example, table)
    assert project_table(fields, raw) == value
    for path, _, field, declared in walk_fields("Model", fields):
        if field.table is not None:
            assert set(field.table) == set(schema_fields(get_named_type(declared.type).name)), path


def test_the_queries_of_the_tutorial_are_valid() -> None:
    bodies = re.findall(r"-d '(\{.*\})'", PAGE)
    assert len(bodies) == 2
    assert [validate(SCHEMA._schema, parse(json.loads(body)["query"])) for body in bodies] == [[], []]


@pytest.mark.parametrize("described", [Call, EntityLayout, Kind, Paging, Stream])
def test_the_page_explains_every_attribute(described: Any) -> None:
    explained = set(re.findall(r"`(\w+)", PAGE)) | {"name", "title", "entity", "call", "number", "size", "fixed"}
    assert {item.name for item in fields(described)} <= explained
