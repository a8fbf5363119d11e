"""HTTP connections: pipelined and split requests, the end of a connection, and repeats with other headers or bodies."""

import asyncio
import json
import re
from collections.abc import AsyncIterator

import pytest

from gateway.config.settings import CacheSettings, TelemetrySettings
from tests.conftest import World, two_clouds
from tests.telemetry.scraping import scrape

QUERY = "query Page($first: Int!) { models(first: $first) { totalCount nodes { id name createdAt extra } } }"
PASSING = (b"date", b"x-request-id", b"traceparent")

SECTIONS = {"cache": CacheSettings(lists=600.0, jitter=0.0), "telemetry": TelemetrySettings(metrics="path")}

Received = tuple[bytes, dict[bytes, bytes], bytes]


@pytest.fixture
async def kept() -> bool:
    """Whether answers are cached."""
    return True


@pytest.fixture
async def world(kept: bool) -> AsyncIterator[World]:
    async with two_clouds(sections=SECTIONS if kept else {"telemetry": SECTIONS["telemetry"]}) as world:
        yield world


either = pytest.mark.parametrize("kept", [True, False], ids=["cached", "not cached"])
not_cached = pytest.mark.parametrize("kept", [False], ids=[""])


def request(first: int = 20, version: bytes = b"1.1", *lines: bytes) -> bytes:
    body = json.dumps({"query": QUERY, "variables": {"first": first}}).encode()
    head = [b"POST /graphql HTTP/" + version, b"host: gateway", b"content-type: application/json", *lines]
    return b"\r\n".join([*head, b"content-length: %d" % len(body), b"", body])


async def read_response(reader: asyncio.StreamReader) -> Received:
    """Status line, headers and body of the next response."""
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).strip().split(b"\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in lines)
    return status, headers, await reader.readexactly(int(headers[b"content-length"]))


class Wire:
    """One connection to the gateway, as a client has it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, *parts: bytes) -> Received:
        """The answer to a request that is sent in parts, each when the one before has left."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0)
        return await read_response(self.reader)

    async def send_body_after_interim_response(self, request: bytes) -> bytes:
        """The interim response to a request whose body is sent after it."""
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


def lasting(answer: Received) -> Received:
    status, headers, body = answer
    return status, {name: value for name, value in headers.items() if name not in PASSING}, body


async def test_pipelined_requests_have_responses_in_their_order(wire: Wire) -> None:
    single = [lasting(await wire.ask(request(first)))[2] for first in (1, 2, 3)]
    wire.writer.write(request(3) + request(1) + request(2) + request(3))
    assert [(await read_response(wire.reader))[2] for _ in range(4)] == [single[2], single[0], single[1], single[2]]


@either
async def test_a_cached_response_waits_for_the_one_before_it(wire: Wire) -> None:
    kept = (await wire.ask(request(1)))[2]
    wire.writer.write(request(7) + request(1) + request(8) + request(1))
    bodies = [(await read_response(wire.reader))[2] for _ in range(4)]
    assert [len(json.loads(body)["data"]["models"]["nodes"]) for body in bodies] == [7, 1, 8, 1]
    assert bodies[1] == bodies[3] == kept


@either
@pytest.mark.parametrize("at", [1, 30, 120, -40, -1])
async def test_a_request_can_arrive_in_parts(wire: Wire, at: int) -> None:
    whole = await wire.ask(request())
    assert lasting(await wire.ask(request()[:at], request()[at:])) == lasting(whole)


async def test_a_slow_reader_gets_every_response(wire: Wire) -> None:
    body = (await wire.ask(request(100)))[2]
    sending = asyncio.create_task(wire.ask(request(100) * 400))
    assert (await sending)[2] == body
    for _ in range(399):
        assert (await read_response(wire.reader))[2] == body


@either
@pytest.mark.parametrize(("version", "line"), [(b"1.0", b"x: y"), (b"1.1", b"connection: close")])
async def test_the_connection_closes_when_the_client_asks_for_it(wire: Wire, version: bytes, line: bytes) -> None:
    whole = await wire.ask(request())
    assert (await wire.ask(request(20, version, line)))[2] == whole[2]
    assert await wire.reader.read() == b""


@either
async def test_repeats_have_ids_and_are_counted(world: World, wire: Wire) -> None:
    async def figures() -> tuple[float, float]:
        found = await scrape(world.gateway)
        return found("gateway_http_requests_total", status="200"), found("gateway_operations_total", outcome="ok")

    await wire.ask(request())
    before = await figures()
    _, headers, _ = await wire.ask(request(20, b"1.1", b"x-request-id: mine-1"))
    assert headers[b"x-request-id"] == b"mine-1"
    assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-00", headers[b"traceparent"])
    _, other, _ = await wire.ask(request())
    assert other[b"x-request-id"] not in (b"mine-1", headers[b"traceparent"])
    assert await figures() == (before[0] + 3, before[1] + 2)  # and once for the figures themselves


async def test_a_client_that_waits_before_it_sends_the_body_is_told_to_continue(wire: Wire) -> None:
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
    """After repeats of the same request without it."""
    name, said = EFFECTS[line]
    for _ in range(3):
        _, headers, _ = await wire.ask(request())
        assert not headers.get(name, b"").startswith(said)
    assert (await wire.ask(request(20, b"1.1", line)))[1][name].startswith(said)


@either
async def test_the_same_headers_can_come_with_another_body(wire: Wire) -> None:
    def rows(answer: Received) -> int:
        return len(json.loads(answer[2])["data"]["models"]["nodes"])

    assert [rows(await wire.ask(request(first))) for first in (1, 2, 3, 12, 2, 13, 1)] == [1, 2, 3, 12, 2, 13, 1]
    broken = request(1).replace(b'"query"', b'"query:')
    assert (await wire.ask(broken))[0] == b"HTTP/1.1 400 Bad Request"
    assert rows(await wire.ask(request(2))) == 2


@either
async def test_the_rest_of_a_body_can_arrive_late(wire: Wire) -> None:
    one, two = [(await wire.ask(request(first)))[2] for first in (1, 2)]
    assert (await wire.ask(request(1)[:-10], request(1)[-10:] + request(2) + request(1)[:-1]))[2] == one
    assert (await read_response(wire.reader))[2] == two
    assert (await wire.ask(request(1)[-1:] + b"\r\n", request(2)))[2] == one
    assert (await read_response(wire.reader))[2] == two


@not_cached
async def test_without_a_cache_each_repeat_calls_the_registries(world: World, wire: Wire) -> None:
    body = (await wire.ask(request()))[2]
    for _ in range(3):
        world.calls()
        assert (await wire.ask(request()))[2] == body
        assert world.calls()["ListModels"] == 2


@not_cached
async def test_a_client_that_disconnects_affects_no_other(world: World, wire: Wire) -> None:
    body = (await wire.ask(request()))[2]
    host, port = world.gateway.url.removeprefix("http://").split(":")
    world.pai.faults.replace({"ListModels": {"latency": 0.05}})
    for _ in range(3):
        _, leaving = await asyncio.open_connection(host, int(port))
        leaving.write(request())
        await leaving.drain()
        leaving.transport.abort()
    assert (await wire.ask(request()))[2] == body


@not_cached
async def test_a_repeat_reports_a_failing_registry(world: World, wire: Wire) -> None:
    await wire.ask(request())
    world.pai.faults.replace({"*": {"status": 503}})
    status, headers, body = await wire.ask(request(20, b"1.1", b"x-request-id: mine-2"))
    assert (status, headers[b"x-request-id"]) == (b"HTTP/1.1 200 OK", b"mine-2")
    assert headers[b"cache-control"] == b"no-store"
    assert [error["extensions"]["code"] for error in json.loads(body)["errors"]] == ["REGISTRY_UNAVAILABLE"]


@either
async def test_an_unexpected_error_is_logged_and_masked(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("hunter2")

    await wire.ask(request())
    monkeypatch.setattr("gateway.http.prepared_requests.result_response", broken)
    status, headers, body = await wire.ask(request())
    assert (status, body) == (b"HTTP/1.1 500 Internal Server Error", b"Internal Server Error")
    assert headers.keys() >= {b"x-request-id", b"traceparent"}
    assert "hunter2" in caplog.text
    assert "hunter2" not in body.decode()
