"""GraphQL over HTTP: methods, bodies, media types and statuses around the schema.

Source: the GraphQL-over-HTTP specification, working draft. Queries come by POST with a JSON body or by GET; the answer
is ``application/graphql-response+json`` for clients that accept it, else ``application/json``.
"""

from dataclasses import dataclass, field
from email.message import Message
from typing import Any, Final

import orjson
from graphql import GraphQLError
from graphql.pyutils import Path
from starlette.requests import Request
from starlette.responses import Response
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types.graphql import OperationType

from gateway.catalog.operation import Operation
from gateway.errors import RegistryError
from gateway.graph.schema import SCHEMA
from gateway.web import freshness

JSON: Final = "application/json"
GRAPHQL: Final = "application/graphql-response+json"
PARAMETERS: Final = {"query": str, "operationName": str, "variables": dict, "extensions": dict}
LARGEST_BODY: Final = 2_000_000
KEPT_BY_304: Final = ("etag", "cache-control", "age", "vary")


@dataclass(slots=True)
class Context:
    """What an operation has beside its document: its side of the catalog, the name that the client gave it, and
    failures that only errors can show."""

    operation: Operation
    operation_name: str | None = None
    failures: list[tuple[Path, RegistryError]] = field(default_factory=list)


class Refused(Exception):
    """A request that is no GraphQL request, and the status that says so."""

    def __init__(self, status: int, reason: str, code: str = "BAD_REQUEST", **headers: str) -> None:
        super().__init__(reason)
        self.status, self.code, self.headers = status, code, headers


async def graphql(request: Request) -> Response:
    """Answer one GraphQL request. No body, however broken, gets a status of 500."""
    media_type = JSON
    freshness_wanted = freshness.wanted(request.headers.get("cache-control"))
    try:
        media_type = negotiate(request.headers.get("accept", "*/*"))
        parameters = await read(request)
        context = Context(
            Operation(request.state.registries, request.state.bounds, freshness_wanted), parameters.get("operationName")
        )
        result = await SCHEMA.execute(
            parameters.get("query"),
            parameters.get("variables"),
            context,
            operation_name=parameters.get("operationName"),
            allowed_operation_types={OperationType.QUERY} if request.method == "GET" else None,
        )
    except Refused as refused:
        error = {"message": str(refused), "extensions": {"code": refused.code}}
        return respond(media_type, refused.status, {"errors": [error]}, refused.headers)
    except MissingQueryError:
        error = {"message": "The request has no `query`.", "extensions": {"code": "BAD_REQUEST"}}
        return respond(media_type, 400, {"errors": [error]})
    except CannotGetOperationTypeError as unknown:
        error = {"message": unknown.as_http_error_reason(), "extensions": {"code": "OPERATION_RESOLUTION_FAILURE"}}
        return respond(media_type, status_of_request_error(media_type), {"errors": [error]})
    except InvalidOperationTypeError:
        error = {"message": "GET is for queries only.", "extensions": {"code": "BAD_REQUEST"}}
        return respond(media_type, 405, {"errors": [error]}, {"Allow": "POST"})
    status, body = outcome(media_type, result, context)
    response = respond(media_type, status, body, freshness.headers(context.operation, "errors" not in body))
    if request.method == "GET" and "errors" not in body:
        response.headers["ETag"] = tag = freshness.etag(bytes(response.body))
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers={k: v for k, v in response.headers.items() if k in KEPT_BY_304})
    return response


def outcome(media_type: str, result: Any, context: Context) -> tuple[int, dict[str, Any]]:
    """Status and body of an executed (or refused) operation."""
    errors = [error.formatted for error in result.errors or ()]
    if result.data is None and not any(error.path for error in result.errors or ()):
        return status_of_request_error(media_type), {"errors": errors}
    errors += [
        GraphQLError(str(failure), path=path.as_list(), original_error=failure).formatted
        for path, failure in context.failures
    ]
    return 200, {"data": result.data, **({"errors": errors} if errors else {})}


def status_of_request_error(media_type: str) -> int:
    """`application/json` keeps 200 for every well-formed request: its older clients expect that."""
    return 400 if media_type == GRAPHQL else 200


def respond(media_type: str, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    content_type = f"{media_type}; charset=utf-8"
    said = {"Vary": "Accept", "Cache-Control": "no-store", **(headers or {})}
    return Response(orjson.dumps(body), status, said, content_type)


def negotiate(accept: str) -> str:
    """The media type to answer in, by the client's preferences. Raises `Refused` (406) when it takes neither."""
    weights: dict[str, float] = {}
    for item in accept.split(","):
        parsed = Message()
        parsed["content-type"] = item
        try:
            weight = float(str(parsed.get_param("q", "1")))
        except ValueError:
            weight = 0.0
        weights[item.split(";")[0].strip().lower()] = weight
    wild = weights.get("application/*", weights.get("*/*", 0.0))
    json, graphql = weights.get(JSON, wild), weights.get(GRAPHQL, 0.0 if JSON in weights else wild)
    if max(json, graphql) <= 0:
        raise Refused(406, f"The answer can be {GRAPHQL} or {JSON}.", "NOT_ACCEPTABLE")
    named = GRAPHQL in weights
    return GRAPHQL if named and graphql >= json else JSON


async def read(request: Request) -> dict[str, Any]:
    """The parameters of a request, checked. Raises `Refused`."""
    if request.method == "GET":
        parameters: dict[str, Any] = dict(request.query_params)
        for name in ("variables", "extensions"):
            if parameters.get(name):
                parameters[name] = parsed_json(parameters[name].encode(), f"`{name}`")
            else:
                parameters.pop(name, None)
    elif request.method == "POST":
        content_type = Message()
        content_type["content-type"] = request.headers.get("content-type", "")
        if "content-type" not in request.headers or content_type.get_content_type() != JSON:
            raise Refused(415, f"The body must be {JSON}.", "UNSUPPORTED_MEDIA_TYPE")
        if str(content_type.get_param("charset", "utf-8")).lower() not in ("utf-8", "utf8"):
            raise Refused(415, "The body must be in UTF-8.", "UNSUPPORTED_MEDIA_TYPE")
        parameters = parsed_json(await body_of(request), "The body")
    else:
        raise Refused(405, "GraphQL is asked with GET or POST.", "METHOD_NOT_ALLOWED", Allow="GET, POST")
    for name, kind in PARAMETERS.items():
        if not isinstance(parameters.get(name), (kind, type(None))):
            raise Refused(400, f"`{name}` must be {'an object' if kind is dict else 'a string'}.")
    return parameters


def parsed_json(text: bytes, what: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Refused(400, f"{what} is not JSON.") from None
    if not isinstance(value, dict):
        raise Refused(400, f"{what} must be one JSON object.")
    return value


async def body_of(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise Refused(413, f"The body is larger than {LARGEST_BODY} bytes.", "PAYLOAD_TOO_LARGE")
    return bytes(body)
