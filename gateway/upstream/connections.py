"""HTTP/1.1 to one address over connections that are kept: what each of very many calls can do without is left out.

No redirect is followed, no cookie kept, no proxy looked for, and nothing is ever sent a second time.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from functools import cache, lru_cache
from socket import SOCK_STREAM
from typing import Final
from urllib.parse import urlsplit

from aiohappyeyeballs import start_connection

from gateway import __version__
from gateway.upstream.connection import Connection, Received

MOST: Final = 128
"""Connections to one address."""

KEPT: Final = 30.0
"""Seconds for which one that nobody uses is kept."""

NEXT_ADDRESS: Final = 0.25
"""Seconds after which the next address of a host is tried beside one that does not answer (RFC 8305)."""

PORTS: Final = {"http": 80, "https": 443}
COMMON: Final = f"user-agent: registry-gateway/{__version__}\r\naccept-encoding: gzip, deflate\r\n"


@cache
def trusted() -> ssl.SSLContext:
    """What the system trusts; certificates are checked, and so are their names."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def message(method: str, target: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A request as it goes out. Raises ValueError for a line break where none may be."""
    said = (target, *headers.values())
    text = "".join(said)
    if "\n" in text or "\r" in text:
        raise ValueError("a line break in a request's head")
    if method == "GET" and not body:
        return (form(method, tuple(headers)) % said).encode()
    return (form(method, (*headers, "content-length")) % (*said, len(body))).encode() + body


@lru_cache(maxsize=64)
def form(method: str, names: tuple[str, ...]) -> str:
    """The head of a request with headers of these names, which are of the gateway's own making, before its target and
    their values are put in."""
    return f"{method} %s HTTP/1.1\r\n{COMMON}" + "".join([f"{name}: %s\r\n" for name in names]) + "\r\n"


class Connections:
    """The connections to one address, such as ``https://host:8443``, and how many there are at ``most``; the one used
    last is used next."""

    def __init__(self, address: str, most: int = MOST) -> None:
        parts = urlsplit(address)
        self.netloc, self.path = parts.netloc, parts.path
        self._host, self._port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        self._tls = parts.scheme == "https"
        self._free, self._waiting = most, deque[asyncio.Future[None]]()
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._sweep: asyncio.TimerHandle | None = None

    async def exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, limit: int, ends: float
    ) -> Received:
        """The answer to a request; ``limit`` in bytes of its unpacked body, ``ends`` the loop's time until which all of
        it may take. Raises OSError (TimeoutError), `Garbled`, `TooLarge`."""
        request = message(method, self.path + target, headers, body)
        if self._free:  # then nobody waits
            self._free -= 1
        else:
            await self._place(ends)
        connection = None
        try:
            connection = self._unused() or await self._connect_before(ends)
            return await connection.exchange(request, limit, ends)
        finally:
            self._leave()
            if connection is not None:
                self._keep(connection)

    async def _place(self, ends: float) -> None:
        """Wait for the place of another call, in order of asking."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await asyncio.sleep(0)  # what follows is a task's
            async with asyncio.timeout_at(ends):
                await turn
        except BaseException:
            if not turn.cancel() and not turn.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        """Give a place to whoever has waited longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _unused(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    async def _connect_before(self, ends: float) -> Connection:
        await asyncio.sleep(0)  # what follows is a task's
        async with asyncio.timeout_at(ends):
            return await self._connect()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self._port, type=SOCK_STREAM)
        socket = await start_connection(found, happy_eyeballs_delay=NEXT_ADDRESS)
        security, name = (trusted(), self._host) if self._tls else (None, None)
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(loop, self._lost), sock=socket, ssl=security, server_hostname=name
            )
        except BaseException:
            socket.close()
            raise
        self._open.add(connection)
        return connection

    def _keep(self, connection: Connection) -> None:
        """Use a connection again, if it can be."""
        if not connection.kept:
            connection.close()
            return
        connection.since = connection.loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = connection.loop.call_later(KEPT, self._close_unused)

    def _close_unused(self) -> None:
        now = asyncio.get_running_loop().time()
        kept = [connection for connection in self._idle if connection.since + KEPT > now]
        for connection in self._idle[: len(self._idle) - len(kept)]:
            connection.close()
        self._idle = kept
        self._sweep = asyncio.get_running_loop().call_later(KEPT, self._close_unused) if kept else None

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    async def close(self) -> None:
        """End all connections, whatever they are at."""
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in tuple(self._open):
            connection.close()
        await asyncio.sleep(0)
