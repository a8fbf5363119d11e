"""Every answer tells by what its request is known in the log and in traces: ``x-request-id`` and ``traceparent``."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.telemetry.observer import Observer

ANSWERS: Final = ("http.response.start", "websocket.accept", "websocket.http.response.start")


class Identified:
    """An application within which every request and WebSocket has its `Identity`, also where it fails."""

    def __init__(self, app: ASGIApp, observer: Observer) -> None:
        self.app, self.observer = app, observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        with self.observer.request(scope["headers"], scope.get("method", "GET")) as exchange:
            identity = exchange.identity
            said = [(b"x-request-id", identity.request_id.encode()), (b"traceparent", identity.traceparent.encode())]

            async def identified(message: Message) -> None:
                if message["type"] in ANSWERS:
                    exchange.status = message.get("status", 101)
                    exchange.path = scope["path"] if "endpoint" in scope else None
                    message = {**message, "headers": [*message.get("headers", ()), *said]}
                await send(message)

            await self.app(scope, receive, identified)
