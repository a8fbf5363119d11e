"""The GraphQL endpoint over HTTP: POST, GET, batches, server-sent events and incremental delivery.

Source: the GraphQL-over-HTTP specification.
"""

import asyncio
from functools import partial
from typing import Final

from graphql import OperationType
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.catalog.cost import Cost, check_cost
from gateway.config.settings import LimitsSettings
from gateway.errors import Forbidden, QueryTooExpensive, Unauthenticated
from gateway.execution.pipeline import Pipeline
from gateway.execution.prepared_operation import PreparedOperation
from gateway.execution.request import GraphQLRequest, InvalidParameters, InvalidRequest
from gateway.execution.request_context import RequestContext
from gateway.execution.results import OperationResult
from gateway.http import multipart, sse
from gateway.http.authentication import RequestAuthenticator, denial_headers
from gateway.http.caching_headers import etag, is_current
from gateway.http.disconnection import ClientDisconnected, while_connected
from gateway.http.negotiation import ANYTHING, JSON, MIN_COMPRESSED, Accepted, accepted, header
from gateway.http.prepared_requests import PreparedRequest
from gateway.http.requests import SAFE_METHODS, read_request
from gateway.http.responses import (
    STATUSES,
    HttpResponse,
    compressed,
    error_body,
    refusal_response,
    response,
    result_response,
)

HEADERS_OF_304: Final = frozenset({b"etag", b"cache-control", b"age", b"vary", b"surrogate-key", b"cache-tag"})


class GraphQLEndpoint:
    """The endpoint for GraphQL over HTTP, an ASGI application. No request body leads to status 500.

    ``revised`` selects the statuses of the revision of September 2026 for all clients. ``tag_header`` is the header for
    the cache tags of responses, empty for none.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        limits: LimitsSettings,
        authenticator: RequestAuthenticator,
        revised: bool = False,
        tag_header: str = "",
    ) -> None:
        self.pipeline, self.limits, self.authenticator = pipeline, limits, authenticator
        self.revised, self.tag_header = revised, tag_header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.response_to(Request(scope, receive))
        if response is not None:
            await response(scope, receive, send)

    async def response_to(self, request: Request) -> HttpResponse | Response | None:
        """Return the response to any request to the endpoint, None if the client has disconnected."""
        accepts = ANYTHING
        try:
            accepts = accepted(header(request.headers, "accept", "*/*"))
            if self.revised:
                accepts = accepts._replace(revised=True)
            if accepts.events:
                return await self.stream(request)
            context = await self.authenticator.context(request)
            received = await read_request(request, self.limits)
            if isinstance(received, list):
                return await self.batch(request, received, context, accepts)
            return await self.single(request, received, context, accepts)
        except (Unauthenticated, Forbidden) as refusal:
            return refusal_response(accepts, STATUSES[refusal.code], error_body(refusal), denial_headers(refusal))
        except InvalidRequest as error:
            status = 422 if accepts.revised and isinstance(error, InvalidParameters) else error.status
            return refusal_response(accepts, status, error_body(error), error.headers)
        except ClientDisconnected:
            return None

    async def single(
        self, request: Request, received: GraphQLRequest, context: RequestContext, accepts: Accepted
    ) -> HttpResponse | Response:
        """Return the response to one operation. Raises `InvalidRequest`."""
        prepared = self.pipeline.prepare(received, context)
        if isinstance(prepared, OperationResult):
            return await self.respond(request, prepared, context, accepts)
        check_type(prepared)
        incremental = prepared.document.incremental is not None and context.plan_mode is None
        if incremental and accepts.multipart:
            payloads = self.pipeline.deliver(prepared, context)
            result = await while_connected(request.receive, anext(payloads))
            if result.executed:
                return multipart.multipart_response(result, payloads)
        else:
            result = await while_connected(request.receive, self.pipeline.execute(prepared, context))
            if result.executed and accepts.single:
                request.scope["state"]["prepared_request"] = PreparedRequest(prepared, context, accepts)
        return await self.respond(request, result, context, accepts)

    async def batch(
        self, request: Request, batch: list[GraphQLRequest], context: RequestContext, accepts: Accepted
    ) -> HttpResponse:
        """The responses to several operations, in their order.

        Raises `InvalidRequest` for a batch that may cost more than one operation may, and for a client that accepts
        only multipart.
        """
        if not accepts.single:
            raise InvalidRequest(406, f"The response to a batch is {JSON}.", "NOT_ACCEPTABLE")
        prepared_or_refused = [self.prepare_in_batch(received, context) for received in batch]
        if context.plan_mode != "only":
            prepared_operations = (item for item in prepared_or_refused if isinstance(item, PreparedOperation))
            cost = sum((self.pipeline.cost(prepared, context) for prepared in prepared_operations), Cost())
            try:
                check_cost(cost, context.bounds)
            except QueryTooExpensive as error:
                raise InvalidParameters(str(error), error.code) from None

        async def result_of(item: PreparedOperation | OperationResult) -> OperationResult:
            return item if isinstance(item, OperationResult) else await self.pipeline.execute(item, context)

        async def all_results() -> list[OperationResult]:
            return await asyncio.gather(*map(result_of, prepared_or_refused))

        results = await while_connected(request.receive, all_results())
        body = b"[" + b",".join([result.body for result in results]) + b"]"
        encoding = header(request.headers, "accept-encoding")
        return await compressed(response(200, accepts.media_type, body), encoding)

    def prepare_in_batch(self, request: GraphQLRequest, context: RequestContext) -> PreparedOperation | OperationResult:
        """Prepare one operation of a batch; an invalid one does not affect the others."""
        try:
            prepared = self.pipeline.prepare(request, context)
            if isinstance(prepared, PreparedOperation):
                check_type(prepared)
            return prepared
        except InvalidRequest as error:
            return OperationResult(error_body(error), (error.code,))

    async def stream(self, request: Request) -> Response:
        """The results of one operation of any type as server-sent events.

        Raises `Unauthenticated`, `Forbidden` and `InvalidRequest`.
        """
        authenticate = partial(self.authenticator.context, request)
        context = await authenticate()
        received = await read_request(request, self.limits)
        if isinstance(received, list):
            raise InvalidParameters("An event stream carries one operation, not a batch.")
        prepared = self.pipeline.prepare(received, context)
        if isinstance(prepared, OperationResult):
            results = sse.single(prepared)
        else:
            results = self.pipeline.stream(prepared, context, authenticate)
        return sse.EventStream(results, request.state.stopping)

    async def respond(
        self, request: Request, result: OperationResult, context: RequestContext, accepts: Accepted
    ) -> HttpResponse | Response:
        """Return the response for one result. GET supports conditional requests."""
        if result.executed and not accepts.single:
            return multipart.multipart_response(result)
        if not context.freshness.store:
            result = result._replace(lifetime=None)
        made = result_response(accepts, result, context.caller is not None, self.tag_header)
        if request.method in SAFE_METHODS and result.executed and not result.codes:
            tag = etag(result.body)
            made = made._replace(headers=(*made.headers, ("etag", tag)))
            if is_current(tag, header(request.headers, "if-none-match")):
                return not_modified(made)
        return await compressed(made, header(request.headers, "accept-encoding"), result)


def not_modified(full: HttpResponse) -> Response:
    """Return status 304 in place of a full response."""
    response = Response(status_code=304)
    headers = full._replace(varies=len(full.body) >= MIN_COMPRESSED).raw_headers()
    response.raw_headers = [(name, value) for name, value in headers if name in HEADERS_OF_304]
    return response


def check_type(prepared: PreparedOperation) -> None:
    """Raise `InvalidRequest` for a subscription, which needs a stream."""
    if prepared.type is OperationType.SUBSCRIPTION:
        raise InvalidRequest(406, "Subscriptions use a WebSocket or text/event-stream.", "NOT_ACCEPTABLE")
