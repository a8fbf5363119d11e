"""Registries on loopback sockets that send scripted bytes, and clients for them."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from gateway.config.settings import Credentials, Secret
from gateway.errors import RegistryError, by_status
from gateway.telemetry.events import NO_EVENTS, Events
from gateway.upstream.http_client import HttpClient
from gateway.upstream.messages import Destination, Endpoint, Request, Response, Scope, StaticCredentials

LIMIT: Final = 1000
CLOSE: Final = b"close"
"""In a script: the server closes the connection."""


def response(body: bytes = b'{"ok":1}', *headers: str, status: str = "200 OK") -> bytes:
    """Return a response with a length."""
    head = "".join([f"HTTP/1.1 {status}\r\n", *(f"{line}\r\n" for line in headers), f"Content-Length: {len(body)}\r\n"])
    return head.encode() + b"\r\n" + body


DOCUMENT: Final = {"ok": 1}
PLAIN: Final = response()
NOW: Final = datetime(2026, 11, 29, 12, 0, 0, tzinfo=UTC)


def sign(request: Request, host: str, credentials: Credentials, now: datetime, nonce: str) -> Mapping[str, str]:
    """Return headers that show what is signed."""
    query = "&".join(f"{name}={value}" for name, value in request.query)
    return {"host": host, "x-signed": f"{request.method} {request.path} {query}", "x-nonce": nonce}


def check(answer: Response) -> RegistryError | None:
    return by_status(answer.status)("pai") if answer.status >= 400 else None


def destination(endpoint: Endpoint, timeout: float = 10.0, tls: ssl.SSLContext | None = None) -> Destination:
    credentials = StaticCredentials(Credentials("key", Secret("secret")))
    return Destination("pai", Scope("account"), {"models": endpoint}, timeout, LIMIT, sign, check, credentials, tls)


def request(method: str = "GET", body: bytes = b"", path: str = "/models/a%20b", **query: str) -> Request:
    return Request("ListModels", "models", method, path, tuple(query.items()), body)


class RawRegistry:
    """A server that sends one scripted text for each request, on any connection."""

    def __init__(self, client: HttpClient, script: list[bytes]) -> None:
        self.client, self.script, self.timeout = client, script, 10.0
        self.heads, self.bodies, self.connections = list[str](), list[bytes](), 0
        self.requested, self.disconnected = asyncio.Event(), asyncio.Event()
        self.endpoint = Endpoint("", "")
        self.tls: ssl.SSLContext | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, method: str = "GET", body: bytes = b"", **query: str) -> Any:
        """Send a request to the registry, and return the document."""
        target = destination(self.endpoint, self.timeout, self.tls)
        return await self.client.send(target, request(method, body, **query))

    def write(self, text: bytes) -> None:
        """Send more bytes on the last connection."""
        assert self._writer is not None
        self._writer.write(text)

    @property
    def nonces(self) -> list[str]:
        return [line.partition(": ")[2] for head in self.heads for line in head.split("\r\n") if "x-nonce" in line]

    async def speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writer = writer
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                length = [int(line[16:]) for line in head.lower().split("\r\n") if line.startswith("content-length: ")]
                self.bodies.append(await reader.readexactly(sum(length)))
                self.requested.set()
                writer.write(self.script.pop(0))
                await writer.drain()
                if self.script[:1] == [CLOSE]:
                    self.script.pop(0)
                    break
        finally:
            self.disconnected.set()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(handler: Handler, security: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on a loopback port; a connection is closed when its handler ends."""
    writers = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=security)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def serving(
    *script: bytes, security: ssl.SSLContext | None = None, path: str = "", events: Events = NO_EVENTS
) -> AsyncIterator[RawRegistry]:
    """A registry with a script, and a client of it."""
    async with HttpClient(lambda: NOW, events) as client:
        registry = RawRegistry(client, list(script))
        async with listening(registry.speak, security) as port:
            origin = f"http://127.0.0.1:{port}" if security is None else f"https://localhost:{port}"
            registry.endpoint = Endpoint.parse(origin + path)
            yield registry


def via(registry: RawRegistry, proxy: str) -> None:
    """Send the requests to a registry through a proxy."""
    registry.endpoint = replace(registry.endpoint, proxy=proxy)


def padded(size: int) -> bytes:
    """Return a JSON object of so many bytes."""
    return json.dumps({"ok": "x" * (size - 10)}, separators=(",", ":")).encode().ljust(size)
