"""Reading GraphQL requests from HTTP: methods, bodies and media types.

Source: the GraphQL-over-HTTP specification, working draft. Clients send queries by POST with a JSON body or by GET.
"""

from codecs import BOM_UTF8
from collections.abc import Mapping
from email.message import Message
from typing import Any, Final

import orjson
from starlette.requests import ClientDisconnect, Request

from gateway.config.settings import LimitsSettings
from gateway.execution.request import GraphQLRequest, InvalidParameters, InvalidRequest, OnError
from gateway.http.negotiation import JSON
from gateway.http.time_limit import within
from gateway.memory_budget import memo

PARAMETERS: Final[Mapping[str, type]] = {
    "query": str,
    "documentId": str,
    "operationName": str,
    "variables": dict,
    "extensions": dict,
    "onError": str,
}


SAFE_METHODS: Final = ("GET", "HEAD")
ALLOWED: Final = "GET, HEAD, POST"
"""The methods of the endpoint, as ``Allow`` lists them."""


@memo(64, len)
def parse_content_type(content_type: str) -> tuple[str, str]:
    """Return media type and charset of a ``Content-Type`` header."""
    parsed = Message()
    parsed["content-type"] = content_type
    return parsed.get_content_type(), str(parsed.get_param("charset", "utf-8")).lower()


async def read_request(request: Request, limits: LimitsSettings) -> GraphQLRequest | list[GraphQLRequest]:
    """Read one operation, or a batch of them. Raises `InvalidRequest`."""
    if request.method in SAFE_METHODS:
        parameters: dict[str, Any] = dict(request.query_params)
        for name in ("variables", "extensions"):
            if parameters.get(name):
                parameters[name] = parse_json(parameters[name], f"`{name}`")
            else:
                parameters.pop(name, None)
        return graphql_request(parameters, limits, is_safe=True)
    if request.method != "POST":
        raise InvalidRequest(405, "GraphQL requests use GET or POST.", "METHOD_NOT_ALLOWED", Allow=ALLOWED)
    body = await read_json(request, limits)
    if not isinstance(body, list):
        return graphql_request(body, limits)
    if not 0 < len(body) <= limits.batch:
        allowed = "one operation" if limits.batch == 1 else f"a batch of 1 to {limits.batch} operations"
        raise InvalidParameters(f"The body must be {allowed}.", "BATCH_TOO_LARGE" if body else "BAD_REQUEST")
    return [graphql_request(item, limits) for item in body]


async def read_json(request: Request, limits: LimitsSettings) -> Any:
    """Read a body in JSON. Raises `InvalidRequest`."""
    media_type, charset = parse_content_type(request.headers.get("content-type", "text/plain"))
    if media_type != JSON:
        raise InvalidRequest(415, f"The body must be {JSON}.", "UNSUPPORTED_MEDIA_TYPE")
    if charset not in ("utf-8", "utf8"):
        raise InvalidRequest(415, "The body must be in UTF-8.", "UNSUPPORTED_MEDIA_TYPE")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise InvalidRequest(415, "The body must not be compressed.", "UNSUPPORTED_MEDIA_TYPE")
    return parse_json(await read_body(request, limits), "The body")


def graphql_request(parameters: Any, limits: LimitsSettings, *, is_safe: bool = False) -> GraphQLRequest:
    """Check the parameters of one operation. Raises `InvalidRequest`."""
    if not isinstance(parameters, dict):
        raise InvalidParameters("The body must be one JSON object.")
    values = [parameters.get(name) for name in PARAMETERS]
    for (name, expected_type), value in zip(PARAMETERS.items(), values, strict=True):
        if value is not None and not isinstance(value, expected_type):
            raise InvalidParameters(f"`{name}` must be {'an object' if expected_type is dict else 'a string'}.")
    query, document_id, operation_name, variables, extensions, on_error = values
    if on_error is not None and on_error not in OnError.__members__:
        raise InvalidParameters(f"`onError` must be {', '.join(OnError.__members__)}, or absent.")
    if variables and json_size(variables) > limits.variables_bytes:
        reason = f"`variables` are larger than {limits.variables_bytes} bytes."
        raise InvalidRequest(413, reason, "PAYLOAD_TOO_LARGE")
    return GraphQLRequest(
        query,
        document_id,
        operation_name or None,
        variables or {},
        extensions or {},
        is_safe=is_safe,
        on_error=OnError.PROPAGATE if on_error is None else OnError[on_error],
    )


def json_size(variables: Mapping[str, Any]) -> int:
    """Return the size of variables as JSON, in bytes. Raises `InvalidRequest` if they are nested too deeply."""
    try:
        return len(orjson.dumps(variables))
    except orjson.JSONEncodeError:
        raise InvalidParameters("`variables` nest too deeply.") from None


def parse_json(text: bytes | str, name: str) -> Any:
    """Parse JSON of a client, with or without a byte order mark (RFC 8259, section 8.1). Raises `InvalidRequest`."""
    try:
        return orjson.loads(text.removeprefix("\ufeff") if isinstance(text, str) else text.removeprefix(BOM_UTF8))
    except orjson.JSONDecodeError:
        raise InvalidRequest(400, f"{name} is not JSON.") from None


async def read_body(request: Request, limits: LimitsSettings) -> bytes:
    """Read the body within the limits on its size and time. Raises `InvalidRequest`."""
    try:
        return await within(limits.body_seconds, whole_body(request, limits.body_bytes))
    except TimeoutError:
        raise InvalidRequest(408, "The body did not arrive in time.", "REQUEST_TIMEOUT", Connection="close") from None
    except ClientDisconnect:
        raise InvalidRequest(400, "The body ended too early.") from None


async def whole_body(request: Request, limit: int) -> bytes:
    """Return the body. Raises `InvalidRequest` above the limit in bytes, and `ClientDisconnect`."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise InvalidRequest(413, f"The body is larger than {limit} bytes.", "PAYLOAD_TOO_LARGE")
    return bytes(body)
