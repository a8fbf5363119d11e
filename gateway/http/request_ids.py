"""Headers of every response: ``x-request-id`` and ``traceparent``, as logs and traces have them, and ``nosniff``."""

from collections.abc import Awaitable
from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.telemetry.observer import Observer
from gateway.telemetry.operation_log import Exchange
from gateway.telemetry.request_ids import CURRENT, Identity

CONNECTIONS: Final = frozenset({"http", "websocket"})
NOSNIFF: Final = (b"x-content-type-options", b"nosniff")
"""Browsers must not guess another media type than that of the response. Source: Fetch standard of the WHATWG."""
FAILURE: Final = PlainTextResponse("Internal Server Error", 500)
RESPONSE_STARTS: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


class RequestIds:
    """ASGI middleware that gives every request and WebSocket an `Identity`, and counts and traces them.

    It is the outermost one, so that responses to failures have ids, too. An unexpected error without a response gets
    status 500.
    """

    def __init__(self, app: ASGIApp, observer: Observer) -> None:
        self.app, self.observer = app, observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in CONNECTIONS:
            await self.app(scope, receive, send)
            return
        exchange = Exchange(Identity.of(scope["headers"]), scope)
        if self.observer.traces is None:
            await self._respond(exchange, receive, send)
        else:
            with self.observer.traces.request(exchange):
                await self._respond(exchange, receive, send)

    async def _respond(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        identity = exchange.identity

        def send_with_ids(message: Message) -> Awaitable[None]:
            if message["type"] in RESPONSE_STARTS:
                exchange.status = message.get("status", 101)
                message = {**message, "headers": [*message.get("headers", ()), *identity.headers, NOSNIFF]}
            return send(message)

        token = CURRENT.set(identity)
        try:
            await self.app(exchange.scope, receive, send_with_ids)
        except Exception:
            if exchange.status is None and exchange.scope["type"] == "http":
                await FAILURE(exchange.scope, receive, send_with_ids)
            raise  # the server logs it
        finally:
            CURRENT.reset(token)
            self.observer.exchanges.of[(exchange.status or "none",)] += 1
