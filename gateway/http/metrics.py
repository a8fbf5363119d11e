"""The door for Prometheus: `/metrics`, beside the graph or on a port of its own."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.errors import Forbidden, Unauthenticated
from gateway.http.authentication import RequestAuthenticator, denied
from gateway.telemetry.metrics import Metrics

logger = logging.getLogger("gateway.http")


class MetricsEndpoint:
    """The endpoint; behind an ``entrance`` only callers with the role admin see it."""

    def __init__(self, metrics: Metrics, entrance: RequestAuthenticator | None = None) -> None:
        self.metrics, self.entrance = metrics, entrance
        self.route = Route("/metrics", self.answer)

    async def answer(self, request: Request) -> Response:
        try:
            if self.entrance is not None:
                await self.entrance.caller(request, "admin")
        except (Unauthenticated, Forbidden) as refusal:
            return denied(refusal)
        body, media_type = self.metrics.exposition(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": media_type, "Cache-Control": "no-store"})


class _Beside(uvicorn.Server):
    """A server beside another one, which is who hears the signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def metrics_port(door: MetricsEndpoint, host: str, port: int) -> AsyncIterator[None]:
    """The door on a port of its own, in the running loop. Raises OSError when it cannot listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # Settings that are read anew open the port before those of before close it.
        listener = socket.create_server((host, port), family=family, reuse_port=True)
    except OSError as error:
        logger.error("Cannot listen on %s:%s for metrics: %s", host, port, error.strerror)
        raise
    with listener:
        logger.info("Metrics are on port %d.", listener.getsockname()[1])
        app = Starlette(routes=[door.route])
        server = _Beside(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield
        finally:
            server.should_exit = True
            await serving
