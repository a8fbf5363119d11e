"""Repeated requests: prepared operations are executed again, with the bytes and headers of parsed requests."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from sys import getsizeof
from typing import Any

import pytest

from gateway.config.settings import AccessSettings, CacheSettings, DocumentsSettings
from gateway.execution.persisted_queries import REGISTERED_BYTES
from gateway.memory_budget import SHARES
from tests.conftest import Answer, World, two_clouds

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
VARYING = ("date", "x-request-id", "traceparent", "age")
PARSED = {"X-Not-On-The-List": "x"}
"""A header that changes nothing, but is not among those that prepared requests may have: the request is parsed."""

Wire = tuple[int, list[tuple[str, str]], bytes]


@pytest.fixture(params=[False, True], ids=["cold", "cached"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    cache = CacheSettings(enabled=request.param, lists=600.0, jitter=0.0)
    async with two_clouds(models=20, sections={"cache": cache}) as world:
        yield world


def body(query: str, **variables: Any) -> bytes:
    return json.dumps({"query": query, "variables": variables}).encode()


async def send(world: World, content: bytes, **headers: str) -> Answer:
    return await world.gateway.request("POST", data=content, headers={"Content-Type": JSON, **headers})


async def wire(world: World, content: bytes, headers: dict[str, str]) -> Wire:
    """Return a response as sent, without the headers that differ in every response."""
    sent = {"Content-Type": JSON, **headers}
    url = f"{world.gateway.url}/graphql"
    async with world.gateway.session.post(url, data=content, headers=sent, auto_decompress=False) as answer:
        constant = [(name.lower(), value) for name, value in answer.headers.items() if name.lower() not in VARYING]
        return answer.status, sorted(constant), await answer.read()


PAGE = "query ($first: Int!) { models(first: $first) { totalCount nodes { id name } coverage { registry { name } } } }"
ANSWERS = {
    "a long answer": body(PAGE, first=20),
    "a short answer": body(PAGE, first=1),
    "other whitespace": body(PAGE, first=20) + b"  ",
    "a partial answer": body('{ node(id: "pai:model/../x") { id } models(first: 9) { nodes { id } } }'),
    "errors alone": body('{ registries { name } model(id: "nowhere:model/x") { id } }'),
    "no data of a registry": body("{ __typename }"),
    "a registry's state": body("{ registries { name status { state } } }"),
    "parts at once": body("{ models(first: 2) { nodes { id ... @defer { name } } } }"),
}


@pytest.mark.parametrize("encoding", ["identity", "gzip, deflate"])
@pytest.mark.parametrize("accept", ["*/*", JSON, GRAPHQL])
async def test_a_prepared_request_has_the_bytes_and_headers_of_a_parsed_one(
    world: World, unparsed: Any, accept: str, encoding: str
) -> None:
    headers = {"Accept": accept, "Accept-Encoding": encoding}
    parsed = {}
    for case, content in ANSWERS.items():
        await wire(world, content, headers)
        parsed[case] = await wire(world, content, headers | PARSED)
    unparsed()
    assert {case: await wire(world, content, headers) for case, content in ANSWERS.items()} == parsed


async def test_a_large_response_is_compressed_in_a_thread(unparsed: Any) -> None:
    query = "query ($first: Int!) { models(first: $first) { nodes { raw versions { nodes { raw } } } } }"
    content = body(query, first=100)
    async with two_clouds(models=200) as world:
        headers = {"Accept-Encoding": "gzip"}
        await wire(world, content, headers)
        parsed = await wire(world, content, headers | PARSED)
        plain = await wire(world, content, {"Accept-Encoding": "identity"} | PARSED)
        unparsed()
        assert len(plain[2]) > 131_072 > len(parsed[2])
        assert await wire(world, content, headers) == parsed
        assert await wire(world, content, {"Accept-Encoding": "identity"}) == plain


@pytest.mark.parametrize("accept", [JSON, GRAPHQL])
async def test_failing_registries_are_reported_alike(world: World, unparsed: Any, accept: str) -> None:
    content, headers = body(PAGE, first=20), {"Accept": accept, "Accept-Encoding": "identity"}
    for cloud in (world.pai, world.qianfan):
        cloud.faults.replace({"*": {"status": 503}})
    await send(world, content, **headers)
    parsed = await send(world, content, **headers, **PARSED)
    unparsed()
    prepared = await send(world, content, **headers)
    assert (prepared.status, prepared.body["data"], prepared.codes) == (200, {"models": None}, ["NO_REGISTRY_ANSWERED"])
    assert (parsed.status, parsed.body["data"], parsed.codes) == (200, {"models": None}, ["NO_REGISTRY_ANSWERED"])
    assert prepared.headers.keys() == parsed.headers.keys()
    for name in ("vary", "content-type", "cache-control"):
        assert prepared.headers[name] == parsed.headers[name]
    assert prepared.headers["cache-control"] == "no-store"


async def test_a_refused_operation_is_refused_again(world: World) -> None:
    page = "models(first: 100) { nodes { versions { nodes { name } } } }"
    costly = body("{ " + " ".join(f"page{number}: {page}" for number in range(20)) + " }")
    for headers in ({}, {"Accept": GRAPHQL}, {}):
        prepared, parsed = await wire(world, costly, headers), await wire(world, costly, headers | PARSED)
        assert prepared == parsed
        assert b"QUERY_TOO_EXPENSIVE" in prepared[2]


@pytest.mark.parametrize(
    "place",
    ["gateway.auth.rate_limits.CallerRateLimiter.operation", "gateway.catalog.plan_execution.PlanExecution.entity"],
)
@pytest.mark.parametrize("accept", [JSON, GRAPHQL])
async def test_unexpected_errors_are_masked(
    monkeypatch: pytest.MonkeyPatch, unparsed: Any, place: str, accept: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("hunter2")

    content = body('{ model(id: "pai:model/m") { id } }')
    async with two_clouds(models=1) as world:
        await send(world, content, Accept=accept)
        monkeypatch.setattr(place, broken)
        parsed = await send(world, content, Accept=accept, **PARSED)
        unparsed()
        prepared = await send(world, content, Accept=accept)
    assert (prepared.status, prepared.codes) == (parsed.status, ["INTERNAL_SERVER_ERROR"])
    assert "hunter2" not in str(prepared.body)
    assert prepared.body["errors"][0]["extensions"]["errorId"] in caplog.text
    assert prepared.headers.keys() == parsed.headers.keys()


async def test_without_a_cache_each_request_calls_the_registries(unparsed: Any) -> None:
    async with two_clouds(models=20) as world:
        await send(world, body(PAGE, first=20))
        unparsed()
        for _ in range(3):
            world.calls()
            assert len((await send(world, body(PAGE, first=20))).data["models"]["nodes"]) == 20
            assert world.calls()["ListModels"] == 2


async def test_each_media_type_is_prepared_separately(world: World, unparsed: Any) -> None:
    content = body('{ node(id: "pai:model/../x") { id } }')
    for accept in (JSON, GRAPHQL):
        await send(world, content, Accept=accept)
    unparsed()
    for accept in (JSON, GRAPHQL, JSON):
        assert (await send(world, content, Accept=accept)).headers["content-type"] == f"{accept}; charset=utf-8"
    assert (await send(world, content, Accept="text/html, */*")).status == 418


async def test_repeats_leave_the_variables_unchanged(world: World, unparsed: Any) -> None:
    query = """query ($filter: ModelFilter, $refs: [_Any!]!) {
        models(filter: $filter) { totalCount } _entities(representations: $refs) { __typename }
    }"""
    model = (await send(world, body("{ models(first: 1) { nodes { id } } }"))).data["models"]["nodes"][0]["id"]
    refs = [{"__typename": "Model", "id": model}, {"__typename": "Model"}]
    content = body(query, filter={"ownership": "OWN", "registries": ["pai"]}, refs=refs)
    first = await send(world, content)
    assert first.body["data"]["models"]["totalCount"] > 0
    assert first.codes == ["BAD_USER_INPUT"]
    unparsed()
    for _ in range(3):
        assert (await send(world, content)).body == first.body


async def test_identical_requests_at_once_are_executed_once(unparsed: Any) -> None:
    async with two_clouds(models=20, sections={"cache": CacheSettings()}) as world:
        world.pai.faults.replace({"*": {"status": 503}})
        assert (await send(world, body(PAGE, first=20))).codes == ["REGISTRY_UNAVAILABLE"]
        world.pai.faults.replace({"ListModels": {"latency": 0.05}})
        world.calls()
        unparsed()
        answers = await asyncio.gather(*(send(world, body(PAGE, first=20)) for _ in range(50)))
        assert len({json.dumps(answer.data) for answer in answers}) == 1
        assert world.calls()["ListModels"] == 2


async def test_requests_with_authentication_are_not_prepared(unparsed: Any, tmp_path: Any) -> None:
    keys = tmp_path / "keys.toml"
    hashed = hashlib.sha256(b"a key").hexdigest()
    keys.write_text(
        f'[[keys]]\nname = "app"\nhash = "sha256:{hashed}"\nroles = ["read"]\nregistries = ["*"]\n', encoding="utf-8"
    )
    sections = {"access": AccessSettings(mode="callers", keys=str(keys))}
    async with two_clouds(models=1, sections=sections) as world:
        for _ in range(2):
            answer = await send(world, body("{ __typename }"))
            assert (answer.status, answer.codes) == (401, ["UNAUTHENTICATED"])


# Documents that clients register


def registration(text: str | None, hashed: str) -> bytes:
    extensions = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": hashed}}}
    return json.dumps(extensions if text is None else {"query": text, **extensions}).encode()


async def test_repeats_count_as_uses_of_a_registered_document(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["{ a: __typename }", "{ b: __typename }", "{ c: __typename }"]
    two_and_a_half = 2.5 * (REGISTERED_BYTES + getsizeof(texts[0]) + getsizeof(None))
    monkeypatch.setattr("gateway.memory_budget.SHARES", {**SHARES, "queries": two_and_a_half / 256_000_000})
    sections = {"documents": DocumentsSettings(automatic=True)}
    named = {text: hashlib.sha256(text.encode()).hexdigest() for text in texts}
    async with two_clouds(models=1, sections=sections) as world:

        async def codes_of(text: str) -> list[str]:
            return (await send(world, registration(None, named[text]))).codes

        async def register(text: str) -> None:
            assert (await send(world, registration(text, named[text]))).codes == []

        one, other, third = texts
        for _ in range(2):
            await register(one)
            await register(other)
            assert await codes_of(one) == []
            await register(third)
            assert await codes_of(other) == ["PERSISTED_QUERY_NOT_FOUND"]
            assert await codes_of(one) == [], "it was used more recently"
            await register(other)
            assert await codes_of(other) == []


# Bounds


async def test_prepared_requests_are_bounded(monkeypatch: pytest.MonkeyPatch, unparsed: Any) -> None:
    monkeypatch.setattr("gateway.memory_budget.SHARES", {**SHARES, "requests": 30_000 / 256_000_000})
    async with two_clouds(models=1) as world:
        contents = [body("{ __typename }") + b" " * number for number in range(9)]
        other = body("{ registries { name } }")
        for content in (other, *contents, other):
            await send(world, content)
        unparsed()
        prepared = [(await send(world, content)).status == 200 for content in contents]
        assert prepared == sorted(prepared), "the least recent are dropped first"
        assert 0 < sum(prepared) < 9
        assert (await send(world, other)).status == 200
