"""Prepared requests: caches prepared operations by raw request body, so that repeats skip parsing."""

import asyncio
from functools import partial
from operator import attrgetter
from typing import Final, NamedTuple

from cachetools import LRUCache
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.execution.pipeline import Pipeline
from gateway.execution.prepared_operation import PreparedOperation
from gateway.execution.request_context import RequestContext
from gateway.http.disconnection import ClientDisconnected, while_connected
from gateway.http.responses import compressed, result_response

MAX_BYTES: Final = 64_000_000
"""Estimated memory of all prepared requests."""
BYTES_PER_REQUEST, BYTES_PER_KEY_BYTE, BYTES_PER_CHARACTER = 3_000, 8, 200
"""The estimated bytes of memory per request, per byte of its key, and per character of its document."""

ALLOWED_HEADERS: Final = frozenset(
    b"""
    accept accept-encoding accept-language apollographql-client-name apollographql-client-version baggage connection
    content-length content-type cookie dnt forwarded host keep-alive origin priority referer sec-ch-ua
    sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-storage-access
    traceparent tracestate transfer-encoding user-agent via x-forwarded-for x-forwarded-host x-forwarded-port
    x-forwarded-proto x-real-ip x-request-id
    """.split()
)
"""The headers that do not affect the response or are handled here. A request with any other header is parsed."""

RequestKey = tuple[bytes, bytes, bytes]
"""Body, ``Accept`` and ``Content-Type`` of a request."""


class PreparedRequest(NamedTuple):
    """A prepared operation with its context and the media type of the response.

    ``size`` is the estimated memory in bytes.
    """

    operation: PreparedOperation
    context: RequestContext
    media_type: str
    size: int = 0


class PreparedRequests:
    """ASGI middleware that executes the prepared operation of a known body. The application parses all other requests.

    The application leaves what it has prepared in ``scope["state"]``. Only for anonymous callers: with
    authentication, equal bodies can have different responses.
    """

    def __init__(self, app: ASGIApp, pipeline: Pipeline, body_seconds: float) -> None:
        self.app, self.pipeline, self.body_seconds = app, pipeline, body_seconds
        self._requests: LRUCache[RequestKey, PreparedRequest] = LRUCache(MAX_BYTES, attrgetter("size"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        if not (
            scope["type"] == "http"
            and scope["method"] == "POST"
            and scope["path"] == "/graphql"
            and len(headers) == len(scope["headers"])
            and ALLOWED_HEADERS.issuperset(headers)
        ):
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self.body_seconds):
                message: Message | None = await receive()
        except TimeoutError:
            message = None
        if message is None or message["type"] != "http.request" or message.get("more_body"):
            await self.app(scope, partial(replay, [message], receive), send)
            return
        key = message.get("body", b""), headers.get(b"accept", b"*/*"), headers.get(b"content-type", b"")
        known = self._requests.get(key)
        if known is not None and self._is_current(known.operation):
            scope["endpoint"] = self  # as a route does
            operation, context, media_type, _ = known
            execution = self.pipeline.execute(operation, context, operation.report.for_repetition())
            try:
                result = await while_connected(receive, execution)
            except ClientDisconnected:
                return
            accept_encoding = headers.get(b"accept-encoding", b"").decode("latin-1")
            await (await compressed(result_response(media_type, result), accept_encoding, result)).send(send)
            return
        await self.app(scope, partial(replay, [message], receive), send)
        prepared: PreparedRequest | None = scope.get("state", {}).get("prepared_request")
        if prepared is not None and prepared.operation.planned.projected:
            self._store(key, prepared)

    def _is_current(self, operation: PreparedOperation) -> bool:
        """Return False if a client registered the document and it has been removed since."""
        return operation.registered is None or self.pipeline.persisted_queries.touch(operation.registered)

    def _store(self, key: RequestKey, prepared: PreparedRequest) -> None:
        text = prepared.operation.document.text
        size = BYTES_PER_REQUEST + BYTES_PER_KEY_BYTE * sum(map(len, key)) + BYTES_PER_CHARACTER * len(text)
        if size <= self._requests.maxsize:
            self._requests[key] = prepared._replace(size=size)


async def replay(messages: list[Message | None], receive: Receive) -> Message:
    """Return a message that was received before, then further ones. Raises TimeoutError if none arrives in time."""
    if not messages:
        return await receive()
    message = messages.pop()
    if message is None:
        raise TimeoutError
    return message
