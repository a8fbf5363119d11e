"""Cached responses are not affected by the headers of other clients."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway import twins
from gateway.config.settings import AccessSettings, CacheSettings
from tests.auth.gateways import KeyFile
from tests.conftest import Answer, World, pai, served, settings, two_clouds

POISON = [
    {"Host": "evil.example"}, {"X-Forwarded-Host": "evil.example"}, {"X-Forwarded-For": "evil.example"},
    {"X-Forwarded-Proto": "gopher"}, {"X-Forwarded-Prefix": "/evil"}, {"Forwarded": "host=evil.example"},
    {"X-Original-URL": "/schema.graphql"}, {"X-Rewrite-URL": "/schema.graphql"}, {"X-HTTP-Method-Override": "DELETE"},
    {"Origin": "https://evil.example"}, {"Referer": "https://evil.example"}, {"Accept-Language": "xx"},
    {"Accept": "application/graphql-response+json"}, {"X-Request-Id": "evil"}, {"X-Gateway-Registries": "pai"},
    {"X-Gateway-Roles": "admin"}, {"X-Gateway-Caller": "evil"}, {"Cookie": "evil=1"}, {"Range": "bytes=0-3"},
    {"If-None-Match": "*"}, {"Cache-Control": "no-cache"}, {"Accept-Encoding": "gzip"}, {"X-Gateway-Plan": ""},
]  # fmt: skip


@pytest.fixture
async def caching() -> AsyncIterator[World]:
    """A gateway with a cache."""
    async with two_clouds(models=10, sections={"cache": CacheSettings()}) as world:
        yield world


@pytest.mark.parametrize("headers", POISON, ids=lambda headers: next(iter(headers)))
async def test_headers_of_one_client_do_not_affect_the_next(caching: World, headers: dict[str, str]) -> None:
    send = caching.gateway.request
    for number, method in enumerate(("GET", "POST")):
        query = f"query Q{number} {{ models(first: {number + 2}) {{ nodes {{ id name }} }} }}"
        options: Any = {"params": {"query": query}} if method == "GET" else {"json": {"query": query}}
        poisoned = await send(method, headers=headers, **options)
        assert "evil" not in str({name: value for name, value in poisoned.headers.items() if name != "x-request-id"})
        after = await send(method, **options)
        caching.gateway.session.headers["Cache-Control"] = "no-cache"
        fresh = await send(method, **options)
        del caching.gateway.session.headers["Cache-Control"]
        assert constant_parts(after) == constant_parts(fresh)


def constant_parts(answer: Answer) -> tuple[int, Any, dict[str, str]]:
    """Return a response without the headers that differ in every response."""
    varying = ("date", "age", "x-request-id", "traceparent", "cache-control")
    return answer.status, answer.body, {n: v for n, v in answer.headers.items() if n not in varying}


async def test_errors_must_not_be_stored(caching: World) -> None:
    for query in ("{", "{ nothing }", '{ node(id: "x") { id } }', "{ __typename"):
        for accept in ("application/json", "application/graphql-response+json"):
            answer = await caching.gateway.request("GET", params={"query": query}, headers={"Accept": accept})
            assert answer.headers["cache-control"] == "no-store"
            assert "etag" not in answer.headers


async def test_a_response_is_private_to_its_caller(tmp_path: Path) -> None:
    """The entity tag of one caller does not match the different response of another."""
    key_file = KeyFile(tmp_path / "keys.toml")
    mine, theirs = key_file.add("me", ("pai",)), key_file.add("them", ("nothing",))
    access = AccessSettings(mode="callers", keys=str(key_file.path))
    async with twins.serving(models=5) as cloud, served(settings(pai(cloud.url), access=access)) as gateway:
        query = {"query": "{ models(first: 3) { nodes { id } } }"}
        answer = await gateway.request("GET", params=query, headers={"X-API-Key": mine})
        assert answer.data["models"]["nodes"]
        assert answer.headers["cache-control"].startswith("private")
        assert {"Accept", "Authorization", "X-API-Key"} <= {one.strip() for one in answer.headers["vary"].split(",")}
        stolen = {"X-API-Key": theirs, "If-None-Match": answer.headers["etag"]}
        assert (await gateway.request("GET", params=query, headers=stolen)).data["models"]["nodes"] == []
