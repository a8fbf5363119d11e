"""Tools of the Model Context Protocol: their schemas, their answers, their refusals, and those of the operator."""

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway import twins
from gateway.config.settings import CacheSettings, DocumentsSettings, LimitsSettings, ServerSettings
from gateway.config.watched_files import CHECK_INTERVAL
from tests.auth.gateways import Clock
from tests.conftest import World, demo, pai, qianfan, served, settings, two_clouds
from tests.mcp.requests import PAI_MODEL, call, content_of, send, tools

OWN = ["search_models", "get_model", "list_versions", "compare_versions", "find_algorithms", "registry_status"]
VERSION = f"{PAI_MODEL}/version/0.2.0"
ARGUMENTS: dict[str, Any] = {
    "search_models": {"search": "qwen", "registries": ["pai", "mlflow"], "first": 3},
    "get_model": {"id": PAI_MODEL},
    "list_versions": {"model": PAI_MODEL, "first": 2},
    "compare_versions": {"versions": [VERSION, f"{PAI_MODEL}/version/0.1.0"]},
    "find_algorithms": {"search": "llm"},
    "registry_status": {},
}


def strict(schema: Any) -> Any:
    """The schema of a result, with all properties that it has, and no others."""
    if isinstance(schema, dict):
        schema = {name: strict(part) for name, part in schema.items()}
        if isinstance(properties := schema.get("properties"), dict):
            optional = {"errors", "age", "retryAfter", "forecast"}
            schema |= {"additionalProperties": False, "required": [name for name in properties if name not in optional]}
    return schema


def check(tool: Any, arguments: Any, content: Any) -> None:
    """Validate the arguments and the structured content of a call."""
    for schema in (tool["inputSchema"], tool["outputSchema"]):
        jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(arguments, tool["inputSchema"], jsonschema.Draft202012Validator)
    jsonschema.validate(content, strict(tool["outputSchema"]), jsonschema.Draft202012Validator)


# The gateway's own tools


async def test_the_tools_have_a_fixed_order(world: World) -> None:
    assert [tool["name"] for tool in await tools(world.gateway)] == OWN
    assert all(tool["annotations"] == {"readOnlyHint": True} for tool in await tools(world.gateway))


@pytest.mark.parametrize("name", OWN)
async def test_a_result_has_the_schema_of_its_tool(name: str) -> None:
    async with demo() as gateway:
        [tool] = [tool for tool in await tools(gateway) if tool["name"] == name]
        result = await call(gateway, name, ARGUMENTS[name])
    content = result["structuredContent"]
    check(tool, ARGUMENTS[name], content)
    assert json.loads(result["content"][0]["text"]) == content
    assert (result["isError"], content.get("errors")) == (False, None)
    assert content["forecast"] >= 0


async def test_the_answers_are_those_of_graphql() -> None:
    async with demo() as gateway:
        found = (await content_of(gateway, "search_models", {"search": "qwen", "approval": "APPROVED"}))["data"][
            "models"
        ]
        assert found["total"] == {"count": 2, "relation": "EXACT"}
        assert {node["latestVersion"]["approval"] for node in found["nodes"]} == {"APPROVED"}
        assert [(entry["registry"]["name"], entry["state"]) for entry in found["coverage"]] == [
            ("pai", "COMPLETE"), ("qianfan", "COMPLETE"), ("mlflow", "COMPLETE"),
        ]  # fmt: skip

        model = (await content_of(gateway, "get_model", {"id": PAI_MODEL}))["data"]["model"]
        assert model["latestVersion"]["id"] == VERSION
        listed = (await content_of(gateway, "list_versions", {"model": PAI_MODEL}))["data"]["model"]["versions"]
        assert listed["nodes"][0]["id"] == VERSION
        assert listed["coverage"][0]["state"] == "COMPLETE"
        compared = (await content_of(gateway, "compare_versions", {"versions": [VERSION]}))["data"]["nodes"]
        assert (compared[0]["id"], compared[0]["approval"]) == (VERSION, "REJECTED")
        algorithms = (await content_of(gateway, "find_algorithms", {"search": "llm"}))["data"]["algorithms"]
        assert all("llm" in f"{node['name']} {node['displayName']}".lower() for node in algorithms["nodes"])
        status = (await content_of(gateway, "registry_status"))["data"]["registries"]
        assert [(entry["name"], entry["status"]["state"]) for entry in status] == [
            ("pai", "AVAILABLE"), ("qianfan", "AVAILABLE"), ("mlflow", "UNKNOWN"),  # which has no approvals
        ]  # fmt: skip


async def test_a_page_continues_behind_the_one_before(world: World) -> None:
    first = (await content_of(world.gateway, "search_models", {"first": 2}))["data"]["models"]
    after = first["pageInfo"]["endCursor"]
    second = (await content_of(world.gateway, "search_models", {"first": 2, "after": after}))["data"]["models"]
    ids = [node["id"] for page in (first, second) for node in page["nodes"]]
    assert len(set(ids)) == 4


async def test_an_argument_that_is_null_is_absent(world: World) -> None:
    arguments = {"search": None, "registries": None, "first": None, "after": None}
    content = await content_of(world.gateway, "search_models", arguments)
    assert len(content["data"]["models"]["nodes"]) == 10


async def test_an_object_that_does_not_exist_is_null(world: World) -> None:
    result = await call(world.gateway, "get_model", {"id": "pai:model/none"})
    assert (result["structuredContent"]["data"], result["isError"]) == ({"model": None}, False)


async def test_the_age_is_that_of_the_oldest_part() -> None:
    clock = Clock()
    async with AsyncExitStack() as stack:
        twin = await stack.enter_async_context(twins.serving(models=20))
        sections = {"cache": CacheSettings(jitter=0)}
        gateway = await stack.enter_async_context(served(settings(pai(twin.url), qianfan(twin.url), **sections), clock))
        assert (await content_of(gateway, "search_models"))["age"] == 0
        clock.seconds += 12
        for _ in range(2):  # the second answer is a cached response
            content = await content_of(gateway, "search_models")
            assert content["age"] == 12
            assert [entry["age"] for entry in content["data"]["models"]["coverage"]] == [12, 12]
            assert content["forecast"] > 0
        fresh = await content_of(gateway, "search_models", Cache_Control="no-cache")
        assert fresh["age"] == 0


# Refusals


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "text"),
    [
        ("search_models", {"approval": "MAYBE"}, "BAD_USER_INPUT", "Argument `approval`"),
        ("search_models", {"first": "many"}, "BAD_USER_INPUT", "Argument `first`"),
        ("search_models", {"first": 1_000}, "BAD_USER_INPUT", "`first` must be between 1 and 100"),
        ("search_models", {"filter": {}}, "BAD_USER_INPUT", "The tool has no argument `filter`."),
        ("search_models", {"after": "x"}, "INVALID_CURSOR", "cursor"),
        ("get_model", {}, "BAD_USER_INPUT", "Argument `id`"),
        ("get_model", {"id": "nonsense"}, "INVALID_ID", '"nonsense" is not an id of this graph.'),
        ("registry_status", {"id": "x"}, "BAD_USER_INPUT", "The tool has no argument `id`."),
        ("compare_versions", {"versions": ["x" * 80] * 3_000}, "PAYLOAD_TOO_LARGE", "larger than"),
    ],
)
async def test_a_bad_argument_is_an_error_of_the_tool(
    world: World, tool: str, arguments: Any, code: str, text: str
) -> None:
    result = await call(world.gateway, tool, arguments)
    [error] = result["structuredContent"]["errors"]
    assert (result["isError"], error["code"]) == (True, code)
    assert text in error["message"]
    assert "location" not in json.dumps(result)
    [listed] = [entry for entry in await tools(world.gateway) if entry["name"] == tool]
    jsonschema.validate(result["structuredContent"], strict(listed["outputSchema"]))


async def test_a_tool_that_costs_too_much_is_refused() -> None:
    async with two_clouds(sections={"limits": LimitsSettings(calls=5)}) as world:
        result = await call(world.gateway, "search_models", {"registries": ["qianfan"], "first": 100})
        content = result["structuredContent"]
        assert (result["isError"], content["errors"][0]["code"]) == (True, "QUERY_TOO_EXPENSIVE")
        assert content["forecast"] == content["errors"][0]["cost"] > content["errors"][0]["allowed"] == 5
        assert world.calls() == {}


async def test_the_size_of_a_tool_is_limited_as_that_of_any_query() -> None:
    async with two_clouds(sections={"limits": LimitsSettings(depth=3)}) as world:
        result = await call(world.gateway, "search_models")
        assert result["structuredContent"]["errors"][0]["code"] == "QUERY_TOO_COMPLEX"


async def test_a_header_that_is_not_valid_is_refused(world: World) -> None:
    answer = await send(world.gateway, "tools/call", {"name": "registry_status"}, X_Gateway_Plan="often")
    assert (answer.status, answer.body["error"]["code"], answer.body["id"]) == (400, -32600, 1)


async def test_no_header_turns_a_tool_into_a_dry_run(world: World) -> None:
    content = await content_of(world.gateway, "registry_status", X_Gateway_Plan="only")
    assert [entry["name"] for entry in content["data"]["registries"]] == ["pai", "qianfan"]


# Failures


async def test_coverage_names_a_registry_that_fails(world: World) -> None:
    world.qianfan.faults.replace({"*": {"status": 503, "headers": {"Retry-After": "7"}}})
    result = await call(world.gateway, "search_models")
    content = result["structuredContent"]
    states = {entry["registry"]["name"]: entry for entry in content["data"]["models"]["coverage"]}
    assert (states["pai"]["state"], states["qianfan"]["state"]) == ("COMPLETE", "UNAVAILABLE")
    assert states["qianfan"]["error"]["code"] == "REGISTRY_UNAVAILABLE"
    assert (result["isError"], content["retryAfter"], content["age"]) == (False, 7, 0)
    assert {node["id"].partition(":")[0] for node in content["data"]["models"]["nodes"]} == {"pai"}


async def test_a_model_that_cannot_be_read_is_an_error(world: World) -> None:
    world.pai.faults.replace({"*": {"status": 503, "headers": {"Retry-After": "7"}}})
    result = await call(world.gateway, "get_model", {"id": PAI_MODEL})
    content = result["structuredContent"]
    assert (result["isError"], content["data"]) == (True, {"model": None})
    [error] = content["errors"]
    assert (error["code"], error["registry"], error["path"]) == ("REGISTRY_UNAVAILABLE", "pai", ["model"])
    assert (error["retryable"], content["retryAfter"]) == (True, 7)
    status = (await content_of(world.gateway, "registry_status"))["data"]["registries"][0]["status"]
    assert (status["state"], status["error"]["code"]) == ("UNAVAILABLE", "REGISTRY_UNAVAILABLE")


async def test_all_registries_can_fail(world: World) -> None:
    for cloud in (world.pai, world.qianfan):
        cloud.faults.replace({"*": {"status": 503}})
    result = await call(world.gateway, "find_algorithms")
    assert (result["isError"], result["structuredContent"]["data"]) == (True, {"algorithms": None})
    assert result["structuredContent"]["errors"][0]["code"] == "NO_REGISTRY_ANSWERED"


# The operator's tools

DESCRIBED = '''
"""Our approved models."""
query approved_models("How many" $first: Int = 5, $filter: ModelFilter) {
  models(first: $first, filter: $filter) { ...Names coverage { state } }
}
fragment Names on ModelConnection { nodes { __typename id aliases { name } ... on Model { name } } }
'''
PLAIN = "query plain_models { models { totalCount } }"


def documents(path: Path, *texts: str) -> None:
    path.write_text(json.dumps({str(number): text for number, text in enumerate(texts)}))


async def test_a_trusted_document_with_a_description_is_a_tool(tmp_path: Path) -> None:
    trusted = tmp_path / "documents.json"
    documents(trusted, DESCRIBED, PLAIN)
    async with two_clouds(sections={"documents": DocumentsSettings(trusted=str(trusted))}) as world:
        listed = await tools(world.gateway)
        assert [tool["name"] for tool in listed] == [*OWN, "approved_models"]
        tool = listed[-1]
        assert tool["description"] == "Our approved models."
        assert tool["inputSchema"]["properties"]["first"] == {
            "type": "integer", "description": "How many", "default": 5,
        }  # fmt: skip
        framework = tool["inputSchema"]["properties"]["filter"]["properties"]["framework"]
        assert "PYTORCH" in framework["enum"]
        arguments = {"first": 2, "filter": {"framework": "PYTORCH"}}
        content = await content_of(world.gateway, "approved_models", arguments)
        check(tool, arguments, content)
        assert [node["__typename"] for node in content["data"]["models"]["nodes"]] == ["Model", "Model"]


async def test_the_operators_tools_change_with_the_file(tmp_path: Path) -> None:
    trusted, clock = tmp_path / "documents.json", Clock()
    documents(trusted, PLAIN)
    sections = {"documents": DocumentsSettings(trusted=str(trusted)), "server": ServerSettings(profile="development")}
    async with served(settings(**sections), clock) as gateway:
        assert len(await tools(gateway)) == 6
        documents(trusted, DESCRIBED, '"b" query b { __typename }', '"a" query a { __typename }')
        clock.seconds += CHECK_INTERVAL
        assert [tool["name"] for tool in await tools(gateway)] == [*OWN, "a", "approved_models", "b"]
        documents(trusted, PLAIN)
        clock.seconds += CHECK_INTERVAL
        assert len(await tools(gateway)) == 6


@pytest.mark.parametrize(
    "text",
    [
        '"invalid" query invalid { nothing }',
        '"not GraphQL" query {',
        '"no name" { __typename }',
        '"of the gateway" query get_model { __typename }',
        '"a stream" subscription watch { modelVersionChanged(id: "x") { id } }',
        'query quoted { model(id: "x") { id } }',
    ],
)
async def test_other_trusted_documents_are_no_tools(tmp_path: Path, text: str) -> None:
    trusted = tmp_path / "documents.json"
    documents(trusted, text)
    async with served(
        settings(server=ServerSettings(profile="development"), documents=DocumentsSettings(trusted=str(trusted)))
    ) as gateway:
        assert [tool["name"] for tool in await tools(gateway)] == OWN
        assert (await send(gateway, "tools/call", {"name": "invalid"})).status == 400


async def test_the_own_tools_need_no_trust(tmp_path: Path) -> None:
    trusted = tmp_path / "documents.json"
    documents(trusted, DESCRIBED)
    only = DocumentsSettings(trusted=str(trusted), only_trusted=True)
    async with two_clouds(models=20, sections={"documents": only}) as world:
        for tool in ("search_models", "approved_models"):
            assert (await content_of(world.gateway, tool))["data"]["models"]["nodes"]
        assert (await world.gateway.query("{ registries { name } }")).codes == ["DOCUMENT_NOT_TRUSTED"]
