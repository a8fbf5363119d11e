"""Prepared requests: a repeated body is not parsed again, and has the same response."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from multidict import CIMultiDict

from gateway.config.settings import CacheSettings, LimitsSettings
from tests.conftest import Answer, World, two_clouds

QUERY = "query Page($first: Int!) { models(first: $first) { totalCount nodes { id name createdAt } } }"
BODY = json.dumps({"query": QUERY, "variables": {"first": 20}}).encode()
TYPES = {"Content-Type": "application/json"}
VARYING = ("date", "x-request-id", "traceparent", "age", "cache-control")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    sections = {"cache": CacheSettings(lists=600.0, jitter=0.0), "limits": LimitsSettings(body_seconds=0.2, batch=2)}
    async with two_clouds(sections=sections) as world:
        yield world


async def send(world: World, body: bytes = BODY, **headers: str) -> Answer:
    return await world.gateway.request("POST", data=body, headers=TYPES | headers)


def constant(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in VARYING}


@pytest.mark.parametrize("encoding", ["identity", "gzip, deflate"])
@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/graphql-response+json"])
async def test_a_prepared_request_has_the_response_of_a_parsed_one(
    world: World, unparsed: Any, accept: str, encoding: str
) -> None:
    headers = {"Accept": accept, "Accept-Encoding": encoding}
    await send(world, **headers)
    parsed = await send(world, **headers, **{"Cache-Control": "max-age=600"})
    world.calls()
    unparsed()
    prepared = await send(world, **headers)
    assert (prepared.status, prepared.body) == (200, parsed.body)
    assert constant(prepared) == constant(parsed)
    assert prepared.headers["cache-control"].startswith("private, max-age=")
    assert world.calls() == {}


PARSED = [
    {"Cache-Control": "no-cache"},
    {"X-Gateway-Plan": "include"},
    {"Authorization": "Bearer x"},
    {"X-API-Key": "x"},
    {"Content-Encoding": "gzip"},
    {"Accept": "application/graphql-response+json"},
    {"Content-Type": "application/json; charset=utf-8"},
    {"X-Not-On-The-List": "x"},
]


@pytest.mark.parametrize("headers", PARSED, ids=lambda headers: next(iter(headers)))
async def test_a_request_with_a_header_that_is_not_allowed_is_parsed(
    world: World, unparsed: Any, headers: dict[str, str]
) -> None:
    await send(world)
    unparsed()
    assert (await send(world, **headers)).status == 418
    assert (await send(world)).status == 200


async def test_each_body_has_its_own_response(world: World) -> None:
    first = await send(world)
    other = await send(world, BODY.replace(b"20", b"5"))
    assert len(first.data["models"]["nodes"]) == 20
    assert len(other.data["models"]["nodes"]) == 5


async def test_a_request_with_a_header_twice_is_parsed(world: World, unparsed: Any) -> None:
    await send(world)
    unparsed()
    twice = CIMultiDict([*TYPES.items(), ("Accept", "application/graphql-response+json"), ("Accept", "*/*")])
    assert (await world.gateway.request("POST", data=BODY, headers=twice)).status == 418


NOT_PREPARED = {
    "an error": b'{"query": "{ nothing }"}',
    "a batch": b'[{"query": "{ __typename }"}]',
    "a subscription": b'{"query": "subscription { modelVersionChanged(id: \\"pai:version/a/b\\") { id } }"}',
    "the schema": b'{"query": "{ __schema { queryType { name } } }"}',
}


@pytest.mark.parametrize("case", NOT_PREPARED)
async def test_only_compiled_operations_are_prepared(world: World, unparsed: Any, case: str) -> None:
    await send(world, NOT_PREPARED[case])
    unparsed()
    assert (await send(world, NOT_PREPARED[case])).status == 418


async def test_a_failure_is_not_repeated(world: World) -> None:
    world.pai.faults.replace({"*": {"status": 503}})
    assert (await send(world)).codes == ["REGISTRY_UNAVAILABLE"]
    world.pai.faults.clear()
    assert len((await send(world)).data["models"]["nodes"]) == 20


async def test_a_body_can_arrive_in_pieces_and_times_out_if_incomplete(world: World) -> None:
    expected = (await send(world)).body
    host, port = world.gateway.url.removeprefix("http://").split(":")
    head = f"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n"
    for pieces, status in ((BODY[:10], BODY[10:]), b"200"), ((BODY[:10],), b"408"), ((), b"408"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        answer = await reader.read()
        assert answer.split(b" ", 2)[1] == status
        assert status != b"200" or json.loads(answer.partition(b"\r\n\r\n")[2]) == expected
        writer.close()
        await writer.wait_closed()


async def test_a_compressed_response_has_the_same_body(world: World) -> None:
    plain = await send(world)
    session = world.gateway.session
    headers = {**TYPES, "Accept-Encoding": "gzip"}
    async with session.post(
        f"{world.gateway.url}/graphql", data=BODY, headers=headers, auto_decompress=False
    ) as answer:
        assert json.loads(gzip.decompress(await answer.read())) == plain.body


async def test_identical_requests_at_once_are_executed_once(world: World) -> None:
    world.pai.faults.replace({"ListModels": {"latency": 0.05}})
    answers = await asyncio.gather(*(send(world) for _ in range(50)))
    assert len({json.dumps(answer.data) for answer in answers}) == 1
    assert world.calls()["ListModels"] == 2


async def test_only_if_cached_does_not_wait_for_an_execution_under_way(world: World) -> None:
    for cloud in (world.pai, world.qianfan):
        cloud.faults.replace({"*": {"latency": 1.0}})
    task = asyncio.create_task(send(world))
    while not world.pai.calls["ListModels"]:
        await world.gateway.request("GET", "/healthz")
    cached = await send(world, **{"Cache-Control": "only-if-cached"})
    assert (cached.body["data"], cached.codes) == ({"models": None}, ["NO_REGISTRY_ANSWERED"])
    assert len((await task).data["models"]["nodes"]) == 20


async def test_a_batch_may_not_cost_more_than_one_operation(world: World) -> None:
    page = "models(first: 100) { nodes { versions { nodes { name } } } }"
    one = {"query": "{ " + " ".join(f"page{number}: {page}" for number in range(6)) + " }"}
    alone = (await world.gateway.request("POST", json=one, headers={"X-Gateway-Plan": "only"})).body["extensions"]
    assert 500 < alone["cost"]["forecast"] < 1000
    both = await world.gateway.request("POST", json=[one, one])
    assert (both.status, both.codes) == (400, ["QUERY_TOO_EXPENSIVE"])
