"""The short way without a kept answer: what was prepared once is executed anew, and nobody can tell but by the time."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.config.settings import AccessSettings, CacheSettings, DocumentsSettings
from tests.conftest import Answer, World, two_clouds

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
PASSING = ("date", "x-request-id", "traceparent", "age")
LONG = {"Origin": "https://models.example.com"}
"""A header that decides nothing here, but might: who sends it is answered the long way."""

Wire = tuple[int, list[tuple[str, str]], bytes]


@pytest.fixture(params=[False, True], ids=["cold", "cached"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    cache = CacheSettings(enabled=request.param, lists=600.0, jitter=0.0)
    async with two_clouds(models=20, sections={"cache": cache}) as world:
        yield world


def body(query: str, **variables: Any) -> bytes:
    return json.dumps({"query": query, "variables": variables}).encode()


async def ask(world: World, content: bytes, **headers: str) -> Answer:
    return await world.gateway.request("POST", data=content, headers={"Content-Type": JSON, **headers})


async def wire(world: World, content: bytes, headers: dict[str, str]) -> Wire:
    """An answer as it comes over the wire, but for what is another in every answer."""
    said = {"Content-Type": JSON, **headers}
    url = f"{world.gateway.url}/graphql"
    async with world.gateway.session.post(url, data=content, headers=said, auto_decompress=False) as answer:
        lasting = [(name.lower(), value) for name, value in answer.headers.items() if name.lower() not in PASSING]
        return answer.status, sorted(lasting), await answer.read()


PAGE = "query ($first: Int!) { models(first: $first) { totalCount nodes { id name } coverage { registry { name } } } }"
ANSWERS = {
    "a long answer": body(PAGE, first=20),
    "a short answer": body(PAGE, first=1),
    "another spelling": body(PAGE, first=20) + b"  ",
    "a partial answer": body('{ node(id: "pai:model/../x") { id } models(first: 9) { nodes { id } } }'),
    "errors alone": body('{ registries { name } model(id: "nowhere:model/x") { id } }'),
    "nothing of a registry": body("{ __typename }"),
    "a registry's state": body("{ registries { name status { state } } }"),
    "parts at once": body("{ models(first: 2) { nodes { id ... @defer { name } } } }"),
}


@pytest.mark.parametrize("encoding", ["identity", "gzip, deflate"])
@pytest.mark.parametrize("accept", ["*/*", JSON, GRAPHQL])
async def test_either_way_gives_the_same_bytes_and_headers(
    world: World, unparsed: Any, accept: str, encoding: str
) -> None:
    headers = {"Accept": accept, "Accept-Encoding": encoding}
    long = {}
    for case, content in ANSWERS.items():
        await wire(world, content, headers)
        long[case] = await wire(world, content, headers | LONG)
    unparsed()
    assert {case: await wire(world, content, headers) for case, content in ANSWERS.items()} == long


async def test_a_large_answer_is_compressed_apart_and_is_the_same(unparsed: Any) -> None:
    query = "query ($first: Int!) { models(first: $first) { nodes { raw versions { nodes { raw } } } } }"
    content = body(query, first=100)
    async with two_clouds(models=200) as world:
        headers = {"Accept-Encoding": "gzip"}
        await wire(world, content, headers)
        long = await wire(world, content, headers | LONG)
        plain = await wire(world, content, {"Accept-Encoding": "identity"} | LONG)
        unparsed()
        assert len(plain[2]) > 131_072 > len(long[2])
        assert await wire(world, content, headers) == long
        assert await wire(world, content, {"Accept-Encoding": "identity"}) == plain


@pytest.mark.parametrize("accept", [JSON, GRAPHQL])
async def test_failing_registries_are_told_as_on_the_long_way(world: World, unparsed: Any, accept: str) -> None:
    content, headers = body(PAGE, first=20), {"Accept": accept, "Accept-Encoding": "identity"}
    for cloud in (world.pai, world.qianfan):
        cloud.faults.replace({"*": {"status": 503}})
    await ask(world, content, **headers)
    long = await ask(world, content, **headers, **LONG)
    unparsed()
    short = await ask(world, content, **headers)
    assert (short.status, short.body["data"], short.codes) == (200, {"models": None}, ["NO_REGISTRY_ANSWERED"])
    assert (long.status, long.body["data"], long.codes) == (200, {"models": None}, ["NO_REGISTRY_ANSWERED"])
    assert short.headers.keys() == long.headers.keys()
    for name in ("vary", "content-type", "cache-control"):
        assert short.headers[name] == long.headers[name]
    assert short.headers["cache-control"] == "no-store"


async def test_what_was_refused_is_refused_again(world: World) -> None:
    page = "models(first: 100) { nodes { versions { nodes { name } } } }"
    costly = body("{ " + " ".join(f"page{number}: {page}" for number in range(20)) + " }")
    for headers in ({}, {"Accept": GRAPHQL}, {}):
        short, long = await wire(world, costly, headers), await wire(world, costly, headers | LONG)
        assert short == long
        assert b"QUERY_TOO_EXPENSIVE" in short[2]


@pytest.mark.parametrize(
    "place", ["gateway.auth.rate_limits.CallerRateLimiter.let_in", "gateway.catalog.operation.Operation.entity"]
)
@pytest.mark.parametrize("accept", [JSON, GRAPHQL])
async def test_what_breaks_is_masked(
    monkeypatch: pytest.MonkeyPatch, unparsed: Any, place: str, accept: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("hunter2")

    content = body('{ model(id: "pai:model/m") { id } }')
    async with two_clouds(models=1) as world:
        await ask(world, content, Accept=accept)
        monkeypatch.setattr(place, broken)
        long = await ask(world, content, Accept=accept, **LONG)
        unparsed()
        short = await ask(world, content, Accept=accept)
    assert (short.status, short.codes) == (long.status, ["INTERNAL_SERVER_ERROR"])
    assert "hunter2" not in str(short.body)
    assert short.body["errors"][0]["extensions"]["errorId"] in caplog.text
    assert short.headers.keys() == long.headers.keys()


async def test_the_registries_are_asked_each_time_where_nothing_is_kept(unparsed: Any) -> None:
    async with two_clouds(models=20) as world:
        await ask(world, body(PAGE, first=20))
        unparsed()
        for _ in range(3):
            world.calls()
            assert len((await ask(world, body(PAGE, first=20))).data["models"]["nodes"]) == 20
            assert world.calls()["ListModels"] == 2


async def test_every_media_type_has_its_own_way(world: World, unparsed: Any) -> None:
    content = body('{ node(id: "pai:model/../x") { id } }')
    for accept in (JSON, GRAPHQL):
        await ask(world, content, Accept=accept)
    unparsed()
    for accept in (JSON, GRAPHQL, JSON):
        assert (await ask(world, content, Accept=accept)).headers["content-type"] == f"{accept}; charset=utf-8"
    assert (await ask(world, content, Accept="text/html, */*")).status == 418


async def test_variables_stay_as_they_were_sent(world: World, unparsed: Any) -> None:
    query = """query ($filter: ModelFilter, $refs: [_Any!]!) {
        models(filter: $filter) { totalCount } _entities(representations: $refs) { __typename }
    }"""
    model = (await ask(world, body("{ models(first: 1) { nodes { id } } }"))).data["models"]["nodes"][0]["id"]
    refs = [{"__typename": "Model", "id": model}, {"__typename": "Model"}]
    content = body(query, filter={"ownership": "OWN", "registries": ["pai"]}, refs=refs)
    first = await ask(world, content)
    assert first.body["data"]["models"]["totalCount"] > 0
    assert first.codes == ["BAD_USER_INPUT"]
    unparsed()
    for _ in range(3):
        assert (await ask(world, content)).body == first.body


async def test_the_same_question_at_the_same_time_is_executed_once(unparsed: Any) -> None:
    async with two_clouds(models=20, sections={"cache": CacheSettings()}) as world:
        world.pai.faults.replace({"*": {"status": 503}})
        assert (await ask(world, body(PAGE, first=20))).codes == ["REGISTRY_UNAVAILABLE"]
        world.pai.faults.replace({"ListModels": {"latency": 0.05}})
        world.calls()
        unparsed()
        answers = await asyncio.gather(*(ask(world, body(PAGE, first=20)) for _ in range(50)))
        assert len({json.dumps(answer.data) for answer in answers}) == 1
        assert world.calls()["ListModels"] == 2


async def test_where_callers_have_names_everything_is_parsed(unparsed: Any, tmp_path: Any) -> None:
    keys = tmp_path / "keys.toml"
    hashed = hashlib.sha256(b"a key").hexdigest()
    keys.write_text(
        f'[[keys]]\nname = "app"\nhash = "sha256:{hashed}"\nroles = ["read"]\nregistries = ["*"]\n', encoding="utf-8"
    )
    sections = {"access": AccessSettings(mode="callers", keys=str(keys))}
    async with two_clouds(models=1, sections=sections) as world:
        for _ in range(2):
            answer = await ask(world, body("{ __typename }"))
            assert (answer.status, answer.codes) == (401, ["UNAUTHENTICATED"])


# Documents that clients register


def registering(text: str | None, hashed: str) -> bytes:
    said = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": hashed}}}
    return json.dumps(said if text is None else {"query": text, **said}).encode()


async def test_a_registered_document_is_used_and_forgotten_as_on_the_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["{ a: __typename }", "{ b: __typename }", "{ c: __typename }"]
    monkeypatch.setattr("gateway.execution.persisted_queries.ROOM", len(texts[0] + texts[1]))
    sections = {"documents": DocumentsSettings(automatic=True)}
    named = {text: hashlib.sha256(text.encode()).hexdigest() for text in texts}
    async with two_clouds(models=1, sections=sections) as world:

        async def known(text: str) -> list[str]:
            return (await ask(world, registering(None, named[text]))).codes

        async def register(text: str) -> None:
            assert (await ask(world, registering(text, named[text]))).codes == []

        one, other, third = texts
        for _ in range(2):
            await register(one)
            await register(other)
            assert await known(one) == []
            await register(third)
            assert await known(other) == ["PERSISTED_QUERY_NOT_FOUND"]
            assert await known(one) == [], "it was used after the other"
            await register(other)
            assert await known(other) == []


# Bounds


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch, unparsed: Any) -> None:
    monkeypatch.setattr("gateway.http.prepared_requests.ROOM", 20_000)
    async with two_clouds(models=1) as world:
        asked = [body("{ __typename }") + b" " * number for number in range(9)]
        other = body("{ registries { name } }")
        for content in (other, *asked, other):
            await ask(world, content)
        unparsed()
        remembered = [(await ask(world, content)).status == 200 for content in asked]
        assert remembered == sorted(remembered), "the first are forgotten first"
        assert 0 < sum(remembered) < 9
        assert (await ask(world, other)).status == 200
