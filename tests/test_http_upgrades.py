"""Requests that ask for another protocol, trailers, and what waits on a connection while the client does not read."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.server import connection_limits
from tests.conftest import qianfan, served, settings
from tests.test_http_connections import Wire, read_response

BODY = b'{"query": "{ registries { name kind } }"}'

CHUNKS = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n" % (9, BODY[:9], len(BODY) - 9, BODY[9:])
"""The body in two chunks, before the trailers and the empty line."""

HANDSHAKE = (b"sec-websocket-version: 13", b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==")


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with served(settings(qianfan("http://127.0.0.1:9"))) as gateway:
        host, port = gateway.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        yield Wire(reader, writer)
        writer.close()


async def write(wire: Wire, content: bytes, size: int) -> None:
    """Write in parts of this size."""
    for at in range(0, len(content), size):
        wire.writer.write(content[at : at + size])
        await wire.writer.drain()


async def write_without_end(wire: Wire, content: bytes) -> None:
    while True:
        wire.writer.write(content)
        await wire.writer.drain()


def head(line: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([line, b"host: gateway", *fields, b"", b""])


def get(*fields: bytes) -> bytes:
    return head(b"GET /graphql?query={registries{name}} HTTP/1.1", *fields)


def post(*fields: bytes) -> bytes:
    return head(b"POST /graphql HTTP/1.1", b"content-type: application/json", *fields)


def with_length(*fields: bytes) -> bytes:
    return post(*fields, b"content-length: %d" % len(BODY)) + BODY


def with_chunks(*fields: bytes, trailers: bytes = b"") -> bytes:
    return post(*fields, b"transfer-encoding: chunked") + CHUNKS + trailers + b"\r\n"


def get_with_length(*fields: bytes) -> bytes:
    return get(*fields, b"content-length: 11") + b"GET / HTTP/"


def get_with_chunks(*fields: bytes) -> bytes:
    return get(*fields, b"transfer-encoding: chunked") + b"4\r\n\r\n\r\n\r\n0\r\n\r\n"


IGNORED: dict[str, tuple[bytes, ...]] = {
    "h2c, as from Java": (b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAMA"),
    "TLS": (b"upgrade: TLS/1.0, HTTP/1.1", b"connection: keep-alive, Upgrade"),
    "an unknown protocol": (b"connection: upgrade", b"upgrade: chess/3"),
    "several protocols": (b"connection: upgrade", b"upgrade: h2c, websocket", *HANDSHAKE),
    "several fields": (b"connection: upgrade", b"upgrade: websocket", b"upgrade: h2c", *HANDSHAKE),
    "nothing": (b"connection: upgrade", b"upgrade: "),
    "h2c, and to wait for the body": (b"connection: upgrade", b"upgrade: h2c", b"expect: 100-continue"),
}
WEBSOCKET = (b"connection: upgrade", b"upgrade: websocket", *HANDSHAKE)

FORMS: dict[str, Callable[..., bytes]] = {
    "GET": get,
    "GET with a body": get_with_length,
    "GET with chunks": get_with_chunks,
    "POST": with_length,
    "POST with chunks": with_chunks,
}
CASES = [(fields, form) for fields in IGNORED.values() for form in FORMS.values()] + [
    (WEBSOCKET, form) for name, form in FORMS.items() if name != "GET"
]


async def final_response(wire: Wire) -> tuple[bytes, bytes]:
    """Return the status line and the body of the next response that is not interim."""
    while True:
        head = await wire.reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 100 "):
            length = re.search(rb"content-length: (\d+)", head.lower())
            assert length is not None, head
            return head.split(b"\r\n")[0], await wire.reader.readexactly(int(length[1]))


@pytest.mark.parametrize(("fields", "form"), CASES)
async def test_an_upgrade_to_anything_but_a_websocket_is_ignored(
    wire: Wire, fields: tuple[bytes, ...], form: Callable[..., bytes]
) -> None:
    wire.writer.write(form())
    expected = await final_response(wire)
    assert expected[0] == b"HTTP/1.1 200 OK"
    content = form(*fields) * 2 + form()
    for size in (len(content), 7):
        await write(wire, content, size)
        assert [await final_response(wire) for _ in range(3)] == [expected] * 3


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_an_upgrade_leaves_the_end_of_the_connection_as_it_is(wire: Wire, version: bytes) -> None:
    wire.writer.write(head(b"GET /healthz HTTP/" + version, b"connection: upgrade, close", b"upgrade: h2c"))
    response = await wire.reader.read()
    assert response.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in response


async def test_http_1_0_knows_no_websockets(wire: Wire) -> None:
    wire.writer.write(head(b"GET /graphql?query={__typename} HTTP/1.0", *WEBSOCKET))
    assert (await wire.reader.read()).startswith(b"HTTP/1.1 200 OK")


async def test_a_websocket_can_follow_requests_on_its_connection(wire: Wire) -> None:
    wire.writer.write(get() + with_length() + get(*WEBSOCKET))
    assert (await read_response(wire.reader))[0] == (await read_response(wire.reader))[0] == b"HTTP/1.1 200 OK"
    assert (await wire.reader.readuntil(b"\r\n")) == b"HTTP/1.1 101 Switching Protocols\r\n"


async def test_messages_may_arrive_with_the_handshake(wire: Wire) -> None:
    message = b'{"type":"connection_init"}'
    frame = bytes([0x81, 0x80 | len(message)]) + b"\0\0\0\0" + message
    wire.writer.write(get(*WEBSOCKET, b"sec-websocket-protocol: graphql-transport-ws") + frame)
    assert b" 101 " in await wire.reader.readuntil(b"\r\n\r\n")
    assert (await wire.reader.readexactly(27))[2:] == b'{"type":"connection_ack"}'


@pytest.mark.parametrize("missing", HANDSHAKE)
async def test_an_incomplete_handshake_is_refused(wire: Wire, missing: bytes) -> None:
    wire.writer.write(get(*[field for field in WEBSOCKET if field != missing]))
    assert (await wire.reader.read()).startswith(b"HTTP/1.1 4")


TRAILERS = [
    b"x-request-id: from-a-trailer\r\n",
    b"digest: a\r\nx-request-id: from-a-trailer\r\n",
    b"x-request-id: from-a-trailer\r\naccept-encoding: gzip\r\nconnection: close\r\n",
    b"x-request-id: from-a-trailer\r\nconnection: upgrade\r\nupgrade: websocket\r\n",
]


@pytest.mark.parametrize("trailers", TRAILERS)
async def test_trailers_are_ignored(wire: Wire, trailers: bytes) -> None:
    content = with_chunks(trailers=trailers) + get(b"x-request-id: from-the-head") + with_chunks(trailers=trailers)
    for size in (len(content), 5):
        await write(wire, content, size)
        for own_id in (None, b"from-the-head", None):
            status, headers, body = await read_response(wire.reader)
            assert (status, len(json.loads(body)["data"]["registries"])) == (b"HTTP/1.1 200 OK", 1)
            assert headers[b"x-request-id"] != b"from-a-trailer"
            assert own_id in (None, headers[b"x-request-id"])
            assert not headers.keys() & {b"content-encoding", b"connection"}


@pytest.mark.parametrize("line", [b"a: b\r\n", b"a"], ids=["many", "one without an end"])
async def test_trailers_are_limited_like_headers(wire: Wire, line: bytes) -> None:
    wire.writer.write(post(b"transfer-encoding: chunked") + CHUNKS + b"b: ")
    for _ in range(400):
        wire.writer.write(line * 1000)
        await wire.writer.drain()
    assert (await wire.reader.read()).startswith(b"HTTP/1.1 431 ")


async def test_a_request_that_cannot_be_read_does_not_overtake_others(wire: Wire) -> None:
    wire.writer.write(with_length() * 2 + b"\0 / HTTP/1.1\r\n\r\n" + with_length())
    statuses = [(await read_response(wire.reader))[0] for _ in range(3)]
    assert statuses == [b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK", b"HTTP/1.1 400 Bad Request"]
    assert await wire.reader.read() == b""


async def test_the_last_byte_of_a_head_may_arrive_with_the_next_request(wire: Wire) -> None:
    content = get() + with_length() + get()
    wire.writer.write(content)
    expected = [await final_response(wire) for _ in range(3)]
    for at in [end.start() + size for end in re.finditer(rb"\r\n\r\n", content) for size in range(1, 4)]:
        wire.writer.write(content[:at])
        await wire.writer.drain()
        await asyncio.sleep(0)
        wire.writer.write(content[at:])
        assert [await final_response(wire) for _ in range(3)] == expected


PING = bytes([0x89, 0x80 | 100]) + b"\0" * 104
"""A WebSocket ping with 100 bytes, which the answer repeats."""

LARGE = b"{__schema{types{name description fields{name description args{name description}}}}}"
UNREAD = {
    "GET": (b"", head(b"GET /graphql?query=%b HTTP/1.1" % LARGE.replace(b" ", b"%20"))),
    "POST": (b"", post(b"content-length: %d" % (len(LARGE) + 13)) + b'{"query": "%b"}' % LARGE),
    "server-sent events": (
        b"",
        post(b"accept: text/event-stream", b"content-length: %d" % (len(LARGE) + 13)) + b'{"query": "%b"}' % LARGE,
    ),
    "WebSocket pings": (get(*WEBSOCKET, b"sec-websocket-protocol: graphql-transport-ws"), PING * 1000),
}


@pytest.mark.parametrize("name", UNREAD)
async def test_a_client_that_reads_nothing_is_disconnected(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(connection_limits, "WRITE_TIMEOUT", 0.1)
    first, content = UNREAD[name]
    wire.writer.write(first)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    with pytest.raises(ConnectionError):
        await write_without_end(wire, content)
