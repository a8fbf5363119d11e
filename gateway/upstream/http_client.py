"""HTTP client of the registries: signs each request, sends it, and checks the response."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from time import perf_counter, time
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from yarl import URL

from gateway.config.settings import Credentials
from gateway.errors import (
    Cause,
    NotFound,
    RegistryAnswerTooLarge,
    RegistryBadAnswer,
    RegistryError,
    RegistryTimeout,
    RegistryUnauthenticated,
    RegistryUnreachable,
)
from gateway.memory_budget import memo
from gateway.telemetry.events import NO_EVENTS, Attempt, Events
from gateway.upstream.health import HealthMonitor
from gateway.upstream.http_session import (
    BadCoding,
    BodyTooLarge,
    ConnectionLost,
    failure_cause,
    new_session,
    read_body,
)
from gateway.upstream.json_documents import clean_text, read_json
from gateway.upstream.messages import (
    Destination,
    Endpoint,
    Request,
    Response,
    combined_headers,
    header_number,
)
from gateway.upstream.time_limits import TimeLimits
from gateway.upstream.url_encoding import query_string

logger = logging.getLogger("gateway.upstream")

CONNECT_SHARE: Final = 0.9
"""Share of a request's time after which it fails if there is no connection yet."""
MIN_TIMEOUT: Final = 0.001
"""Shortest timeout: aiohttp takes 0 for none."""
CACHED_URLS: Final = 1024

PROXY_AUTHENTICATION_REQUIRED: Final = 407
LONGEST_WAIT: Final = 3600.0
"""Longest time that a registry can ask to wait for, in seconds. A longer one counts as this."""
CLOCK_TOLERANCE: Final = 60
"""Difference of the clocks in seconds from which on it may be why the registry refused a signature."""


def current_second() -> datetime:
    """Return the time to the second, which is the precision of signatures."""
    return _second(int(time()))


@lru_cache(maxsize=2)
def _second(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@dataclass(slots=True)
class Connecting:
    """Whether a request opened a connection; if not, it used one that was open."""

    opened: bool = False


_connecting: ContextVar[Connecting] = ContextVar("connecting")


def new_socket(address: tuple[Any, Any, int, str, Any]) -> socket.socket:
    """Make the socket of a new connection, and note it for the request that needs it."""
    _connecting.get().opened = True
    family, socket_type, protocol, _, _ = address
    return socket.socket(family, socket_type, protocol)


class HttpClient:
    """Sends requests to registries. Use it as an async context manager.

    ``clock`` returns the time for signatures. Requests are reported to ``events``, their outcomes to ``health``.
    """

    def __init__(
        self,
        clock: Callable[[], datetime] = current_second,
        events: Events = NO_EVENTS,
        health: HealthMonitor | None = None,
    ) -> None:
        self.clock, self.events, self.health = clock, events, health
        self.time_limits = TimeLimits()

    async def __aenter__(self) -> Self:
        self._pooled = new_session(socket_factory=new_socket)
        self._fresh = new_session(keep_alive=False, socket_factory=new_socket)
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.time_limits.close()
        await self._pooled.close()
        await self._fresh.close()

    async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any:
        """Send a request and return the document of the response. Raises `RegistryError`."""
        registry = destination.registry
        with self.events.attempt(registry, request.call, request.method) as attempt:
            try:
                document = await self._document(destination, request, attempt)
            except RegistryError as error:
                if self.health is not None:
                    self.health.failed(registry, error)
                _log(request, error, attempt)
                raise
            if self.health is not None:
                self.health.answered(registry, perf_counter() - attempt.started)
            return document

    async def _document(self, destination: Destination, request: Request, attempt: Attempt) -> Any:
        """Send a request, again if the credentials were refused and have been renewed since. Raises `RegistryError`."""
        provider = destination.credentials
        ends = asyncio.get_running_loop().time() + destination.timeout
        try:
            credentials = await provider.current(ends)
            response = await self._exchange(destination, request, credentials, ends)
            error = self._check(destination, response)
            if isinstance(error, RegistryUnauthenticated) and await provider.renewed(credentials, ends):
                response = await self._exchange(destination, request, await provider.current(ends), ends)
                error = self._check(destination, response)
        except TimeoutError:
            raise RegistryTimeout(destination.registry) from None
        attempt.status = response.status
        if error is not None:
            raise error
        document = request.document(response)
        if response.status >= 300 or document is None:
            detail = f"status {response.status} without the JSON document of this call"
            raise RegistryBadAnswer(destination.registry, detail=detail)
        return document

    def _check(self, destination: Destination, response: Response) -> RegistryError | None:
        """Return the error that a response reports, with the longest time that it asks to wait for."""
        if response.status == PROXY_AUTHENTICATION_REQUIRED:
            return RegistryUnreachable(destination.registry, cause=Cause.PROXY_REFUSED)
        error = destination.check(response)
        if error is None:
            return None
        if error.vendor_code is None:
            error.detail = f"status {response.status} without the registry's own error"
        headers, now = response.headers, self.clock()
        date = parse_date(headers.get("date", ""))
        asked = [error.retry_after]
        if error.retryable:
            asked.append(retry_after(headers.get("retry-after", ""), date or now))
        times = [seconds for seconds in asked if seconds is not None]
        error.retry_after = min(max(times), LONGEST_WAIT) if times else None
        if isinstance(error, RegistryUnauthenticated) and date is not None:
            ahead = round((now - date).total_seconds())
            if abs(ahead) >= CLOCK_TOLERANCE:
                side = "ahead of" if ahead > 0 else "behind"
                error.detail = f"the gateway's clock is {abs(ahead)} s {side} the registry's"
        return error

    async def _exchange(
        self, destination: Destination, request: Request, credentials: Credentials, ends: float
    ) -> Response:
        """Send a request and receive the response. Raises `RegistryError` if there is none.

        An idle connection may end just as it is used again. That is no failure of the registry: the request is signed
        anew and sent once more, on a new connection.
        """
        registry = destination.registry
        until, connecting = self.time_limits.until, Connecting()
        _connecting.set(connecting)
        try:
            try:
                sending = self._send_once(self._pooled, destination, request, credentials, destination.timeout)
                return await until(ends, sending)
            except ConnectionLost as lost:
                if connecting.opened or lost.started:
                    raise
            self.events.reconnected(registry, request.call)
            left = max(MIN_TIMEOUT, ends - asyncio.get_running_loop().time())
            return await until(ends, self._send_once(self._fresh, destination, request, credentials, left))
        except BodyTooLarge:
            raise RegistryAnswerTooLarge(registry) from None
        except BadCoding as error:
            raise RegistryBadAnswer(registry, detail=str(error)) from None
        except (ConnectionLost, aiohttp.ClientError, OSError) as error:
            cause = failure_cause(error)
            if cause is None:
                raise RegistryBadAnswer(registry) from None
            error_type = RegistryTimeout if isinstance(error, TimeoutError) else RegistryUnreachable
            raise error_type(registry, cause=cause) from None

    async def _send_once(
        self,
        session: aiohttp.ClientSession,
        destination: Destination,
        request: Request,
        credentials: Credentials,
        seconds: float,
    ) -> Response:
        """Send a request, and receive the response, for which there are a number of seconds."""
        endpoint = destination.endpoints[request.service]
        request, url = _addressed(request, endpoint)
        headers = destination.sign(request, endpoint.host, credentials, self.clock(), os.urandom(16).hex())

        async def send_signed(
            unsigned: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            unsigned.headers.update(destination.headers)
            unsigned.headers.update(headers)
            try:
                return await send(unsigned)
            except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError):
                raise
            except aiohttp.ClientConnectionError as error:  # aiohttp would send the used signature again
                started = isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)
                raise ConnectionLost(started) from error

        response = await session.request(
            request.method,
            url,
            data=request.body or None,
            allow_redirects=False,
            timeout=_connect_timeout(seconds),
            proxy=endpoint.proxy,
            ssl=destination.tls or True,
            middlewares=(send_signed,),
        )
        try:
            body = await read_body(response, destination.limit)
        except BaseException:
            response.close()
            raise
        try:
            document = read_json(body)
        except ValueError:
            document = None
        return Response(response.status, clean_headers(response.headers), body, document)


@memo(CACHED_URLS, lambda request, endpoint: request.length)
def _addressed(request: Request, endpoint: Endpoint) -> tuple[Request, URL]:
    """Return a request with the path of its endpoint, and its URL, encoded exactly as it is signed."""
    if endpoint.path:
        request = replace(request, path=endpoint.path + request.path)
    target = f"{request.path}?{query_string(request.query)}" if request.query else request.path
    return request, URL(endpoint.origin + target, encoded=True)


@lru_cache(maxsize=64)
def _connect_timeout(seconds: float) -> aiohttp.ClientTimeout:
    """The limit of the time to connect, for a request that has a number of seconds."""
    # aiohttp rounds times above the threshold up to whole seconds
    return aiohttp.ClientTimeout(total=None, connect=CONNECT_SHARE * seconds, ceil_threshold=float("inf"))


def clean_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Replace what is not UTF-8 in the values of headers, which aiohttp passes on as halves of surrogate pairs."""
    if all(map(str.isascii, headers.values())):
        return headers
    return {name: clean_text(value) for name, value in combined_headers(headers).items()}


def retry_after(value: str, now: datetime) -> float | None:
    """Return the delay of a Retry-After header in seconds, from seconds or a date (RFC 9110, 10.2.3)."""
    if (seconds := header_number(value)) is not None:
        return seconds
    date = parse_date(value)
    return None if date is None else max(0.0, (date - now).total_seconds())


def parse_date(value: str) -> datetime | None:
    """Return the time of an HTTP date (RFC 9110, 5.6.7), None if it is not one."""
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)  # "-0000" means UTC


def _log(request: Request, error: RegistryError, attempt: Attempt) -> None:
    if not isinstance(error, NotFound):
        known = {
            "cause": error.cause or error.detail,
            "vendor code": error.vendor_code,
            "request": error.request_id,
        }
        logger.warning(
            "%s %s failed: %s, %.0f ms",
            error.registry,
            request.call,
            ", ".join([error.code, *(f"{name} {value}" for name, value in known.items() if value)]),
            (perf_counter() - attempt.started) * 1000,
        )
