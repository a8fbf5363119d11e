"""Every answer tells by what its request is known in the log and in traces: ``x-request-id`` and ``traceparent``."""

from collections.abc import Awaitable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.telemetry.identity import Identity
from gateway.telemetry.observer import Observer
from gateway.telemetry.report import Exchange

CONNECTIONS: Final = frozenset({"http", "websocket"})
ANSWERS: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


class Identified:
    """An application within which every request and WebSocket has its `Identity`, also where it fails."""

    def __init__(self, app: ASGIApp, observer: Observer) -> None:
        self.app, self.observer = app, observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in CONNECTIONS:
            await self.app(scope, receive, send)
            return
        exchange = Exchange(Identity.of(scope["headers"]), scope.get("method", "GET"))

        def identified(message: Message) -> Awaitable[None]:
            if message["type"] in ANSWERS:
                exchange.status = message.get("status", 101)
                exchange.path = scope["path"] if "endpoint" in scope else None
                message = {**message, "headers": [*message.get("headers", ()), *exchange.identity.headers]}
            return send(message)

        with self.observer.request(exchange):
            await self.app(scope, receive, identified)
