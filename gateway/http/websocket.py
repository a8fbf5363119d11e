"""GraphQL over WebSockets: many operations on one connection, each with any number of results.

Source: the GraphQL over WebSocket Protocol (``graphql-transport-ws``) as the npm package ``graphql-ws`` publishes it.
"""

import asyncio
import logging
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, Final

import orjson
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected
from strawberry.http.websocket_origin import is_same_origin, normalize_origin

from gateway.auth.authenticator import HEADERS
from gateway.config.origins import AllowedOrigins
from gateway.config.settings import LimitsSettings
from gateway.errors import Forbidden, IssuerUnavailable, TooManySubscriptions, Unauthenticated
from gateway.execution.pipeline import Pipeline
from gateway.execution.prepared_operation import PreparedOperation
from gateway.execution.request import InvalidRequest
from gateway.execution.request_context import RequestContext
from gateway.execution.results import OperationResult, refused
from gateway.http.authentication import RequestAuthenticator
from gateway.http.requests import graphql_request, parse_json
from gateway.http.responses import error_body
from gateway.upstream.caching_client import ANY

logger = logging.getLogger("gateway.http")

PROTOCOL: Final = "graphql-transport-ws"

DISCONNECTED: Final = (WebSocketDisconnect, WebSocketDisconnected)
"""The client has disconnected: found by this message, or by an earlier one."""

MAX_MESSAGE_BYTES: Final = 2**18
"""The maximum size of a client's message after decompression, in bytes. Larger ones close the connection (1009)."""

TIMEOUT: Final = 10.0
"""The timeout in seconds for ``connection_init``, and for a client to accept a message."""

MAX_REASON_BYTES: Final = 123
"""The maximum size of the reason in a close frame, in bytes (RFC 6455, section 5.5)."""


TRY_AGAIN_LATER: Final = 1013
"""The code of a close frame after which the same handshake can succeed later (IANA's registry of close codes)."""


class CloseConnection(Exception):
    """Ends the connection with a code and a reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")


class WebSocketEndpoint:
    """The endpoint for GraphQL over WebSockets.

    At most ``max_operations`` run on one connection at once. Browsers may connect from pages of the same host and of
    ``origins``.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        authenticator: RequestAuthenticator,
        limits: LimitsSettings,
        max_operations: int,
        origins: AllowedOrigins,
    ) -> None:
        self.pipeline, self.authenticator, self.limits = pipeline, authenticator, limits
        self.max_operations, self.origins = max_operations, origins

    async def handle(self, socket: WebSocket) -> None:
        """Serve one connection until it ends."""
        if self.is_cross_origin(socket):
            await socket.send_denial_response(Response(status_code=403))
            return
        closing: CloseConnection | None = CloseConnection(4406, f"The subprotocol must be {PROTOCOL}")
        if PROTOCOL in socket.scope["subprotocols"]:
            await socket.accept(PROTOCOL)
            closing = await WebSocketConnection(self, socket).serve()
        else:
            await socket.accept()
        if closing is not None:
            with suppress(*DISCONNECTED):
                await socket.close(closing.code, closing.reason)

    def is_cross_origin(self, socket: WebSocket) -> bool:
        """Whether a page of an origin that is not allowed connects. Browsers leave the check to servers."""
        origin = socket.headers.get("origin")
        if origin is None or is_same_origin(origin, socket.headers.get("host")):
            return False
        return normalize_origin(origin) not in self.origins


class WebSocketConnection:
    """One connection: the operations that run on it by the client's ids, and the headers that authenticate the caller.

    Those are the headers of the handshake and the payload of ``connection_init``, since browsers cannot set headers.
    """

    def __init__(self, endpoint: WebSocketEndpoint, socket: WebSocket) -> None:
        self.endpoint, self.socket = endpoint, socket
        self.initialized = False
        self.headers: dict[str, str] = {}
        self.running: dict[str, asyncio.Task[None]] = {}

    async def serve(self) -> CloseConnection | None:
        """Serve until one side closes the connection, then cancel its operations. None if it was the client."""
        closing = None
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.stop())
                await self.listen(tasks)
        except* DISCONNECTED:
            pass
        except* CloseConnection as reasons:
            closing = next(reason for reason in reasons.exceptions if isinstance(reason, CloseConnection))
        except* Exception:
            logger.exception("Unexpected error on a WebSocket")
            closing = CloseConnection(4500, "Internal server error")
        return closing

    async def stop(self) -> None:
        """Close the connection when the server stops or reloads its settings."""
        await self.socket.state.stopping.wait()
        raise CloseConnection(1012, "Service restart")

    async def listen(self, tasks: asyncio.TaskGroup) -> None:
        """Handle the client's messages. Raises `CloseConnection` and `WebSocketDisconnect`."""
        try:
            async with asyncio.timeout(TIMEOUT):
                while not self.initialized:
                    await self.handle(await self.receive(), tasks)
        except TimeoutError:
            raise CloseConnection(4408, "Connection initialisation timeout") from None
        while True:
            await self.handle(await self.receive(), tasks)

    async def receive(self) -> dict[str, Any]:
        event = await self.socket.receive()
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(event["code"])
        text = event.get("text")
        if text is None:
            raise CloseConnection(4400, "Messages must be text")
        try:
            message = parse_json(text, "The message")
        except InvalidRequest as error:
            raise CloseConnection(4400, str(error)) from None
        if not isinstance(message, dict):
            raise CloseConnection(4400, "Messages must be JSON objects")
        return message

    async def handle(self, message: dict[str, Any], tasks: asyncio.TaskGroup) -> None:
        """Handle one message."""
        message_type, payload, id = map(message.get, ("type", "payload", "id"))
        if message_type in ("subscribe", "complete") and not (isinstance(id, str) and id):
            raise CloseConnection(4400, "`id` must be a text")
        if not isinstance(payload, dict) and (message_type == "subscribe" or payload is not None):
            raise CloseConnection(4400, "`payload` must be an object")
        match message_type:
            case "connection_init":
                if self.initialized:
                    raise CloseConnection(4429, "Too many initialisation requests")
                await self.initialize(payload or {})
            case "subscribe":
                await self.subscribe(str(id), payload, tasks)
            case "complete":
                if id in self.running:
                    self.running.pop(id).cancel()
            case "ping":
                await self.send({"type": "pong"} if payload is None else {"type": "pong", "payload": payload})
            case "pong":
                pass
            case _:
                raise CloseConnection(4400, "Unknown type of message")

    async def initialize(self, payload: dict[str, Any]) -> None:
        """Authenticate the caller."""
        sent = {name.lower(): value for name, value in payload.items() if isinstance(value, str)}
        received = {**self.socket.headers, **sent}
        self.headers = {name: value for name, value in received.items() if name in HEADERS}
        try:
            await self.authenticate()
        except IssuerUnavailable as refusal:
            raise CloseConnection(TRY_AGAIN_LATER, str(refusal)) from None
        except (Unauthenticated, Forbidden) as refusal:
            raise CloseConnection(4403, str(refusal)) from None
        self.initialized = True
        await self.send({"type": "connection_ack"})

    async def authenticate(self) -> RequestContext:
        """The caller's current context. Raises as `RequestAuthenticator.context`.

        Browsers send ``no-cache`` with every handshake; it does not apply to operations.
        """
        return replace(await self.endpoint.authenticator.context(self.socket, self.headers), freshness=ANY)

    async def subscribe(self, id: str, payload: Any, tasks: asyncio.TaskGroup) -> None:
        """Start an operation, or send the reason why it is refused."""
        if not self.initialized:
            raise CloseConnection(4401, "Unauthorized")
        if id in self.running:
            raise CloseConnection(4409, f"Subscriber for {id} already exists")
        if len(self.running) >= self.endpoint.max_operations:
            error = TooManySubscriptions(
                f"At most {self.endpoint.max_operations} operations can run on one connection."
            )
            await self.send_error(id, refused(error))
            return
        try:
            context = await self.authenticate()
            prepared = self.endpoint.pipeline.prepare(graphql_request(payload, self.endpoint.limits), context)
        except (Unauthenticated, Forbidden) as refusal:
            await self.send_error(id, refused(refusal))
            return
        except InvalidRequest as error:
            if error.code == "BAD_REQUEST":
                raise CloseConnection(4400, str(error)) from None
            await self.send_error(id, OperationResult(error_body(error)))
            return
        if isinstance(prepared, OperationResult):
            await self.send_error(id, prepared)
        else:
            self.running[id] = tasks.create_task(self.run(id, prepared, context))

    async def run(self, id: str, prepared: PreparedOperation, context: RequestContext) -> None:
        """Send the results of an operation."""
        async with aclosing(self.endpoint.pipeline.stream(prepared, context, self.authenticate)) as results:
            async for result in results:
                if not result.executed:
                    del self.running[id]
                    await self.send_error(id, result)
                    return
                await self.send({"type": "next", "id": id, "payload": orjson.Fragment(result.body)})
        del self.running[id]
        await self.send({"type": "complete", "id": id})

    async def send_error(self, id: str, result: OperationResult) -> None:
        await self.send({"type": "error", "id": id, "payload": orjson.loads(result.body)["errors"]})

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message. Raises `WebSocketDisconnect` when the client does not accept it in time."""
        try:
            async with asyncio.timeout(TIMEOUT):
                await self.socket.send({"type": "websocket.send", "text": orjson.dumps(message).decode()})
        except TimeoutError:
            raise WebSocketDisconnect(1006) from None
