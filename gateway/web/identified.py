"""Every answer tells by what its request is known in the log and in traces: ``x-request-id`` and ``traceparent``."""

from collections.abc import Awaitable, Sequence
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.telemetry.identity import CURRENT, Identity
from gateway.telemetry.observer import Observer
from gateway.telemetry.report import Exchange
from gateway.web.short import Short

CONNECTIONS: Final = frozenset({"http", "websocket"})
ANSWERS: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


class Identified:
    """An application within which every request and WebSocket has its `Identity`, also where it fails."""

    def __init__(self, app: ASGIApp, observer: Observer) -> None:
        self.app, self.observer = app, observer

    def at_hand(self, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> tuple[bytes, bytes] | None:
        """The lines of headers and the body of an answer that needs nothing but to be sent, if there is one; it is told
        of as all others are."""
        if not isinstance(self.app, Short) or self.observer.traces is not None:
            return None
        found = self.app.at_hand(headers, body)
        if found is None:
            return None
        identity = Identity.of(headers)
        token = CURRENT.set(identity)
        try:
            self.app.tell(found.way, found.whole)
        finally:
            CURRENT.reset(token)
        self.observer.exchanges.of[(200,)] += 1
        lines = [b"%b: %b\r\n" % header for header in identity.headers]
        return b"".join((found.made.lines, *lines)), found.made.reply.body

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
