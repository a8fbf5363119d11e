"""Every answer tells by what its request is known in the log and in traces: ``x-request-id`` and ``traceparent``."""

from collections.abc import Awaitable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.telemetry.identity import CURRENT, Identity
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
        exchange = Exchange(Identity.of(scope["headers"]), scope)
        if self.observer.traces is None:
            await self._answer(exchange, receive, send)
        else:
            with self.observer.traces.request(exchange):
                await self._answer(exchange, receive, send)

    async def _answer(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        identity = exchange.identity

        def identified(message: Message) -> Awaitable[None]:
            if message["type"] in ANSWERS:
                exchange.status = message.get("status", 101)
                message = {**message, "headers": [*message.get("headers", ()), *identity.headers]}
            return send(message)

        token = CURRENT.set(identity)
        try:
            await self.app(exchange.scope, receive, identified)
        finally:
            CURRENT.reset(token)
            self.observer.exchanges.of[(exchange.status or "none",)] += 1
