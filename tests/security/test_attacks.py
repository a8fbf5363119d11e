"""One process withstands all attacks of the tables, and serves the next client normally."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import aiohttp
import pytest

from tests.security.attacks import BODIES, OPERATIONS, RAW_BYTES, Attack, post, request
from tests.security.conftest import Target

JSON, GRAPHQL = "application/json", "application/graphql-response+json"

TIMEOUT: Final = 10.0
"""Seconds after which a response counts as missing. Each takes a fraction of a second, depending on the machine."""

MOST_MEMORY: Final = 400_000_000
"""Maximum peak memory of the process in bytes; it starts with about 100 MB."""

LONGEST_ERROR: Final = 1_000
"""Maximum number of characters of an error."""

Session = aiohttp.ClientSession


@dataclass(frozen=True)
class Outcome:
    """A response: its status or the close code of a WebSocket, its errors, and its data."""

    status: int
    errors: list[Any]
    data: Any = None

    @property
    def codes(self) -> set[str]:
        return {error["extensions"]["code"] for error in self.errors}


def outcome(status: int, body: Any) -> Outcome:
    return Outcome(status, body.get("errors", []), body.get("data"))


# Transports


def parameters(attack: Attack) -> dict[str, Any]:
    values = {"query": attack.query, "variables": dict(attack.variables), "operationName": attack.operation_name}
    return {name: value for name, value in values.items() if value}


async def by_post(session: Session, attack: Attack, accept: str = JSON) -> Outcome:
    async with session.post("/graphql", json=parameters(attack), headers={"Accept": accept}) as response:
        return outcome(response.status, await response.json(content_type=None))


async def by_post_in_new_type(session: Session, attack: Attack) -> Outcome:
    return await by_post(session, attack, GRAPHQL)


async def by_get(session: Session, attack: Attack) -> Outcome:
    params = parameters(attack)
    if "variables" in params:
        params["variables"] = json.dumps(params["variables"])
    async with session.get("/graphql", params=params, headers={"Accept": JSON}) as response:
        text = await response.text()
        return outcome(response.status, json.loads(text) if text else {})


async def by_batch(session: Session, attack: Attack) -> Outcome:
    async with session.post("/graphql", json=[parameters(attack)] * 3) as response:
        body = await response.json()
    if isinstance(body, dict):
        return outcome(response.status, body)
    first, *others = body
    assert [{**other, "errors": None} for other in others] == [{**first, "errors": None}] * 2
    return outcome(response.status, first)


async def by_events(session: Session, attack: Attack) -> Outcome:
    headers = {"Accept": "text/event-stream"}
    async with session.post("/graphql", json=parameters(attack), headers=headers) as response:
        text = await response.text()
    if response.status != 200:
        return outcome(response.status, json.loads(text))
    (data,) = (line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: "))
    assert text.endswith("event: complete\ndata:\n\n")
    return outcome(200, json.loads(data))


async def by_socket(session: Session, attack: Attack) -> Outcome:
    async with session.ws_connect("/graphql", protocols=["graphql-transport-ws"]) as socket:
        await socket.send_json({"type": "connection_init"})
        assert (await socket.receive_json())["type"] == "connection_ack"
        await socket.send_json({"type": "subscribe", "id": "1", "payload": parameters(attack)})
        message = await socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            return Outcome(socket.close_code or 0, [])
        result = message.json()
        return outcome(200, result["payload"]) if result["type"] == "next" else Outcome(200, result["payload"])


TRANSPORTS: Mapping[str, Callable[[Session, Attack], Awaitable[Outcome]]] = {
    "post": by_post,
    "post, new type": by_post_in_new_type,
    "get": by_get,
    "batch": by_batch,
    "events": by_events,
    "socket": by_socket,
}


def expected(transport: str, attack: Attack) -> int:
    """Return the expected status of the response, or the expected close code of the WebSocket."""
    if transport == "socket" and attack.closes is not None:
        return attack.closes
    if attack.status is not None:
        return attack.status
    return 400 if transport == "post, new type" and not attack.executed else 200


@pytest.fixture
async def session(target: Target) -> AsyncIterator[Session]:
    """A client. After each test, the process must serve another client, and its memory must be within bounds."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    async with Session(target.url, timeout=timeout) as session:
        yield session
    async with Session(target.url, timeout=timeout) as another:
        answer = await by_post(another, Attack("{ models(first: 1) { nodes { registryName } } }", ""))
        assert (answer.status, answer.errors, len(answer.data["models"]["nodes"])) == (200, [], 1)
    assert target.memory() < MOST_MEMORY


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_hostile_operation_is_refused_on_every_transport(session: Session, name: str, transport: str) -> None:
    attack = OPERATIONS[name]
    answer = await TRANSPORTS[transport](session, attack)
    if transport == "get" and answer.status == 431:
        assert len(json.dumps(parameters(attack))) > 20_000, "the query fits into the request line"
        return
    if transport == "get" and name == "a mutation":
        assert (answer.status, answer.codes) == (405, {"METHOD_NOT_ALLOWED"})
        return
    assert answer.status == expected(transport, attack)
    if answer.status < 1000:
        assert answer.codes == {attack.code}
    assert all(len(json.dumps(error)) < LONGEST_ERROR for error in answer.errors)
    assert not any(value for value in (answer.data or {}).values() if value != [None]), "the response has data"


@pytest.mark.parametrize("name", BODIES)
async def test_an_invalid_body_is_refused(session: Session, name: str) -> None:
    attack = BODIES[name]

    headers = {"Content-Type": JSON, **attack.headers}
    chunked = True if attack.chunked else None
    async with session.post("/graphql", data=BytesIO(attack.body), headers=headers, chunked=chunked) as response:
        answer = outcome(response.status, await response.json())
    assert (answer.status, answer.codes, answer.data) == (attack.status, {attack.code}, None)


# Bytes


async def exchange(target: Target, content: bytes) -> bytes:
    """Send bytes, and return everything received until the gateway closes the connection."""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        writer.write(content)
        async with asyncio.timeout(TIMEOUT):
            return await reader.read()
    finally:
        writer.close()


def statuses(answers: bytes) -> tuple[int, ...]:
    return tuple(int(answer[:3]) for answer in answers.split(b"HTTP/1.1 ")[1:])


@pytest.mark.parametrize("name", RAW_BYTES)
async def test_invalid_http_is_refused_and_not_executed(session: Session, target: Target, name: str) -> None:
    attack = RAW_BYTES[name]
    answers = await exchange(target, attack.content)
    assert statuses(answers) == attack.statuses
    assert b"directive @" not in answers, "the smuggled request was executed"


INJECTED = {
    "x-request-id": ["a\tb", "a b", "a" * 1_000, "%0d%0aSet-Cookie: a=b", "ä"],
    "traceparent": ["00-" + "z" * 32 + "-" + "1" * 16 + "-01", "00-" + "1" * 32 + "-" + "1" * 16 + "-01\tx"],
    "host": ["evil.example\tx", "[", "a@b", "evil.example/path"],
    "x-gateway-plan": ["only\tx", "%0aonly"],
}


@pytest.mark.parametrize(("header", "value"), [(header, value) for header in INJECTED for value in INJECTED[header]])
async def test_a_hostile_header_is_not_repeated_in_the_response(
    session: Session, target: Target, header: str, value: str
) -> None:
    host = "" if header == "host" else "Host: gateway"
    content = request("GET /graphql?query={__typename} HTTP/1.1", f"{header}: {value}", "Connection: close", host=host)
    head, _, _ = (await exchange(target, content)).partition(b"\r\n\r\n")
    assert value.encode("latin-1") not in head
    assert b"set-cookie" not in head.lower()


async def test_no_path_is_redirected_to_the_host_of_a_request(session: Session, target: Target) -> None:
    for path in ("/graphql/", "/healthz/", "//evil.example/..", "/"):
        content = request(f"GET {path} HTTP/1.1", "Accept: text/html", "Connection: close", host="Host: evil.example")
        assert b"evil.example" not in await exchange(target, content)


# Slowness


SLOW = {
    "nothing at all": b"",
    "half a line": b"GET /graph",
    "half a head": request("POST /graphql HTTP/1.1")[:-2],
    "nothing but empty lines": b"\r\n" * 100,
    "no second request": request("GET /healthz HTTP/1.1"),
}


@pytest.mark.parametrize("name", SLOW)
async def test_a_connection_without_a_complete_request_is_closed(session: Session, target: Target, name: str) -> None:
    assert set(statuses(await exchange(target, SLOW[name]))) <= {200}


async def test_a_websocket_can_be_idle_for_longer_than_the_limit_for_headers(session: Session, target: Target) -> None:
    async with session.ws_connect("/graphql", protocols=["graphql-transport-ws"]) as socket:
        await socket.send_json({"type": "connection_init"})
        assert (await socket.receive_json())["type"] == "connection_ack"
        for _ in range(3):
            assert await exchange(target, b"") == b"", "the gateway closes the idle connection"
        await socket.send_json({"type": "ping"})
        assert (await socket.receive_json())["type"] == "pong"


async def test_slow_headers_end_the_connection(session: Session, target: Target) -> None:
    reader, writer = await asyncio.open_connection(target.host, target.port)
    writer.write(b"GET /healthz HTTP/1.1\r\n")
    async with asyncio.timeout(TIMEOUT):
        closed = asyncio.ensure_future(reader.read())
        while not closed.done():
            writer.write(b"a: b\r\n")
            await asyncio.wait({closed}, timeout=0.05)
    writer.close()


async def test_a_slow_body_ends_the_connection(session: Session, target: Target) -> None:
    reader, writer = await asyncio.open_connection(target.host, target.port)
    writer.write(post("Content-Length: 1000000"))
    async with asyncio.timeout(TIMEOUT):
        closed = asyncio.ensure_future(reader.read())
        while not closed.done():
            writer.write(b" ")
            await asyncio.wait({closed}, timeout=0.05)
    assert statuses(await closed) == (408,)
    writer.close()


async def test_a_body_that_continues_after_its_refusal_ends_the_connection(session: Session, target: Target) -> None:
    _, writer = await asyncio.open_connection(target.host, target.port)
    writer.write(post("Transfer-Encoding: chunked"))
    async with asyncio.timeout(TIMEOUT):
        try:
            while True:
                writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0.001)
        except ConnectionError:
            writer.close()


async def test_a_client_that_disconnects_during_a_request_has_no_effect(session: Session, target: Target) -> None:
    for content in (
        post("Content-Length: 100", body=b"{"),
        request("GET /graphql?query={__schema{types{name}}} HTTP/1.1"),
    ):
        _, writer = await asyncio.open_connection(target.host, target.port)
        writer.write(content)
        await writer.drain()
        writer.close()


@pytest.mark.parametrize("content", [b"", b"POST /graphql HTTP/1.1\r\nHost:"], ids=["silent", "half a head"])
async def test_idle_connections_are_closed_for_new_ones(session: Session, target: Target, content: bytes) -> None:
    """Three times as many connections as allowed are open, and requests are still served."""
    opened = [await asyncio.open_connection(target.host, target.port) for _ in range(300)]
    for _, writer in opened:
        writer.write(content)
    for _ in range(20):
        assert (await by_post(session, Attack("{ __typename }", ""))).data == {"__typename": "Query"}
    for _, writer in opened:
        writer.close()


async def test_pipelined_requests_have_responses_in_order(session: Session, target: Target) -> None:
    paths = ("/healthz", "/nowhere", "/healthz", "/graphql?query={__typename}", "/nowhere")
    content = b"".join(request(f"GET {path} HTTP/1.1") for path in paths) + request(
        "GET /x HTTP/1.1", "Connection: close"
    )
    assert statuses(await exchange(target, content)) == (200, 404, 200, 200, 404, 404)
