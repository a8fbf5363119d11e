"""Clients that disconnect: their operations stop, with all upstream calls that nobody else waits for."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import pytest

from gateway.config.settings import CacheSettings, LimitsSettings, QuotaSettings, RetrySettings, TelemetrySettings
from tests.conftest import Client, World, two_clouds
from tests.subscriptions.conftest import eventually
from tests.telemetry.scraping import scrape
from tests.transports import PROTOCOL

ROWS = """{ models(first: 13, filter: {ownership: OWN, registries: ["pai"]}) {
  nodes { versions { nodes { name } } } } }"""
"""One call for the list, then one for each row."""

DEFERRED = ROWS.replace("versions {", "id ... @defer { versions {").replace("} } } }", "} } } } }")
MODEL = '{ model(id: "pai:model/model-rbvg5wzljzjhc9ks92") { name } }'

SECTIONS = {
    "cache": CacheSettings(enabled=False),
    "limits": LimitsSettings(batch=2),
    "quota": QuotaSettings(requests_per_second=10_000, in_flight=2, max_wait=60),
    "telemetry": TelemetrySettings(metrics="path"),
}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with two_clouds(sections=SECTIONS) as world:
        yield world


async def cancelled(world: World, operations: int = 1) -> None:
    """Wait until this many operations were cancelled."""
    while (await scrape(world.gateway))("gateway_operations_total", outcome="cancelled") < operations:
        pass


def seen(world: World, call: str, times: int = 1) -> Callable[[], bool]:
    """Return whether the cloud has received a call so many times."""
    return lambda: world.pai.calls[call] == times


# Transports: each opens a connection and sends the operation; leaving the context is what the client does to abort.


@asynccontextmanager
async def raw_request(gateway: Client, head: str, body: bytes = b"") -> AsyncIterator[asyncio.StreamReader]:
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [f"{head} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", "Content-Type: application/json"]
    writer.write("\r\n".join(lines).encode() + b"\r\nAccept: %b\r\n\r\n" % ACCEPT.get(head, b"*/*") + body)
    yield reader
    writer.close()


ACCEPT = {"POST /graphql?sse": b"text/event-stream", "POST /graphql?multipart": b"multipart/mixed"}


@asynccontextmanager
async def post(gateway: Client, query: str) -> AsyncIterator[None]:
    async with raw_request(gateway, "POST /graphql", json.dumps({"query": query}).encode()):
        yield


@asynccontextmanager
async def get(gateway: Client, query: str) -> AsyncIterator[None]:
    async with raw_request(gateway, f"GET /graphql?query={quote(query)}"):
        yield


@asynccontextmanager
async def batch(gateway: Client, query: str) -> AsyncIterator[None]:
    async with raw_request(gateway, "POST /graphql", json.dumps([{"query": query}, {"query": query}]).encode()):
        yield


@asynccontextmanager
async def multipart(gateway: Client, query: str) -> AsyncIterator[None]:
    body = json.dumps({"query": query.replace("{ models", "{ __typename ... @defer { __typename } models")}).encode()
    async with raw_request(gateway, "POST /graphql?multipart", body):
        yield


@asynccontextmanager
async def server_sent_events(gateway: Client, query: str) -> AsyncIterator[None]:
    async with raw_request(gateway, "POST /graphql?sse", json.dumps({"query": query}).encode()):
        yield


@asynccontextmanager
async def websocket(gateway: Client, query: str) -> AsyncIterator[None]:
    """The connection closes."""
    async with connected(gateway, query):
        yield


@asynccontextmanager
async def websocket_complete(gateway: Client, query: str) -> AsyncIterator[None]:
    """The client completes the operation; the connection stays open."""
    async with connected(gateway, query) as socket:
        yield
        await socket.send_json({"type": "complete", "id": "1"})
        await socket.send_json({"type": "ping"})
        assert (await socket.receive_json())["type"] == "pong"


@asynccontextmanager
async def connected(gateway: Client, query: str) -> AsyncIterator[Any]:
    async with gateway.session.ws_connect(f"{gateway.url}/graphql", protocols=[PROTOCOL]) as socket:
        await socket.send_json({"type": "connection_init"})
        await socket.receive_json()
        await socket.send_json({"type": "subscribe", "id": "1", "payload": {"query": query}})
        yield socket


ABORTS = [post, get, batch, multipart, server_sent_events, websocket, websocket_complete]
OPERATIONS = {batch: 2}


@pytest.mark.parametrize("abort", ABORTS)
async def test_an_aborted_operation_starts_no_further_calls(world: World, abort: Any) -> None:
    world.pai.faults.replace({"ListModels": {"hang": True}})
    async with abort(world.gateway, ROWS):
        await eventually(seen(world, "ListModels"))
    await cancelled(world, OPERATIONS.get(abort, 1))
    world.pai.faults.clear()
    assert (await world.gateway.query(MODEL)).data
    assert world.calls() == {"ListModels": 1, "GetModel": 1}


@pytest.mark.parametrize("abort", ABORTS)
async def test_an_aborted_operation_stops_between_its_calls(world: World, abort: Any) -> None:
    """Of 13 calls two may run at once. Their places are free again for other operations."""
    world.pai.faults.replace({"ListModelVersions": {"hang": True, "times": 2}})
    async with abort(world.gateway, ROWS):
        await eventually(seen(world, "ListModelVersions", 2))
    await cancelled(world, OPERATIONS.get(abort, 1))
    assert (await world.gateway.query(MODEL.replace("name", "versions { nodes { name } }"))).data
    assert world.calls() == {"ListModels": 1, "ListModelVersions": 3}


async def test_an_aborted_repetition_stops(world: World) -> None:
    """The gateway executes a body that it knows without parsing it."""
    complete = (await world.gateway.query(ROWS)).data
    world.calls()
    world.pai.faults.replace({"ListModels": {"hang": True}})
    body = json.dumps({"query": ROWS, "variables": {}}).encode()
    async with raw_request(world.gateway, "POST /graphql", body):
        await eventually(seen(world, "ListModels"))
    await cancelled(world)
    world.pai.faults.clear()
    assert world.calls() == {"ListModels": 1}
    assert (await world.gateway.query(ROWS)).data == complete


async def test_an_abort_after_the_first_part_stops_the_later_parts(world: World) -> None:
    world.pai.faults.replace({"ListModelVersions": {"hang": True, "times": 2}})
    body = json.dumps({"query": DEFERRED}).encode()
    async with raw_request(world.gateway, "POST /graphql?multipart", body) as reader:
        await reader.readuntil(b'"hasNext":true')
        await eventually(seen(world, "ListModelVersions", 2))
    await cancelled(world)
    assert (await world.gateway.query(MODEL.replace("name", "versions { nodes { name } }"))).data
    assert world.calls() == {"ListModels": 1, "ListModelVersions": 3}


RETRYING = {**SECTIONS, "retry": RetrySettings(attempts=2, backoff=0.0, budget=1.0)}
"""When a fault of a cloud ends, the call that it held back fails and is made again."""


@pytest.mark.parametrize("caching", [False, True], ids=["not cached", "cached"])
async def test_an_operation_goes_on_while_another_client_waits_for_it(caching: bool) -> None:
    async with two_clouds(sections={**RETRYING, "cache": CacheSettings(enabled=caching)}) as world:
        world.pai.faults.replace({"ListModels": {"hang": True}})
        async with post(world.gateway, ROWS):
            await eventually(seen(world, "ListModels"))
            same = asyncio.create_task(world.gateway.query(ROWS))
            while (await scrape(world.gateway))("gateway_operations_in_progress") < 2:
                pass
        await cancelled(world)
        world.pai.faults.clear()
        rows = (await same).data["models"]["nodes"]
        assert len(rows) == 13
        assert world.calls() == {"ListModels": 2, "ListModelVersions": 13}


@pytest.mark.parametrize("caching", [False, True], ids=["not cached", "cached"])
async def test_a_call_goes_on_while_another_operation_waits_for_it(caching: bool) -> None:
    async with two_clouds(sections={**RETRYING, "cache": CacheSettings(enabled=caching)}) as world:
        world.pai.faults.replace({"GetModel": {"hang": True}})
        async with post(world.gateway, MODEL):
            await eventually(seen(world, "GetModel"))
            other = asyncio.create_task(world.gateway.query(MODEL.replace("name", "name description")))
            while (await scrape(world.gateway))("gateway_operations_in_progress") < 2:
                pass
        await cancelled(world)
        world.pai.faults.clear()
        assert (await other).data["model"]["name"] == "情感分析"
        assert world.calls() == {"GetModel": 2}


async def test_an_abort_is_no_failure_of_the_registry(world: World) -> None:
    world.pai.faults.replace({"GetModel": {"hang": True}})
    for aborts in range(1, 12):
        async with post(world.gateway, MODEL):
            await eventually(seen(world, "GetModel", aborts))
        await cancelled(world, aborts)
    world.pai.faults.clear()
    assert (await world.gateway.query(MODEL)).data
    assert (await world.gateway.request("GET", "/readyz")).body["registries"]["pai"] == "AVAILABLE"


async def test_an_abort_leaves_no_error_in_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.pai.faults.replace({"ListModels": {"hang": True}})
    for number, abort in enumerate(ABORTS, 1):
        async with abort(world.gateway, ROWS):
            await eventually(seen(world, "ListModels", number))
        await cancelled(world, number + (number > ABORTS.index(batch)))
    world.pai.faults.clear()
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []
