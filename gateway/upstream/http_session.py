"""HTTP sessions with registries and the issuer of tokens: connections, proxies, body limits, and causes of failures."""

import socket
import zlib
from collections.abc import Callable
from errno import ECONNREFUSED
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from gateway import __version__
from gateway.config.settings import SettingsError
from gateway.config.tls import default_tls, is_for_another_host
from gateway.config.urls import has_valid_host
from gateway.errors import Cause

CONNECTIONS_PER_HOST: Final = 128
IDLE_SECONDS: Final = 30.0
"""Seconds for which an idle connection stays open."""
DNS_SECONDS: Final = 60
"""Seconds for which a resolved name is cached."""
HEAD_BYTES: Final = 1 << 16
"""Largest status line, and largest header, of a response."""

CODINGS: Final = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
"""The content codings that `read_body` decodes, with their window bits."""

HEADERS: Final = {
    "User-Agent": f"registry-gateway/{__version__}",
    "Accept-Encoding": "gzip, deflate",
}


class BodyTooLarge(Exception):
    """The body of a response, received or decoded, exceeds its limit."""


class BadCoding(ValueError):
    """The body of a response cannot be decoded. The text says why, for operators."""


class ConnectionLost(Exception):
    """A connection ended before the response's headers were complete. ``started``: some bytes had been received."""

    def __init__(self, started: bool) -> None:
        super().__init__()
        self.started = started


def new_session(
    *,
    keep_alive: bool = True,
    socket_factory: Callable[[Any], socket.socket] | None = None,
) -> aiohttp.ClientSession:
    """Open a session without cookies. With ``keep_alive`` off, each request gets a new connection.

    ``socket_factory`` makes the socket of each new connection, from an entry of `socket.getaddrinfo`.
    """
    connector = aiohttp.TCPConnector(
        limit=0,
        limit_per_host=CONNECTIONS_PER_HOST,
        ttl_dns_cache=DNS_SECONDS,
        resolver=aiohttp.ThreadedResolver(),
        ssl=default_tls(),
        force_close=not keep_alive,
        socket_factory=socket_factory,
        keepalive_timeout=IDLE_SECONDS if keep_alive else None,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=HEADERS,
        auto_decompress=False,
        max_line_size=HEAD_BYTES,
        max_field_size=HEAD_BYTES,
    )


def proxy_for(address: str, setting: str = "") -> str | None:
    """Return the proxy for an address: the one of the setting, else of HTTP_PROXY, HTTPS_PROXY and NO_PROXY.

    aiohttp's ``trust_env`` does the same, but for each request, in a thread. Raises `SettingsError` for a proxy that is
    not an HTTP one.
    """
    if setting:
        return setting
    parts = urlsplit(address)
    proxy = getproxies().get(parts.scheme)
    if proxy is None or proxy_bypass(parts.netloc):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not proxy.startswith(("http://", "https://")) or not has_valid_host(proxy):
        raise SettingsError((f"the variable {parts.scheme.upper()}_PROXY: must be an http:// or https:// address",))
    return proxy


async def read_body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read the body and decode its content coding.

    Raises `BodyTooLarge` as soon as it exceeds the limit in bytes, `BadCoding` if the coding is unknown or broken.
    """
    content, body, coding = response.content, Body(limit), response.headers.get("Content-Encoding", "").strip().lower()
    if coding not in ("", "identity"):
        body = CompressedBody(limit, coding)
    while not content.at_eof():
        body.add(await content.readany())
    return body.complete()


class Body:
    """The parts of a body, up to a limit in bytes."""

    def __init__(self, limit: int) -> None:
        self.parts, self.left, self.to_receive = list[bytes](), limit, limit

    def add(self, part: bytes) -> None:
        """Add a part that was received."""
        self.to_receive -= len(part)
        if self.to_receive < 0:
            raise BodyTooLarge
        self.parts.append(part)

    def complete(self) -> bytes:
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)


class CompressedBody(Body):
    """A body in a content coding.

    aiohttp's own decoding accepts neither several gzip members (RFC 1952, 2.2) nor notices a missing end.
    """

    def __init__(self, limit: int, coding: str) -> None:
        super().__init__(limit)
        if coding not in CODINGS:
            raise BadCoding("the content coding of the response was not requested")
        self.window_bits, self.is_gzip = CODINGS[coding], coding != "deflate"
        self.stream: Any = None

    def add(self, part: bytes) -> None:
        self.to_receive -= len(part)
        if self.to_receive < 0:
            raise BodyTooLarge
        while part:
            part = self._decompress(part)

    def _decompress(self, received: bytes) -> bytes:
        """Decompress up to the end of a member. Returns what follows it."""
        if self.stream is None:
            is_raw = not self.is_gzip and received[0] & 0x0F != zlib.DEFLATED
            self.stream = zlib.decompressobj(-zlib.MAX_WBITS if is_raw else self.window_bits)
        elif self.stream.eof:
            received = received.lstrip(b"\0")  # padding
            if not received:
                return b""
            if not self.is_gzip:
                raise BadCoding("the compressed response is followed by something else")
            self.stream = zlib.decompressobj(self.window_bits)
        try:
            part = self.stream.decompress(received, self.left + 1)
        except zlib.error:
            raise BadCoding("the compressed response is broken") from None
        self.left -= len(part)
        if self.left < 0:
            raise BodyTooLarge
        self.parts.append(part)
        return bytes(self.stream.unused_data)

    def complete(self) -> bytes:
        if self.stream is not None and not self.stream.eof:
            raise BadCoding("the compressed response is incomplete")
        return super().complete()


def failure_cause(error: Exception) -> Cause | None:
    """Return why a request got no response, or None if it got one that is malformed."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return Cause.CONNECT_TIMEOUT
        case TimeoutError():
            return Cause.READ_TIMEOUT
        case aiohttp.ClientConnectorDNSError():
            return Cause.NAME_NOT_RESOLVED
        case aiohttp.ClientConnectorCertificateError():
            reason = error.certificate_error
            return Cause.WRONG_HOST_NAME if is_for_another_host(reason) else Cause.UNTRUSTED_CERTIFICATE
        case aiohttp.ClientConnectorSSLError():
            return Cause.TLS_FAILED
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            return Cause.PROXY_REFUSED
        case aiohttp.ClientConnectorError():
            return Cause.CONNECTION_REFUSED if error.errno == ECONNREFUSED else Cause.CONNECTION_FAILED
        case aiohttp.ClientResponseError():
            return None
        case _:
            return Cause.CONNECTION_RESET
