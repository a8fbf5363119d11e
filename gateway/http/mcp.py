"""The endpoint for the Model Context Protocol: one JSON-RPC request in each POST, without sessions.

Sources: Model Context Protocol, revision 2026-07-28, "Streamable HTTP", "Versioning", "Authorization" and "Tools"; its
earlier revisions, "Lifecycle"; RFC 9728 (metadata of protected resources); RFC 6750, section 3 (challenges).
"""

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import orjson
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send
from strawberry.http.websocket_origin import normalize_origin

from gateway import __version__
from gateway.auth.principals import TOOL, Principal
from gateway.config.origins import AllowedOrigins
from gateway.config.settings import LimitsSettings
from gateway.errors import BadInput, Forbidden, Unauthenticated
from gateway.execution.pipeline import Pipeline
from gateway.execution.request import InvalidRequest
from gateway.execution.request_context import RequestContext
from gateway.execution.results import OperationResult, refused
from gateway.http.authentication import RequestAuthenticator, denial_headers
from gateway.http.disconnection import ClientDisconnected, while_connected
from gateway.http.requests import graphql_request, read_json
from gateway.http.responses import STATUSES, error_body
from gateway.mcp.tools import Tool, Tools

REVISION: Final = "2026-07-28"
EARLIER_REVISIONS: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""The revisions whose clients begin with ``initialize``, newest first. They are served without a session."""

META: Final = "io.modelcontextprotocol/"
VERSION, CAPABILITIES = f"{META}protocolVersion", f"{META}clientCapabilities"
"""What the metadata of every request must have."""

SERVER: Final = {"name": "registry-gateway", "version": __version__}
INSTRUCTIONS: Final = """\
`data` is the answer. `coverage` in it says for each registry whether a list is complete, and how old it is, in \
seconds. Null is a value that the registry does not have; what could not be read is in `errors`. `age` is that of the \
oldest part of the answer in seconds, `retryAfter` the seconds after which what failed can be tried again, `forecast` \
the number of upstream calls that the tool may need."""

SERVED: Final = {"capabilities": {"tools": {}}, "instructions": INSTRUCTIONS}
"""What clients learn at first, in every revision."""

LIST_MILLISECONDS: Final = 60_000
"""How long clients may use a list of tools. The operator's tools can change."""

PARSE_ERROR, INVALID_MESSAGE, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022

ENCODED: Final = re.compile(r"=\?base64\?(.*)\?=")
VARIABLE: Final = re.compile(r"^Variable '\$(\w+)'")
WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"


class ProtocolError(Exception):
    """A request is not one of the protocol. ``code`` and ``data`` are those of the JSON-RPC error."""

    def __init__(self, code: int, message: str, status: int = 400, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.status, self.data = code, status, data


class Message(NamedTuple):
    """A JSON-RPC request or notification, without its id."""

    method: str
    params: Mapping[str, Any]


class McpEndpoint:
    """The endpoint `/mcp`, an ASGI application. Each tool runs through the pipeline, as all other operations do.

    ``resource`` describes where clients get tokens, None if they get none. ``origins`` are those of web pages that may
    send requests.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        tools: Tools,
        limits: LimitsSettings,
        authenticator: RequestAuthenticator,
        origins: AllowedOrigins,
        resource: "ProtectedResource | None",
    ) -> None:
        self.pipeline, self.tools, self.limits, self.authenticator = pipeline, tools, limits, authenticator
        self.origins, self.resource = origins, resource

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.response_to(Request(scope, receive))
        if response is not None:
            response.headers["cache-control"] = "no-store"
            await response(scope, receive, send)

    async def response_to(self, request: Request) -> Response | None:
        """Return the response to a POST, None if the client has disconnected."""
        id, message = None, None
        try:
            check_origin(request, self.origins)
            caller = await self.authenticator.caller(request)
            body = await read_json(request, self.limits)
            id = message_id(body)
            message = parse_message(body)
            if id is None:
                return Response(status_code=202)
            result = await self.result_of(message, caller, request)
            return JSONResponse({"jsonrpc": "2.0", "id": id, "result": result})
        except (Unauthenticated, Forbidden) as refusal:
            return self.denial(refusal, message)
        except InvalidRequest as error:
            code = PARSE_ERROR if message is None and error.status == 400 else INVALID_MESSAGE
            return error_response(id, ProtocolError(code, str(error), error.status), error.headers)
        except ProtocolError as error:
            return error_response(id, error)
        except ClientDisconnected:
            return None

    async def result_of(self, message: Message, caller: Principal, request: Request) -> Mapping[str, Any]:
        """Return the result of a request.

        Raises `ProtocolError`, `Unauthenticated`, `Forbidden` and `InvalidRequest`.
        """
        earlier = is_earlier(message, request.headers)
        if not earlier:
            check_metadata(message, request.headers)
        match message.method:
            case "initialize" if earlier:
                wanted = message.params.get("protocolVersion")
                version = wanted if wanted in EARLIER_REVISIONS else EARLIER_REVISIONS[0]
                return {"protocolVersion": version, "serverInfo": SERVER, **SERVED}
            case "ping" if earlier:
                return {}
            case "server/discover" if not earlier:
                result: Mapping[str, Any] = {"supportedVersions": [REVISION], **SERVED, **cacheable("public")}
            case "tools/list":
                result = self.listed(message.params, caller)
            case "tools/call":
                result = await self.called(message.params, caller, request)
            case _:
                raise ProtocolError(METHOD_NOT_FOUND, f"There is no method {message.method[:100]}.", 404)
        return result if earlier else {"resultType": "complete", "_meta": {f"{META}serverInfo": SERVER}, **result}

    def listed(self, params: Mapping[str, Any], caller: Principal) -> Mapping[str, Any]:
        """Return the tools that a caller may call. Raises `ProtocolError` for a cursor: there is only one page."""
        if params.get("cursor") is not None:
            raise ProtocolError(INVALID_PARAMS, "The list of tools has one page, and no cursors.")
        tools = [tool.definition for tool in self.tools.all().values() if caller.has(f"{TOOL}{tool.name}")]
        return {"tools": tools, **cacheable("private")}

    async def called(self, params: Mapping[str, Any], caller: Principal, request: Request) -> Mapping[str, Any]:
        """Call a tool. Raises `ProtocolError`, `Unauthenticated`, `Forbidden` and `InvalidRequest`."""
        name, arguments = params.get("name"), params.get("arguments")
        if not isinstance(name, str) or not isinstance(arguments, dict | None):
            raise ProtocolError(INVALID_PARAMS, "`name` must be a string, and `arguments` an object.")
        tool = self.tools.all().get(name)
        if tool is None:
            raise ProtocolError(INVALID_PARAMS, f"There is no tool {name[:100]}.")
        self.authenticator.require(f"{TOOL}{name}", caller, request)
        context = replace(self.authenticator.context_of(caller, request), plan_mode=None)
        return await while_connected(request.receive, self.run(tool, arguments or {}, context))

    async def run(self, tool: Tool, arguments: Mapping[str, Any], context: RequestContext) -> Mapping[str, Any]:
        """Run the query of a tool, and return the result of its call. Null is an argument that is absent."""
        forecast = None
        unknown = [name for name in arguments if name not in tool.arguments]
        variables = {name: value for name, value in arguments.items() if value is not None}
        parameters = {"query": tool.document, "operationName": tool.name, "variables": variables}
        try:
            if unknown:
                raise BadInput(f"The tool has no argument `{unknown[0][:100]}`.")
            received = replace(graphql_request(parameters, self.limits), is_own=tool.is_own)
            prepared = self.pipeline.prepare(received, context)
            if isinstance(prepared, OperationResult):
                result = prepared
            else:
                result = await self.pipeline.execute(prepared, context)
                if result.executed:
                    self.pipeline.bind(prepared, context)  # a cached response was not bound
                forecast = None if prepared.bound is None else prepared.cost.calls
        except BadInput as error:
            result = refused(error)
        except InvalidRequest as error:
            result = OperationResult(error_body(error), (error.code,))
        return tool_result(result, forecast)

    def denial(self, refusal: Unauthenticated | Forbidden, message: Message | None) -> Response:
        """Return the response to a denied request, with the scope that a tool needs and where clients get tokens."""
        headers = denial_headers(refusal)
        challenge = [] if self.resource is None else [f'resource_metadata="{self.resource.metadata_url}"']
        if isinstance(refusal, Forbidden) and message is not None:
            insufficient = f'Bearer error="insufficient_scope", scope="{TOOL}{message.params["name"]}"'
            headers["WWW-Authenticate"] = ", ".join([insufficient, *challenge])
        elif "WWW-Authenticate" in headers:
            headers["WWW-Authenticate"] = ", ".join([headers["WWW-Authenticate"], *challenge])
        return JSONResponse({"error": str(refusal)}, STATUSES[refusal.code], headers)


def cacheable(scope: str) -> Mapping[str, Any]:
    """Return the hints for caches of clients ("Caching")."""
    return {"ttlMs": LIST_MILLISECONDS, "cacheScope": scope}


# Requests


def check_origin(request: Request, origins: AllowedOrigins) -> None:
    """Raise `ProtocolError` for a request of a web page from another origin.

    The origin of the request's own address is not accepted by itself: with DNS rebinding, a page of a stranger has it.
    """
    origin = request.headers.get("origin")
    if origin is not None and normalize_origin(origin) not in origins:
        raise ProtocolError(INVALID_MESSAGE, "Pages of this origin may not send requests.", 403)


def message_id(body: Any) -> str | int | None:
    """Return the id of a JSON-RPC request, None for a notification. Raises `ProtocolError` for what is no id."""
    if not isinstance(body, dict):
        raise ProtocolError(INVALID_MESSAGE, "The body must be one JSON-RPC request or notification.")
    id = body.get("id")
    if "id" in body and (isinstance(id, bool) or not isinstance(id, str | int)):
        raise ProtocolError(INVALID_MESSAGE, "`id` must be a string or a whole number.")
    return id


def parse_message(body: Mapping[str, Any]) -> Message:
    """Return a JSON-RPC request or notification. Raises `ProtocolError`."""
    method, params = body.get("method"), body.get("params", {})
    if body.get("jsonrpc") != "2.0" or not isinstance(method, str):
        raise ProtocolError(INVALID_MESSAGE, 'The body must have `jsonrpc`, which is "2.0", and a `method`.')
    if not isinstance(params, dict):
        raise ProtocolError(INVALID_PARAMS, "`params` must be an object.")
    return Message(method, params)


def metadata(message: Message) -> Mapping[str, Any]:
    meta = message.params.get("_meta")
    return meta if isinstance(meta, dict) else {}


def is_earlier(message: Message, headers: Headers) -> bool:
    """Whether a request is one of an earlier revision, which has no version in its metadata."""
    return VERSION not in metadata(message) and headers.get("mcp-protocol-version") in (None, *EARLIER_REVISIONS)


def check_metadata(message: Message, headers: Headers) -> None:
    """Check that the metadata of a request is complete, equals the headers, and has a version that is served.

    Raises `ProtocolError`.
    """
    meta = metadata(message)
    version = meta.get(VERSION, headers.get("mcp-protocol-version"))
    served = version == REVISION
    if (VERSION in meta or served) and not (isinstance(version, str) and meta.keys() >= {VERSION, CAPABILITIES}):
        raise ProtocolError(INVALID_PARAMS, f"`params._meta` must have `{VERSION}` and `{CAPABILITIES}`.")
    expected = {"MCP-Protocol-Version": version, "Mcp-Method": message.method}
    if message.method == "tools/call" and isinstance(name := message.params.get("name"), str):
        expected["Mcp-Name"] = name
    for header, value in expected.items():
        sent = headers.getlist(header)
        if len(sent) != 1 or decoded(sent[0]) != value:
            raise ProtocolError(HEADER_MISMATCH, f"The header {header} must be the same as in the body.")
    if not served:
        data = {"supported": [REVISION], "requested": version}
        raise ProtocolError(UNSUPPORTED_VERSION, "This version of the protocol is not supported.", data=data)


def decoded(header: str) -> str | None:
    """Return the value of a header, which may be encoded in base64. None if it cannot be decoded ("Value Encoding").

    White space around it is no part of it (RFC 9110, section 5.5).
    """
    header = header.strip(" \t")
    encoded = ENCODED.fullmatch(header)
    try:
        return header if encoded is None else b64decode(encoded[1], validate=True).decode()
    except ValueError:
        return None


# Responses


def error_response(id: str | int | None, error: ProtocolError, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON-RPC error, with the id of the request if that could be read."""
    known = {} if id is None else {"id": id}
    data = {} if error.data is None else {"data": error.data}
    body = {"jsonrpc": "2.0", **known, "error": {"code": error.code, "message": str(error), **data}}
    return JSONResponse(body, error.status, headers)


def tool_result(result: OperationResult, forecast: int | None) -> Mapping[str, Any]:
    """Return the result of a tool, as structured content and as text. It is an error if there is no data."""
    response = orjson.loads(result.body)
    errors = [error_entry(error) for error in response.get("errors", ())]
    content = {"data": response.get("data"), **({"errors": errors} if errors else {})}
    retry = max(retry_times(content), default=result.retry_after)
    optional = {"age": result.age, "retryAfter": retry, "forecast": forecast}
    content |= {name: round(value, 3) for name, value in optional.items() if value is not None}
    text = {"type": "text", "text": orjson.dumps(content).decode()}
    return {"content": [text], "structuredContent": content, "isError": bool(errors) and not result.answered}


def error_entry(error: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an error of a response in one object, in the words of tools. It has no location in a document."""
    message = VARIABLE.sub(r"Argument `\1`", error["message"])
    path = {"path": error["path"]} if "path" in error else {}
    return {"message": message, **path, **error["extensions"]}


def retry_times(content: Any) -> Iterator[float]:
    """Yield the times after which a retry can succeed, of the failures in errors and in data."""
    waiting = [content]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if "code" in part and isinstance(part.get("retryAfter"), int | float):
                yield part["retryAfter"]
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


class ProtectedResource:
    """The metadata that tells clients who issues the tokens for a URL (RFC 9728)."""

    def __init__(self, url: str, issuer: str, tools: Tools) -> None:
        address = urlsplit(url)
        self.paths = dict.fromkeys((WELL_KNOWN, f"{WELL_KNOWN}{address.path.rstrip('/')}"))
        self.metadata_url = f"{address.scheme}://{address.netloc}{[*self.paths][-1]}"
        self.metadata = {
            "resource": url,
            "resource_name": SERVER["name"],
            "authorization_servers": [issuer],
            "bearer_methods_supported": ["header"],
            "scopes_supported": [f"{TOOL}{tool.name}" for tool in tools.own],
        }

    async def handle(self, request: Request) -> Response:
        return JSONResponse(self.metadata)
