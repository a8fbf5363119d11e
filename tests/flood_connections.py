"""Clients that send requests without end on one connection, and never read an answer."""

import asyncio
import json
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

QUERY: Final = "{ models(first: 100) { nodes { id name description createdAt extra } } }"
DEFERRED: Final = "{ models(first: 100) { nodes { id ... @defer { name description createdAt extra } } } }"


@dataclass(frozen=True)
class Flood:
    """What a client sends once, and what it repeats."""

    repeated: bytes
    first: bytes = b""


def post(query: str, *fields: str) -> bytes:
    body = json.dumps({"query": query}).encode()
    lines = ("POST /graphql HTTP/1.1", "Host: gateway", "Content-Type: application/json", *fields)
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def handshake(*fields: str) -> bytes:
    lines = (
        "GET /graphql HTTP/1.1",
        "Host: gateway",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: graphql-transport-ws",
        *fields,
    )
    return "\r\n".join([*lines, "", ""]).encode() + frame(b'{"type":"connection_init"}')


def frame(payload: bytes, first: int = 0x81) -> bytes:
    """A masked frame of a WebSocket; by default a whole text message."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([first]) + length + b"\0\0\0\0" + payload


def compressed(payload: bytes) -> bytes:
    """A text message under permessage-deflate (RFC 7692, section 7.2.1)."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -12)
    return frame((deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4], 0xC1)


def subscribe(number: int) -> bytes:
    message = {"type": "subscribe", "id": str(number), "payload": {"query": QUERY}}
    return frame(json.dumps(message).encode())


HEALTH: Final = b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n"
LARGE_PING: Final = b'{"type":"ping","payload":{"a":"%b"}}' % (b"x" * 240_000)

FLOODS: Mapping[str, Flood] = {
    "GET /healthz": Flood(HEALTH * 1000),
    "the shortest requests": Flood(b"GET / HTTP/1.1\r\nHost:\r\n\r\n" * 1000),
    "POST /graphql": Flood(post(QUERY) * 100),
    "POST /graphql with 60 kB": Flood(post("{ __typename } #" + "x" * 60_000) * 2),
    "server-sent events": Flood(post(QUERY, "Accept: text/event-stream") * 100),
    "multipart/mixed": Flood(post(DEFERRED, "Accept: multipart/mixed") * 100),
    "WebSocket: pings": Flood(frame(b"x" * 100, 0x89) * 1000, handshake()),
    "WebSocket: messages": Flood(frame(b'{"type":"ping"}') * 1000, handshake()),
    "WebSocket: operations": Flood(b"".join(map(subscribe, range(100))), handshake()),
    "WebSocket: messages that expand": Flood(
        compressed(LARGE_PING) * 100, handshake("Sec-WebSocket-Extensions: permessage-deflate")
    ),
}


async def send(host: str, port: int, flood: Flood, sent: asyncio.Semaphore) -> None:
    """Send a flood on one connection until cancelled or disconnected. ``sent`` is released once it has begun."""
    _, writer = await asyncio.open_connection(host, port)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    try:
        writer.write(flood.first)
        with suppress(ConnectionError):
            while True:
                writer.write(flood.repeated)
                sent.release()
                await writer.drain()
    finally:
        writer.transport.abort()
