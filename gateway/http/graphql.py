"""GraphQL over HTTP: what a request is answered with, in which media type, status and headers.

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
from gateway.execution.prepared import Prepared
from gateway.execution.request_context import RequestContext
from gateway.execution.results import Result
from gateway.http import caching_headers as freshness
from gateway.http import multipart
from gateway.http import responses as replies
from gateway.http import sse as events
from gateway.http.authentication import RequestAuthenticator, challenge
from gateway.http.prepared_requests import Way
from gateway.http.requests import JSON, GraphQLRequest, InvalidRequest, negotiate, read
from gateway.http.responses import STATUSES, Head, HttpResponse, body_of, head

KEPT_BY_304: Final = (b"etag", b"cache-control", b"age", b"vary")


class GraphQLEndpoint:
    """The endpoint for requests with one answer. No body, however broken, gets a status of 500."""

    def __init__(self, executor: Pipeline, limits: LimitsSettings, entrance: RequestAuthenticator) -> None:
        self.executor, self.limits, self.entrance = executor, limits, entrance

    async def answer(self, request: Request) -> Response:
        media_type = JSON
        try:
            accept = request.headers.get("accept", "*/*")
            if events.wanted(accept):
                return await self.stream(request)
            media_type = negotiate(accept)
            scene = await self.entrance.scene(request)
            asked = await read(request, self.limits)
            if isinstance(asked, list):
                results = await self.several(asked, scene)
                body = b"[" + b",".join(one.body for one in results) + b"]"
                return response(HttpResponse(200, head(media_type), body))
            prepared = self.executor.prepare(asked, scene)
            if isinstance(prepared, Prepared):
                check_method(request.method, prepared)
                check_type(prepared)
                if prepared.document.staged is not None and scene.plan is None and multipart.accepted(accept):
                    return multipart.response(self.executor.stage(prepared, scene))
                if "learn" in request.scope:
                    request.scope["learn"](Way(prepared.anew(), scene, media_type))
                return settled(request, scene, media_type, await self.executor.answer(prepared, scene))
            return settled(request, scene, media_type, prepared)
        except (Unauthenticated, Forbidden) as denied:
            said = challenge(denied).items()
            return response(HttpResponse(STATUSES[denied.code], head(media_type, *said), body_of(denied)))
        except InvalidRequest as refused:
            return response(HttpResponse(refused.status, head(media_type, *refused.headers.items()), body_of(refused)))

    async def stream(self, request: Request) -> Response:
        """The results of one operation, of any type, as events.

        Raises as `RequestAuthenticator.scene` does, and `InvalidRequest`.
        """
        enter = partial(self.entrance.scene, request)
        scene = await enter()
        asked = await read(request, self.limits)
        if isinstance(asked, list):
            raise InvalidRequest(400, "Events tell of one operation, not of a batch.")
        prepared = self.executor.prepare(asked, scene)
        if isinstance(prepared, Result):
            results = events.only(prepared)
        else:
            check_method(request.method, prepared)
            results = self.executor.stream(prepared, scene, enter)
        return events.Events(results, request.state.stopping)

    async def several(self, batch: list[GraphQLRequest], scene: RequestContext) -> list[Result]:
        """The results of a batch. Raises `InvalidRequest` for one that may cost more than a single operation may."""
        operations = [self.one(asked, scene) for asked in batch]
        cost = sum(one.cost.calls for one in operations if isinstance(one, Prepared))
        if cost > scene.bounds.calls and scene.plan != "only":
            error = QueryTooExpensive(cost, scene.bounds.calls)
            raise InvalidRequest(400, str(error), error.code)

        async def result(one: Prepared | Result) -> Result:
            return one if isinstance(one, Result) else await self.executor.answer(one, scene)

        return await asyncio.gather(*map(result, operations))

    def one(self, asked: GraphQLRequest, scene: RequestContext) -> Prepared | Result:
        """One operation of a batch: its refusal is its own."""
        try:
            prepared = self.executor.prepare(asked, scene)
            if isinstance(prepared, Prepared):
                check_type(prepared)
            return prepared
        except InvalidRequest as refused:
            return Result(body_of(refused), (refused.code,))


def check_method(method: str, prepared: Prepared) -> None:
    """Raises `InvalidRequest` for an operation that this method does not carry."""
    if method == "GET" and prepared.type is OperationType.MUTATION:
        raise InvalidRequest(405, "GET is for operations that change nothing.", Allow="POST")


def check_type(prepared: Prepared) -> None:
    """Raises `InvalidRequest` for an operation that has more than one answer."""
    if prepared.type is OperationType.SUBSCRIPTION:
        raise InvalidRequest(406, "A subscription is asked over a WebSocket or as text/event-stream.", "NOT_ACCEPTABLE")


def settled(request: Request, scene: RequestContext, media_type: str, result: Result) -> Response:
    """The answer to one operation: whole ones may be kept, and are not sent twice to who has them."""
    reply = replies.settled(media_type, result, personal=scene.caller is not None)
    if request.method != "GET" or result.operation is None or result.codes:
        return response(reply)
    tag = freshness.etag(result.body)
    headers = {**dict(reply.head.headers), b"etag": tag.encode()}
    if tag in request.headers.get("if-none-match", ""):
        kept = Response(status_code=304)
        kept.raw_headers = [header for header in headers.items() if header[0] in KEPT_BY_304]
        return kept
    return response(reply._replace(head=Head.of(headers)))


def response(reply: HttpResponse) -> Response:
    made = Response(reply.body, reply.status)
    made.raw_headers = reply.headers
    return made
