"""The GraphQL endpoint over HTTP: POST, GET, batches, server-sent events and incremental delivery.

Source: the GraphQL-over-HTTP specification, working draft.
"""

import asyncio
from functools import partial
from typing import Final

from graphql import OperationType
from starlette.requests import Request
from starlette.responses import Response

from gateway.config.settings import LimitsSettings
from gateway.errors import Forbidden, QueryTooExpensive, Unauthenticated
from gateway.execution.pipeline import Pipeline
from gateway.execution.prepared_operation import PreparedOperation
from gateway.execution.request import GraphQLRequest, InvalidRequest
from gateway.execution.request_context import RequestContext
from gateway.execution.results import OperationResult
from gateway.http import multipart, sse
from gateway.http.authentication import RequestAuthenticator, challenge
from gateway.http.caching_headers import etag
from gateway.http.prepared_requests import PreparedRequest
from gateway.http.requests import JSON, negotiate, read_request
from gateway.http.responses import STATUSES, HttpResponse, compressed, error_body, response, result_response

HEADERS_OF_304: Final = frozenset({b"etag", b"cache-control", b"age", b"vary"})


class GraphQLEndpoint:
    """The endpoint for GraphQL over HTTP. No request body leads to status 500."""

    def __init__(self, pipeline: Pipeline, limits: LimitsSettings, authenticator: RequestAuthenticator) -> None:
        self.pipeline, self.limits, self.authenticator = pipeline, limits, authenticator

    async def handle(self, request: Request) -> Response:
        """Respond to any request to the endpoint."""
        media_type = JSON
        accept = request.headers.get("accept", "*/*")
        try:
            if sse.is_accepted(accept):
                return await self.stream(request)
            media_type = negotiate(accept)
            context = await self.authenticator.context(request)
            received = await read_request(request, self.limits)
            if isinstance(received, list):
                return await self.batch(request, received, context, media_type)
            return await self.single(request, received, context, media_type)
        except (Unauthenticated, Forbidden) as refusal:
            headers = challenge(refusal).items()
            return response(STATUSES[refusal.code], media_type, error_body(refusal), headers).to_starlette()
        except InvalidRequest as error:
            return response(error.status, media_type, error_body(error), error.headers.items()).to_starlette()

    async def single(
        self, request: Request, received: GraphQLRequest, context: RequestContext, media_type: str
    ) -> Response:
        """Return the response to one operation. Raises `InvalidRequest`."""
        prepared = self.pipeline.prepare(received, context)
        if isinstance(prepared, OperationResult):
            return await self.respond(request, prepared, context, media_type)
        check_method(request.method, prepared)
        check_type(prepared)
        incremental = prepared.document.incremental is not None and context.plan_mode is None
        if incremental and multipart.is_accepted(request.headers.get("accept", "")):
            payloads = self.pipeline.deliver(prepared, context)
            result = await anext(payloads)
            if result.executed:
                return multipart.multipart_response(result, payloads)
        else:
            result = await self.pipeline.execute(prepared, context)
            if result.executed:
                request.state.prepared_request = PreparedRequest(prepared, context, media_type)
        return await self.respond(request, result, context, media_type)

    async def batch(
        self, request: Request, batch: list[GraphQLRequest], context: RequestContext, media_type: str
    ) -> Response:
        """The responses to several operations, in their order.

        Raises `InvalidRequest` for a batch that may make more calls than one operation may.
        """
        prepared_or_refused = [self.prepare_in_batch(received, context) for received in batch]
        prepared_operations = (item for item in prepared_or_refused if isinstance(item, PreparedOperation))
        cost = sum(self.pipeline.cost(prepared, context) for prepared in prepared_operations)
        if cost > context.bounds.calls and context.plan_mode != "only":
            error = QueryTooExpensive(cost, context.bounds.calls)
            raise InvalidRequest(400, str(error), error.code)

        async def result_of(item: PreparedOperation | OperationResult) -> OperationResult:
            return item if isinstance(item, OperationResult) else await self.pipeline.execute(item, context)

        results = await asyncio.gather(*map(result_of, prepared_or_refused))
        body = b"[" + b",".join([result.body for result in results]) + b"]"
        encoding = request.headers.get("accept-encoding", "")
        return (await compressed(response(200, media_type, body), encoding)).to_starlette()

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
            raise InvalidRequest(400, "An event stream carries one operation, not a batch.")
        prepared = self.pipeline.prepare(received, context)
        if isinstance(prepared, OperationResult):
            results = sse.single(prepared)
        else:
            check_method(request.method, prepared)
            results = self.pipeline.stream(prepared, context, authenticate)
        return sse.EventStream(results, request.state.stopping)

    async def respond(
        self, request: Request, result: OperationResult, context: RequestContext, media_type: str
    ) -> Response:
        """Return the response for one result. GET supports conditional requests."""
        made = result_response(media_type, result, personal=context.caller is not None)
        if request.method == "GET" and result.executed and not result.codes:
            tag = etag(result.body)
            made = made._replace(headers=(*made.headers, ("etag", tag)))
            if tag in request.headers.get("if-none-match", ""):
                return not_modified(made)
        return (await compressed(made, request.headers.get("accept-encoding", ""), result)).to_starlette()


def not_modified(full: HttpResponse) -> Response:
    """Return status 304 in place of a full response."""
    response = Response(status_code=304)
    response.raw_headers = [header for header in full.raw_headers() if header[0] in HEADERS_OF_304]
    return response


def check_method(method: str, prepared: PreparedOperation) -> None:
    """Raise `InvalidRequest` for a mutation by GET."""
    if method == "GET" and prepared.type is OperationType.MUTATION:
        raise InvalidRequest(405, "Mutations use POST.", Allow="POST")


def check_type(prepared: PreparedOperation) -> None:
    """Raise `InvalidRequest` for a subscription, which needs a stream."""
    if prepared.type is OperationType.SUBSCRIPTION:
        raise InvalidRequest(406, "Subscriptions use a WebSocket or text/event-stream.", "NOT_ACCEPTABLE")
