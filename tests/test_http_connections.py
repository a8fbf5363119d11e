"""HTTP connections: pipelined and split requests, the end of a connection, and repeats with other headers or bodies."""

import asyncio
import gc
import json
import re
from collections.abc import AsyncIterator

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.config.settings import CacheSettings, TelemetrySettings
from gateway.server.connection_limits import ResponseWriter
from tests.conftest import World, two_clouds
from tests.telemetry.scraping import scrape

QUERY = "query Page($first: Int!) { models(first: $first) { totalCount nodes { id name createdAt extra } } }"
VARYING = (b"date", b"x-request-id", b"traceparent")

SECTIONS = {"cache": CacheSettings(lists=600.0, jitter=0.0), "telemetry": TelemetrySettings(metrics="path")}

Received = tuple[bytes, dict[bytes, bytes], bytes]


@pytest.fixture
async def cached() -> bool:
    """Whether answers are cached."""
    return True


@pytest.fixture
async def world(cached: bool) -> AsyncIterator[World]:
    async with two_clouds(sections=SECTIONS if cached else {"telemetry": SECTIONS["telemetry"]}) as world:
        yield world


cached_or_not = pytest.mark.parametrize("cached", [True, False], ids=["cached", "not cached"])
not_cached = pytest.mark.parametrize("cached", [False], ids=[""])


def request(first: int = 20, version: bytes = b"1.1", *lines: bytes) -> bytes:
    body = json.dumps({"query": QUERY, "variables": {"first": first}}).encode()
    head = [b"POST /graphql HTTP/" + version, b"host: gateway", b"content-type: application/json", *lines]
    return b"\r\n".join([*head, b"content-length: %d" % len(body), b"", body])


async def read_response(reader: asyncio.StreamReader) -> Received:
    """Return the status line, headers and body of the next response."""
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).strip().split(b"\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in lines)
    return status, headers, await reader.readexactly(int(headers[b"content-length"]))


class Wire:
    """One connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *parts: bytes) -> Received:
        """Send a request in parts, and return the response."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0)
        return await read_response(self.reader)

    async def send_body_after_interim_response(self, request: bytes) -> bytes:
        """Send the head of a request, return the interim response, and send the body after it."""
        head, _, body = request.partition(b"\r\n\r\n")
        self.writer.write(head + b"\r\n\r\n")
        status = (await self.reader.readuntil(b"\r\n\r\n")).strip()
        self.writer.write(body)
        return status


@pytest.fixture
async def wire(world: World) -> AsyncIterator[Wire]:
    host, port = world.gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    yield Wire(reader, writer)
    writer.close()
    await writer.wait_closed()


def constant(answer: Received) -> Received:
    status, headers, body = answer
    return status, {name: value for name, value in headers.items() if name not in VARYING}, body


async def test_pipelined_requests_have_responses_in_their_order(wire: Wire) -> None:
    single = [constant(await wire.send(request(first)))[2] for first in (1, 2, 3)]
    wire.writer.write(request(3) + request(1) + request(2) + request(3))
    assert [(await read_response(wire.reader))[2] for _ in range(4)] == [single[2], single[0], single[1], single[2]]


@cached_or_not
async def test_a_cached_response_waits_for_the_one_before_it(wire: Wire) -> None:
    expected = (await wire.send(request(1)))[2]
    wire.writer.write(request(7) + request(1) + request(8) + request(1))
    bodies = [(await read_response(wire.reader))[2] for _ in range(4)]
    assert [len(json.loads(body)["data"]["models"]["nodes"]) for body in bodies] == [7, 1, 8, 1]
    assert bodies[1] == bodies[3] == expected


@cached_or_not
@pytest.mark.parametrize("at", [1, 30, 120, -40, -1])
async def test_a_request_can_arrive_in_parts(wire: Wire, at: int) -> None:
    complete = await wire.send(request())
    assert constant(await wire.send(request()[:at], request()[at:])) == constant(complete)


async def test_a_slow_reader_gets_every_response(wire: Wire) -> None:
    body = (await wire.send(request(100)))[2]
    sending = asyncio.create_task(wire.send(request(100) * 400))
    assert (await sending)[2] == body
    for _ in range(399):
        assert (await read_response(wire.reader))[2] == body


@cached_or_not
@pytest.mark.parametrize(("version", "line"), [(b"1.0", b"x: y"), (b"1.1", b"connection: close")])
async def test_the_connection_closes_when_the_client_asks_for_it(wire: Wire, version: bytes, line: bytes) -> None:
    complete = await wire.send(request())
    assert (await wire.send(request(20, version, line)))[2] == complete[2]
    assert await wire.reader.read() == b""


@cached_or_not
async def test_repeats_have_ids_and_are_counted(world: World, wire: Wire) -> None:
    async def counts() -> tuple[float, float]:
        found = await scrape(world.gateway)
        return found("gateway_http_requests_total", status="200"), found("gateway_operations_total", outcome="ok")

    await wire.send(request())
    before = await counts()
    _, headers, _ = await wire.send(request(20, b"1.1", b"x-request-id: mine-1"))
    assert headers[b"x-request-id"] == b"mine-1"
    assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-00", headers[b"traceparent"])
    _, other, _ = await wire.send(request())
    assert other[b"x-request-id"] not in (b"mine-1", headers[b"traceparent"])
    assert await counts() == (before[0] + 3, before[1] + 2)  # including the request for the metrics


async def test_a_response_leaves_nothing_to_a_garbage_collection(wire: Wire) -> None:
    def alive() -> int:
        return sum(isinstance(one, RequestResponseCycle | ResponseWriter) for one in gc.get_objects())

    await wire.send(request())
    gc.collect()
    before = alive()
    gc.disable()
    try:
        for _ in range(5):
            await wire.send(request())
        assert alive() == before
    finally:
        gc.enable()


async def test_a_response_without_a_body_is_sent_before_the_next_request(wire: Wire) -> None:
    for _ in range(2):
        wire.writer.write(b"HEAD /healthz HTTP/1.1\r\nhost: gateway\r\n\r\n")
        head = await wire.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
    assert (await wire.send(request()))[0] == b"HTTP/1.1 200 OK"
    wire.writer.write(b"HEAD /healthz HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n")
    assert (await wire.reader.read()).startswith(b"HTTP/1.1 200 ")


async def test_a_client_that_expects_100_continue_gets_it_before_the_body(wire: Wire) -> None:
    interim = await wire.send_body_after_interim_response(request(20, b"1.1", b"expect: 100-continue"))
    assert interim == b"HTTP/1.1 100 Continue"
    assert (await read_response(wire.reader))[0] == b"HTTP/1.1 200 OK"


EFFECTS = {
    b"accept: application/graphql-response+json": (
        b"content-type",
        b"application/graphql-response+json",
    ),
    b"accept-encoding: gzip": (b"content-encoding", b"gzip"),
    b"cache-control: only-if-cached": (b"cache-control", b"no-store"),
    b"connection: close": (b"connection", b"close"),
    b"content-encoding: br": (b"cache-control", b"no-store"),
    b"traceparent: 00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01": (b"traceparent", b"00-" + b"a" * 32),
    b"x-gateway-plan: perhaps": (b"cache-control", b"no-store"),
    b"x-request-id: mine-3": (b"x-request-id", b"mine-3"),
}
"""Request headers, and the response header that each of them causes."""


@not_cached
@pytest.mark.parametrize("line", EFFECTS)
async def test_one_more_header_changes_the_response(wire: Wire, line: bytes) -> None:
    """The same request was repeated without the header before."""
    name, value = EFFECTS[line]
    for _ in range(3):
        _, headers, _ = await wire.send(request())
        assert not headers.get(name, b"").startswith(value)
    assert (await wire.send(request(20, b"1.1", line)))[1][name].startswith(value)


@cached_or_not
async def test_the_same_headers_can_come_with_another_body(wire: Wire) -> None:
    def rows(answer: Received) -> int:
        return len(json.loads(answer[2])["data"]["models"]["nodes"])

    assert [rows(await wire.send(request(first))) for first in (1, 2, 3, 12, 2, 13, 1)] == [1, 2, 3, 12, 2, 13, 1]
    broken = request(1).replace(b'"query"', b'"query:')
    assert (await wire.send(broken))[0] == b"HTTP/1.1 400 Bad Request"
    assert rows(await wire.send(request(2))) == 2


@cached_or_not
async def test_the_rest_of_a_body_can_arrive_late(wire: Wire) -> None:
    one, two = [(await wire.send(request(first)))[2] for first in (1, 2)]
    assert (await wire.send(request(1)[:-10], request(1)[-10:] + request(2) + request(1)[:-1]))[2] == one
    assert (await read_response(wire.reader))[2] == two
    assert (await wire.send(request(1)[-1:] + b"\r\n", request(2)))[2] == one
    assert (await read_response(wire.reader))[2] == two


@not_cached
async def test_without_a_cache_each_repeat_calls_the_registries(world: World, wire: Wire) -> None:
    body = (await wire.send(request()))[2]
    for _ in range(3):
        world.calls()
        assert (await wire.send(request()))[2] == body
        assert world.calls()["ListModels"] == 2


@not_cached
async def test_a_client_that_disconnects_affects_no_other(world: World, wire: Wire) -> None:
    body = (await wire.send(request()))[2]
    host, port = world.gateway.url.removeprefix("http://").split(":")
    world.pai.faults.replace({"ListModels": {"latency": 0.05}})
    for _ in range(3):
        _, leaving = await asyncio.open_connection(host, int(port))
        leaving.write(request())
        await leaving.drain()
        leaving.transport.abort()
    assert (await wire.send(request()))[2] == body


@not_cached
async def test_a_repeat_reports_a_failing_registry(world: World, wire: Wire) -> None:
    await wire.send(request())
    world.pai.faults.replace({"*": {"status": 503}})
    status, headers, body = await wire.send(request(20, b"1.1", b"x-request-id: mine-2"))
    assert (status, headers[b"x-request-id"]) == (b"HTTP/1.1 200 OK", b"mine-2")
    assert headers[b"cache-control"] == b"no-store"
    assert [error["extensions"]["code"] for error in json.loads(body)["errors"]] == ["REGISTRY_UNAVAILABLE"]


@cached_or_not
async def test_an_unexpected_error_is_logged_and_masked(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("hunter2")

    await wire.send(request())
    monkeypatch.setattr("gateway.http.prepared_requests.result_response", broken)
    status, headers, body = await wire.send(request())
    assert (status, body) == (b"HTTP/1.1 500 Internal Server Error", b"Internal Server Error")
    assert headers.keys() >= {b"x-request-id", b"traceparent"}
    assert "hunter2" in caplog.text
    assert "hunter2" not in body.decode()
