"""Request ids and trace ids: accepted from clients, returned in responses, and never sent to registries."""

import asyncio
import re
import subprocess
import sys

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket

from gateway.config.settings import TelemetrySettings
from gateway.http.request_ids import RequestIds
from gateway.telemetry.observer import Observer
from tests.conftest import World, pai, served, settings

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
NEW_ID = re.compile(r"[0-9a-f]{32}")
NEW_TRACE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00")


@pytest.mark.parametrize("given", ["a", "7f9c-44", "01J9ZQ.x_y", "f" * 64])
async def test_a_valid_request_id_is_returned(world: World, given: str) -> None:
    answer = await world.gateway.request("GET", "/healthz", headers={"x-request-id": given})
    assert answer.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "-a", "f" * 65, "a\tb", "a;b=1", "é", '{"level":"error"}', "a,b"])
async def test_an_invalid_request_id_is_replaced(world: World, given: str) -> None:
    """Uses a raw socket, because HTTP clients refuse to send such headers."""
    headers = await raw_response_headers(world, f"x-request-id: {given}\r\n".encode())
    assert NEW_ID.fullmatch(headers["x-request-id"])


async def test_two_request_ids_are_replaced(world: World) -> None:
    headers = await raw_response_headers(world, b"x-request-id: one\r\nx-request-id: two\r\n")
    assert NEW_ID.fullmatch(headers["x-request-id"])


async def raw_response_headers(world: World, headers: bytes) -> dict[str, str]:
    """The headers of the response to a raw request."""
    host, port = world.gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n" + headers + b"\r\n")
    lines = (await reader.read()).decode().split("\r\n\r\n")[0].split("\r\n")[1:]
    writer.close()
    await writer.wait_closed()
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


@pytest.mark.parametrize("path", ["/graphql", "/healthz", "/readyz", "/nowhere", "/schema.graphql"])
async def test_every_response_has_both_ids_even_an_error(world: World, path: str) -> None:
    answer = await world.gateway.request("DELETE", path)
    assert NEW_ID.fullmatch(answer.headers["x-request-id"])
    assert NEW_TRACE.fullmatch(answer.headers["traceparent"])


@pytest.mark.parametrize("flags", ["00", "01"])
@pytest.mark.parametrize("version", ["00", "cc"])
async def test_a_valid_trace_is_continued(world: World, version: str, flags: str) -> None:
    given = {"traceparent": f"{version}-{TRACE}-{PARENT}-{flags}"}
    traceparent = (await world.gateway.request("GET", "/healthz", headers=given)).headers["traceparent"]
    assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-{flags}", traceparent)
    assert PARENT not in traceparent


@pytest.mark.parametrize(
    "given",
    [
        "",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}x-{PARENT}-01",
    ],
)
async def test_an_invalid_trace_is_replaced(world: World, given: str) -> None:
    traceparent = (await world.gateway.request("GET", "/healthz", headers={"traceparent": given})).headers[
        "traceparent"
    ]
    assert NEW_TRACE.fullmatch(traceparent)
    assert TRACE not in traceparent


def test_forked_processes_create_different_ids() -> None:
    code = """
import os
from gateway.telemetry.request_ids import Identity
def print_ids():
    new = [Identity.of([]) for _ in range(100)]
    print(*(id for ids in new for id in (ids.request_id, ids.trace_id, ids.span_id)), flush=True)
print_ids()
if os.fork() == 0:
    print_ids()
    os._exit(0)
os.wait()
print_ids()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ids = done.stdout.split()
    assert len(set(ids)) == len(ids) == 3 * 300


async def test_ids_of_a_request_are_not_sent_to_the_clouds() -> None:
    received: list[str] = []

    async def cloud(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(cloud, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    given = {"x-request-id": "request-of-a-client", "traceparent": f"00-{TRACE}-{PARENT}-01", "baggage": "a=b"}
    async with server, served(settings(pai(url))) as gateway:
        body = {"query": '{ model(id: "pai:model/model-rbvg5wzljzjhc9ks92") { name } }'}
        assert (await gateway.request("POST", json=body, headers=given)).codes == ["REGISTRY_UNAVAILABLE"]
    (request,) = received
    assert "traceparent" not in request.lower()
    assert not any(value in request for value in ("request-of-a-client", TRACE, PARENT, "a=b"))


async def test_the_response_to_an_unexpected_exception_has_its_ids() -> None:
    async def broken(request: Request) -> Response:
        raise LookupError("inside")

    app = RequestIds(Starlette(routes=[Route("/", broken)]), observer := Observer(TelemetrySettings()))
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"x-request-id", b"mine")]}
    with pytest.raises(LookupError):
        await app({**scope, "query_string": b""}, nothing, send)
    headers = dict(messages[0]["headers"])
    assert (messages[0]["status"], headers[b"x-request-id"]) == (500, b"mine")
    assert observer.collectors.get_sample_value("gateway_http_requests_total", {"status": "500"}) == 1


async def test_a_websocket_gets_its_ids_when_it_is_accepted() -> None:
    async def hello(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    app = RequestIds(Starlette(routes=[WebSocketRoute("/", hello)]), Observer(TelemetrySettings()))
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    await app({"type": "websocket", "path": "/", "headers": [], "query_string": b""}, receive, send)
    assert messages[0]["type"] == "websocket.accept"
    assert NEW_ID.fullmatch(dict(messages[0]["headers"])[b"x-request-id"].decode())
    assert NEW_TRACE.fullmatch(dict(messages[0]["headers"])[b"traceparent"].decode())


async def nothing() -> Message:
    return {"type": "http.disconnect"}
