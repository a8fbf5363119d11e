"""GraphQL over HTTP: what a request is answered with, in which media type, status and headers.

Source: the GraphQL-over-HTTP specification, working draft.
"""

import asyncio
import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

import orjson
from graphql import OperationType
from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import Forbidden, GatewayError, QueryTooExpensive, TooManyRequests, Unauthenticated
from gateway.settings import LimitsSettings
from gateway.web import events, freshness, multipart
from gateway.web.entrance import Entrance, challenge
from gateway.web.executor import Executor, Prepared
from gateway.web.requests import GRAPHQL, JSON, Asked, Refused, negotiate, read
from gateway.web.results import Result
from gateway.web.scenes import Scene
from gateway.web.short import Way

KEPT_BY_304: Final = ("etag", "cache-control", "age", "vary")
STATUSES: Final = {
    Unauthenticated.code: 401,
    Forbidden.code: 403,
    TooManyRequests.code: 429,
    "INTERNAL_SERVER_ERROR": 500,
}
"""Statuses of refusals in both media types; others have the one of their media type."""


class Door:
    """The endpoint for requests with one answer. No body, however broken, gets a status of 500."""

    def __init__(self, executor: Executor, limits: LimitsSettings, entrance: Entrance) -> None:
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
                return respond(media_type, 200, b"[" + b",".join(result.body for result in results) + b"]")
            prepared = self.executor.prepare(asked, scene)
            if isinstance(prepared, Prepared):
                check_method(request.method, prepared)
                check_type(prepared)
                if prepared.document.staged is not None and scene.plan is None and multipart.accepted(accept):
                    return multipart.response(self.executor.stage(prepared, scene))
                result = await self.executor.answer(prepared, scene)
                learn = request.scope.get("learn")
                if learn is not None and prepared.key is not None and prepared.key in self.executor.wholes:
                    report = prepared.report
                    learn(Way(prepared.key, media_type, report.type, report.name, report.document))
                return settled(request, scene, media_type, result)
            return settled(request, scene, media_type, prepared)
        except (Unauthenticated, Forbidden) as denied:
            return respond(media_type, STATUSES[denied.code], body_of(denied), challenge(denied))
        except Refused as refused:
            return respond(media_type, refused.status, body_of(refused), refused.headers)

    async def stream(self, request: Request) -> Response:
        """The results of one operation, of any type, as events. Raises as `Entrance.scene` does, and `Refused`."""
        enter = partial(self.entrance.scene, request)
        scene = await enter()
        asked = await read(request, self.limits)
        if isinstance(asked, list):
            raise Refused(400, "Events tell of one operation, not of a batch.")
        prepared = self.executor.prepare(asked, scene)
        if isinstance(prepared, Result):
            results = events.only(prepared)
        else:
            check_method(request.method, prepared)
            results = self.executor.stream(prepared, scene, enter)
        return events.Events(results, request.state.stopping)

    async def several(self, batch: list[Asked], scene: Scene) -> list[Result]:
        """The results of a batch. Raises `Refused` for one that may cost more than a single operation may."""
        operations = [self.one(asked, scene) for asked in batch]
        cost = sum(one.cost.calls for one in operations if isinstance(one, Prepared))
        if cost > scene.bounds.calls and scene.plan != "only":
            error = QueryTooExpensive(cost, scene.bounds.calls)
            raise Refused(400, str(error), error.code)

        async def result(one: Prepared | Result) -> Result:
            return one if isinstance(one, Result) else await self.executor.answer(one, scene)

        return await asyncio.gather(*map(result, operations))

    def one(self, asked: Asked, scene: Scene) -> Prepared | Result:
        """One operation of a batch: its refusal is its own."""
        try:
            prepared = self.executor.prepare(asked, scene)
            if isinstance(prepared, Prepared):
                check_type(prepared)
            return prepared
        except Refused as refused:
            return Result(body_of(refused), (refused.code,))


def check_method(method: str, prepared: Prepared) -> None:
    """Raises `Refused` for an operation that this method does not carry."""
    if method == "GET" and prepared.type is OperationType.MUTATION:
        raise Refused(405, "GET is for operations that change nothing.", Allow="POST")


def check_type(prepared: Prepared) -> None:
    """Raises `Refused` for an operation that has more than one answer."""
    if prepared.type is OperationType.SUBSCRIPTION:
        raise Refused(406, "A subscription is asked over a WebSocket or as text/event-stream.", "NOT_ACCEPTABLE")


def settled(request: Request, scene: Scene, media_type: str, result: Result) -> Response:
    """The answer to one operation: whole ones may be kept, and are not sent twice to who has them."""
    if result.operation is None:
        headers = {} if result.retry_after is None else {"Retry-After": str(math.ceil(result.retry_after))}
        return respond(media_type, status_of_refusal(media_type, result.codes), result.body, headers)
    response = respond(media_type, 200, result.body, freshness.headers(result.operation, not result.codes))
    if scene.caller is not None:  # a browser must not keep for the next user what it got for this one
        response.headers.add_vary_header("Authorization, X-API-Key")
    if request.method == "GET" and not result.codes:
        response.headers["ETag"] = tag = freshness.etag(result.body)
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers={k: v for k, v in response.headers.items() if k in KEPT_BY_304})
    return response


def status_of_refusal(media_type: str, codes: Iterable[str]) -> int:
    """`application/json` keeps 200 for every well-formed request: its older clients expect that."""
    return next((STATUSES[code] for code in codes if code in STATUSES), 400 if media_type == GRAPHQL else 200)


def body_of(refused: Refused | GatewayError) -> bytes:
    error: dict[str, Any] = {"message": str(refused), "extensions": {"code": refused.code}}
    return orjson.dumps({"errors": [error]})


def respond(media_type: str, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    content_type = f"{media_type}; charset=utf-8"
    said = {"Vary": "Accept, X-Gateway-Plan", "Cache-Control": "no-store", **(headers or {})}
    return Response(body, status, said, content_type)
