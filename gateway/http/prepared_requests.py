"""Prepared requests: caches prepared operations by raw request body, so that repeats skip parsing."""

from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple

from graphql import GraphQLError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.execution.documents import Document
from gateway.execution.pipeline import Pipeline
from gateway.execution.prepared_operation import PreparedOperation
from gateway.execution.request_context import RequestContext
from gateway.http.disconnection import ClientDisconnected, while_connected
from gateway.http.negotiation import Accepted
from gateway.http.responses import compressed, result_response
from gateway.http.time_limit import within
from gateway.memory_budget import BoundedCache
from gateway.upstream.cache import document_bytes

REQUEST_BYTES, FIELD_BYTES, LINE_BYTES = 2_500, 900, 250
"""The memory of a request beside its body, of each field that has arguments with variables, and of each line of its
cost."""

COPIES: Final = 2
"""How often a request contains the values in its body: as they were sent, coerced, and in arguments."""

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
    """A prepared operation with its context and what its client accepts."""

    operation: PreparedOperation
    context: RequestContext
    accepts: Accepted

    def size(self, key: RequestKey) -> int:
        """Return the memory of the request in bytes, without its document."""
        bound = self.operation.bound
        fields = 0 if bound is None else sum(1 + len(root.root.templates) for root in bound.roots)
        lines = sum(1 for _ in self.operation.cost)
        body = sum(map(len, key)) + COPIES * document_bytes(key[0])
        return REQUEST_BYTES + FIELD_BYTES * fields + LINE_BYTES * lines + body


class PreparedRequests:
    """Middleware of the GraphQL endpoint that executes the prepared operation of a known body. ``app``, the endpoint,
    parses all other requests.

    The endpoint leaves what it has prepared and executed in ``scope["state"]``. Only for anonymous callers: with
    authentication, equal bodies can have different responses. A prepared request is dropped with its document.
    """

    def __init__(
        self,
        app: ASGIApp,
        pipeline: Pipeline,
        body_seconds: float,
        cache: BoundedCache[RequestKey, PreparedRequest],
        tag_header: str = "",
    ) -> None:
        self.app, self.pipeline, self.body_seconds, self.tag_header = app, pipeline, body_seconds, tag_header
        self._requests = cache
        cache.removed = forget
        pipeline.documents.cache.removed = self._drop_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        unaffected = len(headers) == len(scope["headers"]) and ALLOWED_HEADERS.issuperset(headers)
        if scope["method"] != "POST" or not unaffected:
            await self.app(scope, receive, send)
            return
        try:
            message: Message | None = await within(self.body_seconds, receive())
        except TimeoutError:
            message = None
        if message is None or message["type"] != "http.request" or message.get("more_body"):
            await self.app(scope, partial(replay, [message], receive), send)
            return
        key = message.get("body", b""), headers.get(b"accept", b"*/*"), headers.get(b"content-type", b"")
        known = self._requests.get(key)
        if known is not None and self._is_current(known.operation):
            operation, context, accepts = known
            execution = self.pipeline.execute(operation, context, operation.report.for_repetition())
            try:
                result = await while_connected(receive, execution)
            except ClientDisconnected:
                return
            accept_encoding = headers.get(b"accept-encoding", b"").decode("latin-1")
            response = await compressed(
                result_response(accepts, result, tag_header=self.tag_header), accept_encoding, result
            )
            await response(scope, receive, send)
            return
        await self.app(scope, partial(replay, [message], receive), send)
        prepared: PreparedRequest | None = scope.get("state", {}).get("prepared_request")
        if prepared is not None and prepared.operation.planned.projected:
            self._store(key, prepared)

    def _is_current(self, operation: PreparedOperation) -> bool:
        """Return False if the document was registered and has been removed, or if the trusted documents changed."""
        persisted = self.pipeline.persisted_queries
        is_registered = operation.registered is None or persisted.touch(operation.registered)
        return is_registered and operation.trusted is persisted.trusted

    def _store(self, key: RequestKey, prepared: PreparedRequest) -> None:
        """Cache a request whose document is cached, unless it has variables that its operation does not declare.

        An operation with an invalid variable in a directive is not cached.
        """
        operation = prepared.operation
        is_cached = operation.document.key in self.pipeline.documents.cache
        if is_cached and operation.request.variables.keys() <= set(operation.planned.variables):
            with suppress(GraphQLError):
                self._requests.put(key, prepared, prepared.size(key))
            if key in self._requests:
                operation.document.requests.add(key)

    def _drop_requests(self, key: str, document: Document | str) -> None:
        """Remove the requests of a document that is no longer cached."""
        if isinstance(document, Document):
            for request in tuple(document.requests):
                self._requests.remove(request)


def forget(key: RequestKey, prepared: PreparedRequest) -> None:
    """Remove a request that is no longer cached from those of its document."""
    prepared.operation.document.requests.discard(key)


async def replay(messages: list[Message | None], receive: Receive) -> Message:
    """Return a message that was received before, then further ones. Raises TimeoutError if none arrives in time."""
    if not messages:
        return await receive()
    message = messages.pop()
    if message is None:
        raise TimeoutError
    return message
