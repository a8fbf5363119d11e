"""GraphQL over WebSockets: many operations on one connection, each with as many results as it has.

Source: the GraphQL over WebSocket Protocol (``graphql-transport-ws``) as the npm package ``graphql-ws`` publishes it.
"""

import asyncio
import logging
from collections.abc import Container
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, Final

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect
from strawberry.http.websocket_origin import is_same_origin, normalize_origin

from gateway.config.settings import LimitsSettings
from gateway.errors import Forbidden, TooManySubscriptions, Unauthenticated
from gateway.execution.pipeline import Pipeline
from gateway.execution.prepared import Prepared
from gateway.execution.request_context import RequestContext
from gateway.execution.results import Result, refused
from gateway.http.authentication import RequestAuthenticator
from gateway.http.requests import InvalidRequest, asked
from gateway.http.responses import body_of
from gateway.upstream.caching_client import ANY

logger = logging.getLogger("gateway.http")

PROTOCOL: Final = "graphql-transport-ws"

LARGEST_MESSAGE: Final = 2**18
"""Bytes of a client's message, unpacked; the server closes connections with larger ones (1009)."""

PATIENCE: Final = 10.0
"""Seconds in which a client must have introduced itself, and in which it must take what it is sent."""

LONGEST_REASON: Final = 123
"""Bytes that a close frame has for its reason (RFC 6455, section 5.5)."""


class Closing(Exception):
    """The connection has to end, with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason.encode()[:LONGEST_REASON].decode(errors="ignore")


class WebSocketEndpoint:
    """The endpoint for WebSockets.

    ``most`` operations run on one connection at once; pages of the same host and of ``origins`` may open one, with
    ``*`` all of them.
    """

    def __init__(
        self,
        executor: Pipeline,
        entrance: RequestAuthenticator,
        limits: LimitsSettings,
        most: int,
        origins: Container[str],
    ) -> None:
        self.executor, self.entrance, self.limits, self.most = executor, entrance, limits, most
        self.origins = origins

    async def answer(self, socket: WebSocket) -> None:
        """Serve one connection to its end."""
        if self.is_foreign(socket):
            await socket.close()
            return
        closing: Closing | None = Closing(4406, f"The subprotocol must be {PROTOCOL}")
        if PROTOCOL in socket.scope["subprotocols"]:
            await socket.accept(PROTOCOL)
            closing = await Conversation(self, socket).hold()
        else:
            await socket.accept()
        if closing is not None:
            with suppress(WebSocketDisconnect):
                await socket.close(closing.code, closing.reason)

    def is_foreign(self, socket: WebSocket) -> bool:
        """Whether a page of somebody else opens the socket: browsers leave it to servers to refuse that."""
        origin = socket.headers.get("origin")
        if origin is None or is_same_origin(origin, socket.headers.get("host")):
            return False
        return "*" not in self.origins and normalize_origin(origin) not in self.origins


class Conversation:
    """One connection: the operations that run on it, by the client's own ids; and the headers by which its caller is
    known, from the handshake and, since browsers cannot set those, from the introduction."""

    def __init__(self, door: WebSocketEndpoint, socket: WebSocket) -> None:
        self.door, self.socket = door, socket
        self.introduced = False
        self.headers: dict[str, str] = {}
        self.running: dict[str, asyncio.Task[None]] = {}

    async def hold(self) -> Closing | None:
        """Talk until one side ends it, and end all operations; how to close, None when the client has left."""
        closing = None
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.stop())
                await self.listen(tasks)
        except* WebSocketDisconnect:
            pass
        except* Closing as reasons:
            closing = next(reason for reason in reasons.exceptions if isinstance(reason, Closing))
        except* Exception:
            logger.exception("Unexpected error on a WebSocket")
            closing = Closing(4500, "Internal server error")
        return closing

    async def stop(self) -> None:
        """Send the client elsewhere when the server stops or has other settings."""
        await self.socket.state.stopping.wait()
        raise Closing(1012, "Service restart")

    async def listen(self, tasks: asyncio.TaskGroup) -> None:
        """Take the client's messages. Raises `Closing` and `WebSocketDisconnect`."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not self.introduced:
                    await self.take(await self.receive(), tasks)
        except TimeoutError:
            raise Closing(4408, "Connection initialisation timeout") from None
        while True:
            await self.take(await self.receive(), tasks)

    async def receive(self) -> dict[str, Any]:
        received = await self.socket.receive()
        if received["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(received["code"])
        text = received.get("text")
        if text is None:
            raise Closing(4400, "Messages must be text")
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise Closing(4400, "Messages must be JSON") from None
        if not isinstance(message, dict):
            raise Closing(4400, "Messages must be JSON objects")
        return message

    async def take(self, message: dict[str, Any], tasks: asyncio.TaskGroup) -> None:
        """Do what one message asks."""
        kind, payload, id = map(message.get, ("type", "payload", "id"))
        if kind in ("subscribe", "complete") and not (isinstance(id, str) and id):
            raise Closing(4400, "`id` must be a text")
        if not isinstance(payload, dict) and (kind == "subscribe" or payload is not None):
            raise Closing(4400, "`payload` must be an object")
        match kind:
            case "connection_init":
                if self.introduced:
                    raise Closing(4429, "Too many initialisation requests")
                await self.introduce(payload or {})
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
                raise Closing(4400, "Unknown type of message")

    async def introduce(self, payload: dict[str, Any]) -> None:
        """Let the caller in."""
        said = {name.lower(): value for name, value in payload.items() if isinstance(value, str)}
        self.headers = {**self.socket.headers, **said}
        try:
            await self.enter()
        except (Unauthenticated, Forbidden) as refusal:
            raise Closing(4403, str(refusal)) from None
        self.introduced = True
        await self.send({"type": "connection_ack"})

    async def enter(self) -> RequestContext:
        """The scene of the caller as of now. Raises as `RequestAuthenticator.scene` does.

        Browsers send `no-cache` with every handshake; it is not meant for the operations.
        """
        return replace(await self.door.entrance.scene(self.socket, self.headers), wanted=ANY)

    async def subscribe(self, id: str, payload: Any, tasks: asyncio.TaskGroup) -> None:
        """Start an operation."""
        if not self.introduced:
            raise Closing(4401, "Unauthorized")
        if id in self.running:
            raise Closing(4409, f"Subscriber for {id} already exists")
        if len(self.running) >= self.door.most:
            full = TooManySubscriptions(f"{self.door.most} operations run on this connection; no more may.")
            await self.refuse(id, refused(full))
            return
        try:
            scene = await self.enter()
            prepared = self.door.executor.prepare(asked(payload, self.door.limits), scene)
        except (Unauthenticated, Forbidden) as denied:
            await self.refuse(id, refused(denied))
            return
        except InvalidRequest as refusal:
            if refusal.code == "BAD_REQUEST":
                raise Closing(4400, str(refusal)) from None
            await self.refuse(id, Result(body_of(refusal)))
            return
        if isinstance(prepared, Result):
            await self.refuse(id, prepared)
        else:
            self.running[id] = tasks.create_task(self.run(id, prepared, scene))

    async def run(self, id: str, prepared: Prepared, scene: RequestContext) -> None:
        """Send the results of an operation, until there are no more or until it is cancelled."""
        async with aclosing(self.door.executor.stream(prepared, scene, self.enter)) as results:
            async for result in results:
                if result.operation is None:
                    del self.running[id]
                    await self.refuse(id, result)
                    return
                await self.send({"type": "next", "id": id, "payload": orjson.Fragment(result.body)})
        del self.running[id]
        await self.send({"type": "complete", "id": id})

    async def refuse(self, id: str, result: Result) -> None:
        await self.send({"type": "error", "id": id, "payload": orjson.loads(result.body)["errors"]})

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message; a client that does not take it in time has left."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self.socket.send({"type": "websocket.send", "text": orjson.dumps(message).decode()})
        except TimeoutError:
            raise WebSocketDisconnect(1006) from None
