"""The Model Context Protocol at `/mcp`: messages, headers, versions, origins, and clients of earlier revisions."""

import base64
from typing import Any

import pytest

from gateway.config.settings import LimitsSettings, McpSettings, ServerSettings
from tests.conftest import Client, World, served, settings, two_clouds
from tests.mcp.requests import META, REVISION, body, call, headers_of, post, send

EARLIER = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"]
CALL = body("tools/call", {"name": "registry_status", "arguments": {}})


def error(answer: Any) -> tuple[int, int]:
    """The status and the code of an error."""
    return answer.status, answer.body["error"]["code"]


@pytest.fixture
def gateway(world: World) -> Client:
    return world.gateway


# Where it is served


@pytest.mark.parametrize(
    ("profile", "enabled", "status"),
    [
        ("production", None, 404),
        ("production", True, 200),
        ("development", None, 200),
        ("development", False, 404),
    ],
)
async def test_production_serves_it_only_if_a_setting_says_so(profile: str, enabled: bool | None, status: int) -> None:
    async with served(settings(server=ServerSettings(profile=profile), mcp=McpSettings(enabled=enabled))) as gateway:
        assert (await send(gateway, "tools/list")).status == status


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "HEAD"])
async def test_only_post_is_allowed(gateway: Client, method: str) -> None:
    answer = await gateway.request(method, "/mcp", headers={"Accept": "text/event-stream"})
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


# Messages


async def test_a_client_discovers_the_server(gateway: Client) -> None:
    answer = await send(gateway, "server/discover")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    result = answer.body["result"]
    assert (result["supportedVersions"], result["capabilities"]) == ([REVISION], {"tools": {}})
    assert (result["resultType"], result["cacheScope"]) == ("complete", "public")
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "registry-gateway"


@pytest.mark.parametrize("id", [0, "a", -7])
async def test_an_answer_has_the_id_of_its_request(gateway: Client, id: Any) -> None:
    good, bad = CALL | {"id": id}, body("no/such", id=id)
    assert (await post(gateway, good, headers_of(good))).body["id"] == id
    assert (await post(gateway, bad, headers_of(bad))).body["id"] == id


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"{", (400, -32700)),
        (b"", (400, -32700)),
        ([CALL], (400, -32600)),
        (1, (400, -32600)),
        (CALL | {"id": None}, (400, -32600)),
        (CALL | {"id": True}, (400, -32600)),
        (CALL | {"id": 1.5}, (400, -32600)),
        (CALL | {"jsonrpc": "1.0"}, (400, -32600)),
        (CALL | {"method": 1}, (400, -32600)),
        (CALL | {"params": []}, (400, -32602)),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, (400, -32600)),
    ],
)
async def test_a_body_that_is_no_request_is_refused(gateway: Client, content: Any, expected: tuple[int, int]) -> None:
    assert error(await post(gateway, content, headers_of(CALL))) == expected


async def test_a_notification_is_acknowledged(gateway: Client) -> None:
    notification = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    answer = await post(gateway, notification)
    assert (answer.status, answer.body) == (202, "")


async def test_bodies_have_the_limits_of_all_requests() -> None:
    async with served(
        settings(server=ServerSettings(profile="development"), limits=LimitsSettings(body_bytes=1_000))
    ) as gateway:
        large = body("tools/list", {"more": "x" * 1_000})
        assert error(await post(gateway, large, headers_of(large))) == (413, -32600)
        assert error(await post(gateway, CALL, headers_of(CALL) | {"Content-Type": "text/plain"})) == (415, -32600)


@pytest.mark.parametrize(
    "method", ["no/such", "initialize", "ping", "resources/list", "prompts/list", "subscriptions/listen"]
)
async def test_an_unknown_method_is_not_found(gateway: Client, method: str) -> None:
    assert error(await send(gateway, method)) == (404, -32601)


@pytest.mark.parametrize(
    "params",
    [{"name": "no_such"}, {"name": "no_such", "arguments": []}, {"name": 1}, {}],
)
async def test_a_call_of_no_tool_is_refused(gateway: Client, params: Any) -> None:
    message = body("tools/call", params)
    assert error(await post(gateway, message, headers_of(CALL) | {"Mcp-Name": "no_such"})) == (400, -32602)


async def test_the_list_of_tools_has_one_page(gateway: Client) -> None:
    answer = await send(gateway, "tools/list")
    assert "nextCursor" not in answer.body["result"]
    assert (answer.body["result"]["ttlMs"], answer.body["result"]["cacheScope"]) == (60_000, "private")
    assert error(await send(gateway, "tools/list", {"cursor": "x"})) == (400, -32602)


# Headers and versions


@pytest.mark.parametrize("name", ["MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"])
@pytest.mark.parametrize("value", [None, "other", "", "=?base64?%%?=", "=?base64?gA==?="])
async def test_a_header_must_equal_the_body(gateway: Client, name: str, value: str | None) -> None:
    assert error(await post(gateway, CALL, {**headers_of(CALL), name: value})) == (400, -32020)


async def test_a_repeated_header_is_refused(gateway: Client) -> None:
    repeated = [*headers_of(CALL).items(), ("Mcp-Name", "registry_status"), ("Content-Type", "application/json")]
    assert error(await gateway.request("POST", "/mcp", json=CALL, headers=repeated)) == (400, -32020)


@pytest.mark.parametrize("value", ["registry_status  ", f"=?base64?{base64.b64encode(b'registry_status').decode()}?="])
async def test_a_header_can_be_encoded(gateway: Client, value: str) -> None:
    assert (await post(gateway, CALL, {**headers_of(CALL), "Mcp-Name": value})).status == 200


@pytest.mark.parametrize("version", ["1900-01-01", "2025-11-25", ""])
async def test_another_version_is_refused_with_those_that_are_served(gateway: Client, version: str) -> None:
    meta = META | {"io.modelcontextprotocol/protocolVersion": version}
    answer = await send(gateway, "server/discover", {"_meta": meta}, MCP_Protocol_Version=version)
    assert error(answer) == (400, -32022)
    assert answer.body["error"]["data"] == {"supported": [REVISION], "requested": version}


async def test_an_unknown_version_without_metadata_is_refused(gateway: Client) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    answer = await post(gateway, message, {"MCP-Protocol-Version": "1900-01-01", "Mcp-Method": "tools/list"})
    assert error(answer) == (400, -32022)


@pytest.mark.parametrize("missing", ["protocolVersion", "clientCapabilities", "all"])
async def test_the_metadata_must_be_complete(gateway: Client, missing: str) -> None:
    meta = {} if missing == "all" else {name: value for name, value in META.items() if not name.endswith(missing)}
    assert error(await send(gateway, "server/discover", {"_meta": meta})) == (400, -32602)


# Origins


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("https://agents.example.com", 200),
        ("http://localhost:3000", 200),
        ("https://evil.example.com", 403),
        ("null", 403),
    ],
)
async def test_pages_of_foreign_origins_are_refused(origin: str | None, status: int) -> None:
    server = ServerSettings(profile="development", cors="loopback https://agents.example.com")
    async with served(settings(server=server)) as gateway:
        assert (await send(gateway, "tools/list", Origin=origin)).status == status


async def test_a_page_whose_host_was_rebound_is_refused(gateway: Client) -> None:
    answer = await send(gateway, "tools/list", Origin="http://evil.example.com", Host="evil.example.com")
    assert error(answer) == (403, -32600)


# Earlier revisions


@pytest.mark.parametrize(("wanted", "agreed"), [*zip(EARLIER, EARLIER, strict=True), (REVISION, EARLIER[0])])
async def test_an_earlier_client_needs_no_session(gateway: Client, wanted: str, agreed: str) -> None:
    params = {"protocolVersion": wanted, "capabilities": {}, "clientInfo": {"name": "old", "version": "1"}}
    answer = await post(gateway, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
    assert (answer.status, answer.body["result"]["protocolVersion"]) == (200, agreed)
    assert "mcp-session-id" not in answer.headers

    version = {"MCP-Protocol-Version": agreed}
    listed = await post(gateway, {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}, version)
    assert len(listed.body["result"]["tools"]) == 6
    params = {"name": "registry_status"}
    called = await post(gateway, {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params}, version)
    assert called.body["result"]["structuredContent"]["data"]["registries"][0]["name"] == "pai"
    assert "resultType" not in called.body["result"]
    pinged = await post(gateway, {"jsonrpc": "2.0", "id": 4, "method": "ping"}, version)
    assert pinged.body == {"jsonrpc": "2.0", "id": 4, "result": {}}


async def test_an_earlier_client_cannot_discover(gateway: Client) -> None:
    answer = await post(gateway, {"jsonrpc": "2.0", "id": 1, "method": "server/discover"})
    assert error(answer) == (404, -32601)


# Under a path


async def test_it_is_served_below_the_path_of_a_proxy() -> None:
    async with two_clouds(
        models=20, sections={"server": ServerSettings(profile="development", root_path="/models")}
    ) as world:
        assert await call(Client(f"{world.gateway.url}/models", world.gateway.session), "registry_status")
