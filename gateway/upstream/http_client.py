"""The way out: signs, sends, limits and checks every call to every registry."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import lru_cache
from time import perf_counter, time
from types import TracebackType
from typing import Any, Protocol, Self

import orjson

from gateway.config.settings import Credentials
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
from gateway.telemetry.events import NO_EVENTS, Attempt, Events
from gateway.upstream.connection import Garbled, Received, TooLarge
from gateway.upstream.connections import Connections
from gateway.upstream.messages import Destination, Request, Response, StaticCredentials

logger = logging.getLogger("gateway.upstream")


def this_second() -> datetime:
    """The time to the second: signatures carry no more of it."""
    return second(int(time()))


@lru_cache(maxsize=2)
def second(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)


class Watch(Protocol):
    """Hears how each registry has been answering, by its name."""

    def answered(self, registry: str, seconds: float) -> None: ...

    def failed(self, registry: str, error: RegistryError) -> None: ...


class HttpClient:
    """Sends requests over connections that are kept; use as an async context manager inside a running loop.

    ``clock`` gives the time that signatures carry; every request is told to ``facts``, and how it ended to
    ``watch``, if somebody does.
    """

    def __init__(
        self, clock: Callable[[], datetime] = this_second, facts: Events = NO_EVENTS, watch: Watch | None = None
    ) -> None:
        self.clock, self.facts, self.watch = clock, facts, watch

    async def __aenter__(self) -> Self:
        self._connections: dict[str, Connections] = {}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connections in self._connections.values():
            await connections.close()

    async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any:
        """The raw JSON object that a registry answers.

        Raises the `RegistryError` that the answer, or the lack of one, means.
        """
        with self.facts.attempt(destination.registry, request.call, request.method) as attempt:
            ends = asyncio.get_running_loop().time() + destination.timeout
            keyring = destination.keyring
            try:
                if isinstance(keyring, StaticCredentials):
                    response = read(await self._exchange(destination, request, keyring.credentials, ends))
                    error = destination.check(response)
                else:
                    response, error = await self._answered(destination, request, ends)
                attempt.status = response.status
            except TimeoutError:
                error = RegistryTimeout(destination.registry)
            except OSError:
                error = RegistryUnreachable(destination.registry)
            except Garbled:
                error = RegistryBadAnswer(destination.registry)
            except TooLarge:
                error = RegistryAnswerTooLarge(destination.registry)
            except RegistryError as known:
                error = known
            else:
                document = response.document
                if error is None and response.status < 300 and isinstance(document, dict):
                    if self.watch is not None:
                        self.watch.answered(destination.registry, perf_counter() - attempt.started)
                    return document
                error = error or RegistryBadAnswer(destination.registry)
            if self.watch is not None:
                self.watch.failed(destination.registry, error)
            self._tell(request, error, attempt)
            raise error from None

    @staticmethod
    def _tell(request: Request, error: RegistryError, attempt: Attempt) -> None:
        if not isinstance(error, NotFound):
            logger.warning(
                "%s %s failed: %s vendor code %s, request %s, %.0f ms",
                error.registry,
                request.call,
                error.code,
                error.vendor_code,
                error.request_id,
                (perf_counter() - attempt.started) * 1000,
            )

    async def _answered(
        self, destination: Destination, request: Request, ends: float
    ) -> tuple[Response, RegistryError | None]:
        """A response and its error; where the credentials are not accepted and there are others now, that of those."""
        keyring = destination.keyring
        await asyncio.sleep(0)  # what follows is a task's
        async with asyncio.timeout_at(ends):
            credentials = await keyring.current()
            response = read(await self._exchange(destination, request, credentials, ends))
            error = destination.check(response)
            if isinstance(error, RegistryUnauthenticated) and await keyring.renewed(credentials):
                response = read(await self._exchange(destination, request, await keyring.current(), ends))
                error = destination.check(response)
        return response, error

    def _exchange(
        self, destination: Destination, request: Request, credentials: Credentials, ends: float
    ) -> Awaitable[Received]:
        """Send one request, freshly signed, and receive its answer up to the limit."""
        address = destination.addresses[request.service]
        connections = self._connections.get(address)
        if connections is None:
            connections = self._connections[address] = Connections(address)
        headers = destination.sign(request, connections.netloc, credentials, self.clock(), secrets.token_hex(16))
        target = f"{request.path}?{query_string(request.query)}" if request.query else request.path
        return connections.exchange(request.method, target, headers, request.body, destination.limit, ends)


def read(received: Received) -> Response:
    """An answer with the JSON of its body, None when it holds none."""
    status, headers, body = received
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    return Response(status, headers, body, document)
