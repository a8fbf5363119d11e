"""One process is attacked in every way that the tables know, and answers the next client as if nothing had been."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import aiohttp
import pytest

from tests.security.attacks import BODIES, OPERATIONS, SPOKEN, Attack, post, request
from tests.security.conftest import Target

JSON, GRAPHQL = "application/json", "application/graphql-response+json"

HANGS: Final = 10.0
"""Seconds after which an answer no longer comes. Each of these takes a fraction of one; machines differ."""

MOST_MEMORY: Final = 400_000_000
"""Bytes that the process may have had at most; it starts with about 100 MB."""

LONGEST_ERROR: Final = 1_000
"""Characters of an error, whatever was asked."""

Session = aiohttp.ClientSession


@dataclass(frozen=True)
class Heard:
    """What a client hears: a status or the code of a WebSocket's end, the errors, and the data."""

    status: int
    errors: list[Any]
    data: Any = None

    @property
    def codes(self) -> set[str]:
        return {error["extensions"]["code"] for error in self.errors}


def heard(status: int, body: Any) -> Heard:
    return Heard(status, body.get("errors", []), body.get("data"))


# Transports


def parameters(attack: Attack) -> dict[str, Any]:
    said = {"query": attack.query, "variables": dict(attack.variables), "operationName": attack.operation_name}
    return {name: value for name, value in said.items() if value}


async def by_post(session: Session, attack: Attack, accept: str = JSON) -> Heard:
    async with session.post("/graphql", json=parameters(attack), headers={"Accept": accept}) as response:
        return heard(response.status, await response.json(content_type=None))


async def by_post_in_new_type(session: Session, attack: Attack) -> Heard:
    return await by_post(session, attack, GRAPHQL)


async def by_get(session: Session, attack: Attack) -> Heard:
    said = parameters(attack)
    if "variables" in said:
        said["variables"] = json.dumps(said["variables"])
    async with session.get("/graphql", params=said, headers={"Accept": JSON}) as response:
        text = await response.text()
        return heard(response.status, json.loads(text) if text else {})


async def by_batch(session: Session, attack: Attack) -> Heard:
    async with session.post("/graphql", json=[parameters(attack)] * 3) as response:
        body = await response.json()
    if isinstance(body, dict):
        return heard(response.status, body)
    first, *others = body
    assert [{**other, "errors": None} for other in others] == [{**first, "errors": None}] * 2
    return heard(response.status, first)


async def by_events(session: Session, attack: Attack) -> Heard:
    headers = {"Accept": "text/event-stream"}
    async with session.post("/graphql", json=parameters(attack), headers=headers) as response:
        text = await response.text()
    if response.status != 200:
        return heard(response.status, json.loads(text))
    (told,) = (line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: "))
    assert text.endswith("event: complete\ndata:\n\n")
    return heard(200, json.loads(told))


async def by_socket(session: Session, attack: Attack) -> Heard:
    async with session.ws_connect("/graphql", protocols=["graphql-transport-ws"]) as socket:
        await socket.send_json({"type": "connection_init"})
        assert (await socket.receive_json())["type"] == "connection_ack"
        await socket.send_json({"type": "subscribe", "id": "1", "payload": parameters(attack)})
        message = await socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            return Heard(socket.close_code or 0, [])
        told = message.json()
        return heard(200, told["payload"]) if told["type"] == "next" else Heard(200, told["payload"])


TRANSPORTS: Mapping[str, Callable[[Session, Attack], Awaitable[Heard]]] = {
    "post": by_post,
    "post, new type": by_post_in_new_type,
    "get": by_get,
    "batch": by_batch,
    "events": by_events,
    "socket": by_socket,
}


def expected(transport: str, attack: Attack) -> int:
    """The status of an attack's answer, or the code with which its WebSocket is closed."""
    if transport == "socket" and attack.closes is not None:
        return attack.closes
    if attack.status is not None:
        return attack.status
    return 400 if transport == "post, new type" and not attack.executed else 200


@pytest.fixture
async def session(target: Target) -> AsyncIterator[Session]:
    """A client; whatever it did, the process then answers the next one, and has not grown."""
    timeout = aiohttp.ClientTimeout(total=HANGS)
    async with Session(target.url, timeout=timeout) as session:
        yield session
    async with Session(target.url, timeout=timeout) as another:
        answer = await by_post(another, Attack("{ models(first: 1) { nodes { registryName } } }", ""))
        assert (answer.status, answer.errors, len(answer.data["models"]["nodes"])) == (200, [], 1)
    assert target.memory() < MOST_MEMORY


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", OPERATIONS)
async def test_an_operation_that_asks_too_much_is_refused_on_every_transport(
    session: Session, name: str, transport: str
) -> None:
    attack = OPERATIONS[name]
    answer = await TRANSPORTS[transport](session, attack)
    if transport == "get" and answer.status == 431:
        assert len(json.dumps(parameters(attack))) > 20_000, "no head was too large for the query"
        return
    assert answer.status == expected(transport, attack)
    if answer.status < 1000:
        assert answer.codes == {attack.code}
    assert all(len(json.dumps(error)) < LONGEST_ERROR for error in answer.errors)
    assert not any(value for value in (answer.data or {}).values() if value != [None]), "something was answered"


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_that_is_no_request_is_refused(session: Session, name: str) -> None:
    posted = BODIES[name]

    headers = {"Content-Type": JSON, **posted.headers}
    chunked = True if posted.chunked else None
    async with session.post("/graphql", data=BytesIO(posted.body), headers=headers, chunked=chunked) as response:
        answer = heard(response.status, await response.json())
    assert (answer.status, answer.codes, answer.data) == (posted.status, {posted.code}, None)


# Bytes


async def quoted(target: Target, said: bytes) -> bytes:
    """All that is answered to some bytes, until the gateway closes the connection."""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        writer.write(said)
        async with asyncio.timeout(HANGS):
            return await reader.read()
    finally:
        writer.close()


def statuses(answers: bytes) -> tuple[int, ...]:
    return tuple(int(answer[:3]) for answer in answers.split(b"HTTP/1.1 ")[1:])


@pytest.mark.parametrize("name", SPOKEN)
async def test_what_is_no_http_is_refused_and_nothing_in_it_is_executed(
    session: Session, target: Target, name: str
) -> None:
    attack = SPOKEN[name]
    answers = await quoted(target, attack.said)
    assert statuses(answers) == attack.statuses
    assert b"directive @" not in answers, "the request within the request was answered"


INJECTED = {
    "x-request-id": ["a\tb", "a b", "a" * 1_000, "%0d%0aSet-Cookie: a=b", "ä"],
    "traceparent": ["00-" + "z" * 32 + "-" + "1" * 16 + "-01", "00-" + "1" * 32 + "-" + "1" * 16 + "-01\tx"],
    "host": ["evil.example\tx", "[", "a@b", "evil.example/path"],
    "x-gateway-plan": ["only\tx", "%0aonly"],
}


@pytest.mark.parametrize(("header", "value"), [(header, value) for header in INJECTED for value in INJECTED[header]])
async def test_what_a_header_says_stands_in_no_header_of_the_answer(
    session: Session, target: Target, header: str, value: str
) -> None:
    host = "" if header == "host" else "Host: gateway"
    said = request("GET /graphql?query={__typename} HTTP/1.1", f"{header}: {value}", "Connection: close", host=host)
    head, _, _ = (await quoted(target, said)).partition(b"\r\n\r\n")
    assert value.encode("latin-1") not in head
    assert b"set-cookie" not in head.lower()


async def test_no_path_is_redirected_to_the_host_of_a_request(session: Session, target: Target) -> None:
    for path in ("/graphql/", "/healthz/", "//evil.example/..", "/"):
        said = request(f"GET {path} HTTP/1.1", "Accept: text/html", "Connection: close", host="Host: evil.example")
        assert b"evil.example" not in await quoted(target, said)


# Slowness


SLOW = {
    "nothing at all": b"",
    "half a line": b"GET /graph",
    "half a head": request("POST /graphql HTTP/1.1")[:-2],
    "nothing but empty lines": b"\r\n" * 100,
    "no second request": request("GET /healthz HTTP/1.1"),
}


@pytest.mark.parametrize("name", SLOW)
async def test_who_asks_nothing_is_not_waited_for(session: Session, target: Target, name: str) -> None:
    assert set(statuses(await quoted(target, SLOW[name]))) <= {200}


async def test_a_websocket_may_be_silent_for_longer_than_a_head_may_take(session: Session, target: Target) -> None:
    async with session.ws_connect("/graphql", protocols=["graphql-transport-ws"]) as socket:
        await socket.send_json({"type": "connection_init"})
        assert (await socket.receive_json())["type"] == "connection_ack"
        for _ in range(3):
            assert await quoted(target, b"") == b"", "the gateway was not the one to close it"
        await socket.send_json({"type": "ping"})
        assert (await socket.receive_json())["type"] == "pong"


async def test_a_head_that_drips_is_cut_off(session: Session, target: Target) -> None:
    reader, writer = await asyncio.open_connection(target.host, target.port)
    writer.write(b"GET /healthz HTTP/1.1\r\n")
    async with asyncio.timeout(HANGS):
        closed = asyncio.ensure_future(reader.read())
        while not closed.done():
            writer.write(b"a: b\r\n")
            await asyncio.wait({closed}, timeout=0.05)
    writer.close()


async def test_a_body_that_drips_is_cut_off(session: Session, target: Target) -> None:
    reader, writer = await asyncio.open_connection(target.host, target.port)
    writer.write(post("Content-Length: 1000000"))
    async with asyncio.timeout(HANGS):
        closed = asyncio.ensure_future(reader.read())
        while not closed.done():
            writer.write(b" ")
            await asyncio.wait({closed}, timeout=0.05)
    assert statuses(await closed) == (408,)
    writer.close()


async def test_a_body_that_goes_on_after_its_refusal_is_cut_off(session: Session, target: Target) -> None:
    _, writer = await asyncio.open_connection(target.host, target.port)
    writer.write(post("Transfer-Encoding: chunked"))
    async with asyncio.timeout(HANGS):
        try:
            while True:
                writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0.001)
        except ConnectionError:
            writer.close()


async def test_a_client_that_leaves_in_the_middle_is_not_missed(session: Session, target: Target) -> None:
    for said in (
        post("Content-Length: 100", body=b"{"),
        request("GET /graphql?query={__schema{types{name}}} HTTP/1.1"),
    ):
        _, writer = await asyncio.open_connection(target.host, target.port)
        writer.write(said)
        await writer.drain()
        writer.close()


@pytest.mark.parametrize("said", [b"", b"POST /graphql HTTP/1.1\r\nHost:"], ids=["silent", "half a head"])
async def test_half_open_sockets_make_room_for_others(session: Session, target: Target, said: bytes) -> None:
    """Three times as many as the gateway may have; those that ask are served meanwhile."""
    opened = [await asyncio.open_connection(target.host, target.port) for _ in range(300)]
    for _, writer in opened:
        writer.write(said)
    for _ in range(20):
        assert (await by_post(session, Attack("{ __typename }", ""))).data == {"__typename": "Query"}
    for _, writer in opened:
        writer.close()


async def test_requests_in_a_row_are_answered_in_their_order(session: Session, target: Target) -> None:
    paths = ("/healthz", "/nowhere", "/healthz", "/graphql?query={__typename}", "/nowhere")
    said = b"".join(request(f"GET {path} HTTP/1.1") for path in paths) + request("GET /x HTTP/1.1", "Connection: close")
    assert statuses(await quoted(target, said)) == (200, 404, 200, 200, 404, 404)
