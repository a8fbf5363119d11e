"""Callers of the Model Context Protocol: credentials, the scope of each tool, metadata of the resource, isolation."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.config.settings import (
    AccessSettings,
    CacheSettings,
    DocumentsSettings,
    LimitsSettings,
    McpSettings,
    ServerSettings,
)
from gateway.config.watched_files import CHECK_INTERVAL
from gateway.http.mcp import WELL_KNOWN
from tests.auth.gateways import RSA, Clock, KeyFile, authenticating_gateway, public, running_issuer, send_query, token
from tests.conftest import Client
from tests.mcp.requests import PAI_MODEL, call, content_of, send, tools

SCOPE = "tool:search_models"
URL = "https://models.example.com/registry/mcp"
METADATA = "https://models.example.com/.well-known/oauth-protected-resource/registry/mcp"
SECTIONS: dict[str, Any] = {"mcp": McpSettings(enabled=True), "server": ServerSettings()}


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    file = KeyFile(tmp_path / "keys.toml")
    file.add("nobody-uses-this-key")
    return file


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def gateway(keys: KeyFile, clock: Clock) -> AsyncIterator[Client]:
    access = AccessSettings(mode="callers", keys=str(keys.path))
    sections = {**SECTIONS, "cache": CacheSettings()}
    async with authenticating_gateway(access, clock, **sections) as running:
        yield running


@pytest.fixture
def new_key(keys: KeyFile, clock: Clock) -> Callable[..., str]:
    """A function that adds a key, as `KeyFile.add` does, to the running gateway."""

    def add(*arguments: Any, **options: Any) -> str:
        key = keys.add(*arguments, **options)
        clock.seconds += CHECK_INTERVAL
        return key

    return add


def bearer(credential: str) -> str:
    return f"Bearer {credential}"


@pytest.mark.parametrize("method", ["server/discover", "tools/list", "tools/call"])
@pytest.mark.parametrize("credential", [None, "Bearer wrong"])
async def test_a_request_needs_a_credential(gateway: Client, method: str, credential: str | None) -> None:
    answer = await send(gateway, method, {"name": "registry_status"}, Authorization=credential)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="gateway"')


async def test_a_caller_sees_its_registries_only(gateway: Client, new_key: Callable[..., str]) -> None:
    one, other = new_key("one", ("pai",)), new_key("other", ("qianfan",))
    assert await both(gateway, one, "find_algorithms") == {"pai"}
    assert await both(gateway, other, "find_algorithms") == {"qianfan"}
    for _ in range(2):  # from the registries, then from the caches that both callers share
        assert await both(gateway, one, "search_models") == {"pai"}
        assert await both(gateway, other, "search_models") == {"qianfan"}
    status = await content_of(gateway, "registry_status", X_API_Key=one)
    assert [entry["name"] for entry in status["data"]["registries"]] == ["pai"]


async def both(gateway: Client, key: str, tool: str) -> set[str]:
    """The registries in the rows and in the coverage of a list; both must be the same."""
    [found] = (await content_of(gateway, tool, X_API_Key=key))["data"].values()
    named = {entry["registry"]["name"] for entry in found["coverage"]}
    assert {node["id"].partition(":")[0] for node in found["nodes"]} == named
    return named


async def test_nothing_leaks_between_callers_at_the_same_time(gateway: Client, new_key: Callable[..., str]) -> None:
    one, other = new_key("one", ("pai",)), new_key("other", ("qianfan",))
    calls = [both(gateway, key, "search_models") for _ in range(5) for key in (one, other)]
    assert await asyncio.gather(*calls) == [{"pai"}, {"qianfan"}] * 5


async def test_a_model_of_another_caller_does_not_exist(gateway: Client, new_key: Callable[..., str]) -> None:
    key = new_key("one", ("qianfan",))
    hidden = await call(gateway, "get_model", {"id": PAI_MODEL}, X_API_Key=key)
    unknown = await call(gateway, "get_model", {"id": PAI_MODEL.replace("pai:", "none:")}, X_API_Key=key)
    assert str(hidden).replace("pai:", "none:") == str(unknown)


async def test_the_caller_is_limited_as_elsewhere(keys: KeyFile) -> None:
    key = keys.add()
    access, limits = AccessSettings(mode="callers", keys=str(keys.path)), LimitsSettings(requests_per_second=0.1)
    async with authenticating_gateway(access, Clock(), limits=limits, **SECTIONS) as gateway:
        assert not (await call(gateway, "registry_status", X_API_Key=key))["isError"]
        result = await call(gateway, "registry_status", X_API_Key=key)
        content = result["structuredContent"]
        assert (result["isError"], content["errors"][0]["code"]) == (True, "TOO_MANY_REQUESTS")
        assert 0 < content["retryAfter"] <= 10


# Scopes


@pytest.mark.parametrize(
    ("roles", "visible"),
    [
        (("read",), 6),
        ((SCOPE,), 1),
        ((SCOPE, "tool:get_model"), 2),
        (("explain",), 0),
    ],
)
async def test_a_caller_sees_the_tools_that_it_may_call(
    gateway: Client, new_key: Callable[..., str], roles: tuple[str, ...], visible: int
) -> None:
    key = new_key(roles=roles)
    assert len(await tools(gateway, X_API_Key=key)) == visible


async def test_a_tool_needs_its_scope(gateway: Client, new_key: Callable[..., str]) -> None:
    key = new_key(roles=(SCOPE,))
    assert not (await call(gateway, "search_models", X_API_Key=key))["isError"]
    denied = await send(gateway, "tools/call", {"name": "get_model", "arguments": {"id": "x"}}, X_API_Key=key)
    assert (denied.status, denied.body) == (403, {"error": "The role `tool:get_model` is needed for this."})
    challenge = 'Bearer error="insufficient_scope", scope="tool:get_model"'
    assert denied.headers["www-authenticate"] == challenge
    assert (await send_query(gateway, X_API_Key=key)).status == 403


async def test_the_tool_of_a_trusted_document_shows_raw_to_those_who_may_see_it(keys: KeyFile, tmp_path: Path) -> None:
    trusted = tmp_path / "documents.json"
    trusted.write_text('{"1": "\\"Raw models.\\" query raw_models { models(first: 1) { nodes { raw } } }"}')
    access, documents = AccessSettings(mode="callers", keys=str(keys.path)), DocumentsSettings(trusted=str(trusted))
    read, raw = keys.add("reader"), keys.add("auditor", roles=("tool:raw_models", "raw"))
    async with authenticating_gateway(access, Clock(), documents=documents, **SECTIONS) as gateway:
        refused = await content_of(gateway, "raw_models", X_API_Key=read)
        assert (refused["data"], refused["errors"][0]["code"]) == (None, "FORBIDDEN")
        assert (await content_of(gateway, "raw_models", X_API_Key=raw))["data"]["models"]["nodes"][0]["raw"]


async def test_a_router_passes_scopes_on(gateway: Client, new_key: Callable[..., str]) -> None:
    key = new_key(roles=("router", "read"))
    headers = {"X_API_Key": key, "X_Gateway_Registries": "*", "X_Gateway_Roles": f"{SCOPE} admin"}
    assert [tool["name"] for tool in await tools(gateway, **headers)] == ["search_models"]


# Tokens and metadata


@pytest.mark.parametrize("url", ["", URL])
async def test_a_token_has_the_scopes_of_its_claim(url: str) -> None:
    clock = Clock()
    async with running_issuer(public(RSA, "1")) as issuer:
        access = AccessSettings(
            mode="callers", issuer=issuer.url, audience=URL, jwks=f"{issuer.url}/jwks", roles_claim="scope"
        )
        sections = {**SECTIONS, "mcp": McpSettings(enabled=True, url=url)}
        async with authenticating_gateway(access, clock, **sections) as gateway:
            claims = {"iss": issuer.url, "aud": URL, "sub": "agent", "exp": clock.seconds + 60, "registries": "*"}
            scoped = bearer(token(claims | {"scope": f"openid {SCOPE}"}))
            challenge = f', resource_metadata="{METADATA}"' if url else ""

            anonymous = await send(gateway, "tools/list")
            assert (anonymous.status, anonymous.headers["www-authenticate"]) == (
                401,
                f'Bearer realm="gateway"{challenge}',
            )
            for_another = bearer(token(claims | {"aud": "https://other.example.com", "scope": SCOPE}))
            assert (await send(gateway, "tools/list", Authorization=for_another)).status == 401

            assert [tool["name"] for tool in await tools(gateway, Authorization=scoped)] == ["search_models"]
            assert (await content_of(gateway, "search_models", Authorization=scoped))["data"]["models"]["nodes"]
            denied = await send(gateway, "tools/call", {"name": "registry_status"}, Authorization=scoped)
            expected = f'Bearer error="insufficient_scope", scope="tool:registry_status"{challenge}'
            assert (denied.status, denied.headers["www-authenticate"]) == (403, expected)

            for path in (WELL_KNOWN, f"{WELL_KNOWN}/registry/mcp"):
                metadata = await gateway.request("GET", path)
                assert metadata.status == (200 if url else 404)
                if url:
                    assert (metadata.body["resource"], metadata.body["authorization_servers"]) == (URL, [issuer.url])
                    assert metadata.body["bearer_methods_supported"] == ["header"]
                    assert metadata.body["scopes_supported"][0] == SCOPE


async def test_a_gateway_without_an_issuer_has_no_metadata(keys: KeyFile) -> None:
    access = AccessSettings(mode="callers", keys=str(keys.path))
    sections = {**SECTIONS, "mcp": McpSettings(enabled=True, url=URL)}
    async with authenticating_gateway(access, Clock(), **sections) as gateway:
        assert (await gateway.request("GET", WELL_KNOWN)).status == 404
