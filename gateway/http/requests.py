"""GraphQL requests as they come over HTTP: methods, bodies and media types, read into values.

Source: the GraphQL-over-HTTP specification, working draft. Queries come by POST with a JSON body or by GET.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from functools import lru_cache
from typing import Any, Final

import orjson
from starlette.requests import ClientDisconnect, Request

from gateway.config.settings import LimitsSettings

JSON: Final = "application/json"
GRAPHQL: Final = "application/graphql-response+json"
MOST_TYPES: Final = 50
PARAMETERS: Final[Mapping[str, type]] = {
    "query": str,
    "documentId": str,
    "operationName": str,
    "variables": dict,
    "extensions": dict,
}


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """One operation as a client asks for it."""

    query: str | None = None
    document_id: str | None = None
    operation_name: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    extensions: Mapping[str, Any] = field(default_factory=dict)


class InvalidRequest(Exception):
    """A request that is no GraphQL request, and the status that says so."""

    def __init__(self, status: int, reason: str, code: str = "BAD_REQUEST", **headers: str) -> None:
        super().__init__(reason)
        self.status, self.code, self.headers = status, code, headers


@lru_cache(64)
def weights(accept: str) -> Mapping[str, float]:
    """The media types of an ``Accept`` header, the first `MOST_TYPES` in their order, with their weights."""
    found: dict[str, float] = {}
    for item in accept.split(",")[:MOST_TYPES]:
        parsed = Message()
        parsed["content-type"] = item
        try:
            weight = float(str(parsed.get_param("q", "1")))
        except ValueError:
            weight = 0.0
        found[item.split(";")[0].strip().lower()] = weight
    return found


@lru_cache(64)
def content(content_type: str) -> tuple[str, str]:
    """The media type of a ``Content-Type`` header, and the charset."""
    parsed = Message()
    parsed["content-type"] = content_type
    return parsed.get_content_type(), str(parsed.get_param("charset", "utf-8")).lower()


def negotiate(accept: str) -> str:
    """The media type to answer in, by the client's preferences. Raises `InvalidRequest` (406) when it takes neither."""
    weighed = weights(accept)
    wild = weighed.get("application/*", weighed.get("*/*", 0.0))
    json, graphql = weighed.get(JSON, wild), weighed.get(GRAPHQL, 0.0 if JSON in weighed else wild)
    if max(json, graphql) <= 0:
        raise InvalidRequest(406, f"The answer can be {GRAPHQL} or {JSON}.", "NOT_ACCEPTABLE")
    return GRAPHQL if GRAPHQL in weighed and graphql >= json else JSON


async def read(request: Request, limits: LimitsSettings) -> GraphQLRequest | list[GraphQLRequest]:
    """What a request asks: one operation, or a batch of them. Raises `InvalidRequest`."""
    if request.method == "GET":
        parameters: dict[str, Any] = dict(request.query_params)
        for name in ("variables", "extensions"):
            if parameters.get(name):
                parameters[name] = parsed_json(parameters[name].encode(), f"`{name}`")
            else:
                parameters.pop(name, None)
        return asked(parameters, limits)
    if request.method != "POST":
        raise InvalidRequest(405, "GraphQL is asked with GET or POST.", "METHOD_NOT_ALLOWED", Allow="GET, POST")
    media_type, charset = content(request.headers.get("content-type", "text/plain"))
    if media_type != JSON:
        raise InvalidRequest(415, f"The body must be {JSON}.", "UNSUPPORTED_MEDIA_TYPE")
    if charset not in ("utf-8", "utf8"):
        raise InvalidRequest(415, "The body must be in UTF-8.", "UNSUPPORTED_MEDIA_TYPE")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise InvalidRequest(415, "The body must not be compressed.", "UNSUPPORTED_MEDIA_TYPE")
    body = parsed_json(await body_of(request, limits), "The body")
    if not isinstance(body, list):
        return asked(body, limits)
    if not 0 < len(body) <= limits.batch:
        allowed = "one operation" if limits.batch == 1 else f"a batch of 1 to {limits.batch} operations"
        raise InvalidRequest(400, f"The body must be {allowed}.", "BATCH_TOO_LARGE" if body else "BAD_REQUEST")
    return [asked(one, limits) for one in body]


def asked(parameters: Any, limits: LimitsSettings) -> GraphQLRequest:
    """The parameters of one operation, checked. Raises `InvalidRequest`."""
    if not isinstance(parameters, dict):
        raise InvalidRequest(400, "The body must be one JSON object.")
    for name, kind in PARAMETERS.items():
        if not isinstance(parameters.get(name), (kind, type(None))):
            raise InvalidRequest(400, f"`{name}` must be {'an object' if kind is dict else 'a string'}.")
    query, document_id, operation_name, variables, extensions = map(parameters.get, PARAMETERS)
    if variables and size(variables) > limits.variables_bytes:
        reason = f"`variables` are larger than {limits.variables_bytes} bytes."
        raise InvalidRequest(413, reason, "PAYLOAD_TOO_LARGE")
    return GraphQLRequest(query, document_id, operation_name, variables or {}, extensions or {})


def size(variables: Mapping[str, Any]) -> int:
    try:
        return len(orjson.dumps(variables))
    except orjson.JSONEncodeError:
        raise InvalidRequest(400, "`variables` nest too deeply.") from None


def parsed_json(text: bytes, what: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise InvalidRequest(400, f"{what} is not JSON.") from None


async def body_of(request: Request, limits: LimitsSettings) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.body_bytes:
                    reason = f"The body is larger than {limits.body_bytes} bytes."
                    raise InvalidRequest(413, reason, "PAYLOAD_TOO_LARGE")
    except TimeoutError:
        raise InvalidRequest(408, "The body did not come in time.", "REQUEST_TIMEOUT", Connection="close") from None
    except ClientDisconnect:
        raise InvalidRequest(400, "The body ended too early.") from None
    return bytes(body)
