"""The way out: one HTTP session that signs, sends, limits and checks every call to every registry."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from time import perf_counter
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import orjson
from aiohttp.http_exceptions import ContentEncodingError
from yarl import URL

from gateway.errors import (
    NotFound,
    RegistryAnswerTooLarge,
    RegistryBadAnswer,
    RegistryError,
    RegistryTimeout,
    RegistryUnauthenticated,
    RegistryUnreachable,
)
from gateway.registries.signatures import query_string
from gateway.settings import Credentials
from gateway.telemetry.facts import SILENT, Attempt, Facts
from gateway.upstream.wire import Destination, Request, Response

logger = logging.getLogger("gateway.upstream")

CONNECTIONS_PER_HOST = 128
"""How many calls to one address are in flight at once."""

CHUNK = 1 << 16


class Transport:
    """Sends requests over one session; use as an async context manager inside a running loop.

    ``clock`` gives the time that signatures carry; every request is told to ``facts``.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC), facts: Facts = SILENT) -> None:
        self.clock, self.facts = clock, facts

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, limit_per_host=CONNECTIONS_PER_HOST, ttl_dns_cache=60, keepalive_timeout=30
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            skip_auto_headers=("Content-Type",),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any:
        """The raw JSON object that a registry answers.

        Raises the `RegistryError` that the answer, or the lack of one, means.
        """
        with self.facts.attempt(destination.registry, request.call, request.method) as attempt:
            return await self._send(destination, request, attempt)

    async def _send(self, destination: Destination, request: Request, attempt: Attempt) -> Any:
        started = perf_counter()
        try:
            async with asyncio.timeout(destination.timeout):
                response, error = await self._answered(destination, request)
            attempt.status = response.status
            document = response.document
            if error is None and (response.status >= 300 or not isinstance(document, dict)):
                error = RegistryBadAnswer(destination.registry)
            if error is not None:
                raise error
        except TimeoutError:
            error = RegistryTimeout(destination.registry)
        except aiohttp.ClientPayloadError as broken:
            garbled = isinstance(broken.__cause__, ContentEncodingError)
            error = (RegistryBadAnswer if garbled else RegistryUnreachable)(destination.registry)
        except (aiohttp.ClientConnectionError, OSError):
            error = RegistryUnreachable(destination.registry)
        except aiohttp.ClientError:
            error = RegistryBadAnswer(destination.registry)
        except RegistryError as known:
            error = known
        else:
            return document
        if not isinstance(error, NotFound):
            logger.warning(
                "%s %s failed: %s vendor code %s, request %s, %.0f ms",
                destination.registry,
                request.call,
                error.code,
                error.vendor_code,
                error.request_id,
                (perf_counter() - started) * 1000,
            )
        raise error from None

    async def _answered(self, destination: Destination, request: Request) -> tuple[Response, RegistryError | None]:
        """A response and its error; where the credentials are not accepted and there are others now, that of those."""
        credentials = await destination.keyring.current()
        response = await self._exchange(destination, request, credentials)
        error = destination.check(response)
        if isinstance(error, RegistryUnauthenticated) and await destination.keyring.renewed(credentials):
            response = await self._exchange(destination, request, await destination.keyring.current())
            error = destination.check(response)
        return response, error

    async def _exchange(self, destination: Destination, request: Request, credentials: Credentials) -> Response:
        """Send one request, freshly signed each time it goes out, and read its answer up to the limit."""
        base = destination.addresses[request.service]
        query = f"?{query_string(request.query)}" if request.query else ""

        async def sign(outgoing: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            headers = destination.sign(request, host_of(base), credentials, self.clock(), secrets.token_hex(16))
            outgoing.headers.update(headers)
            try:
                return await send(outgoing)
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
                # aiohttp sends a GET once more when it sees one of these; how often we send is decided elsewhere.
                raise RegistryUnreachable(destination.registry) from None

        async with self._session.request(
            request.method,
            URL(f"{base}{request.path}{query}", encoded=True),
            data=request.body or None,
            allow_redirects=False,
            middlewares=(sign,),
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(CHUNK):
                body += chunk
                if len(body) > destination.limit:
                    response.close()
                    raise RegistryAnswerTooLarge(destination.registry)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Response(response.status, headers, bytes(body), decoded(body))


@cache
def host_of(address: str) -> str:
    return urlsplit(address).netloc


def decoded(body: bytearray) -> Any:
    """The JSON of a body, None when it holds none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
