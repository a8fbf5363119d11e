"""Every answer tells by what its request is known in the log and in traces: ``x-request-id`` and ``traceparent``."""

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.begun import Run
from gateway.http.heads import Plain
from gateway.http.prepared_requests import PreparedRequests
from gateway.http.responses import Head, HttpResponse, Written
from gateway.telemetry.observer import Observer
from gateway.telemetry.operation_log import Exchange
from gateway.telemetry.request_ids import CURRENT, Identity

logger = logging.getLogger("gateway.server")

FAILED: Final = HttpResponse(500, Head.of({b"content-type": b"text/plain; charset=utf-8"}), b"Internal Server Error")

CONNECTIONS: Final = frozenset({"http", "websocket"})
ANSWERS: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


class RequestIds:
    """An application within which every request and WebSocket has its `Identity`, also where it fails."""

    def __init__(self, app: ASGIApp, observer: Observer) -> None:
        self.app, self.observer = app, observer

    def short_way(self, plain: Plain, body: bytes) -> "Written | Run[Written] | None":
        """The answer to a request that goes the short way, at once or when it is there; None for all others."""
        if not isinstance(self.app, PreparedRequests) or self.observer.traces is not None:
            return None
        identity = Identity.of(plain.ids)
        token = CURRENT.set(identity)
        try:
            reply = self.app.answer(plain, body)
            if reply is None:
                return None
            if isinstance(reply, HttpResponse):
                return self._written(reply, identity)
            answer = Run(self._answered(reply, identity)).begin()
            return answer.result() if answer.done else answer
        except Exception:
            return self._failed(identity)
        finally:
            CURRENT.reset(token)

    async def _answered(self, reply: Coroutine[Any, Any, HttpResponse], identity: Identity) -> Written:
        try:
            return self._written(await reply, identity)
        except Exception:
            return self._failed(identity)
        except asyncio.CancelledError:
            self.observer.exchanges.add("none")
            raise

    def _written(self, reply: HttpResponse, identity: Identity) -> Written:
        status, head, body = reply
        self.observer.exchanges.of[status,] += 1
        return status, head.lines + f"content-length: {len(body)}\r\n{identity.lines}".encode(), body

    def _failed(self, identity: Identity) -> Written:
        """The answer where the gateway fails."""
        logger.exception("A request failed.")
        return self._written(FAILED, identity)

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
