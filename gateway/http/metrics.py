"""The Prometheus endpoint `/metrics`: on the port of the API or on one of its own."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.config.settings import SettingsError
from gateway.errors import Forbidden, Unauthenticated
from gateway.http.authentication import RequestAuthenticator, denied

logger = logging.getLogger("gateway.http")


class MetricsEndpoint:
    """The endpoint; with an ``authenticator`` only callers with the role ``admin`` may read it.

    ``exposition`` returns the metrics and their media type for a header ``Accept``.
    """

    def __init__(
        self,
        exposition: Callable[[str], Awaitable[tuple[bytes, str]]],
        authenticator: RequestAuthenticator | None = None,
    ) -> None:
        self.exposition, self.authenticator = exposition, authenticator
        self.route = Route("/metrics", self.handle)

    async def handle(self, request: Request) -> Response:
        try:
            if self.authenticator is not None:
                await self.authenticator.principal(request, "admin")
        except (Unauthenticated, Forbidden) as refusal:
            return denied(refusal)
        body, media_type = await self.exposition(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": media_type, "Cache-Control": "no-store"})


class _MetricsServer(uvicorn.Server):
    """A second server in the process; the first one handles signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def metrics_port(endpoint: MetricsEndpoint, host: str, port: int) -> AsyncIterator[None]:
    """Serve the endpoint on a port of its own, in the running loop. Raises `SettingsError` if it cannot
    listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # Workers share the port. During a reload, the new settings open it before the old ones close it.
        listener = socket.create_server((host, port), family=family, reuse_port=True)
    except (OSError, UnicodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise SettingsError((f"telemetry.metrics_port: cannot listen on {host}:{port}: {reason}",)) from None
    with listener:
        logger.info("Metrics are on port %d.", listener.getsockname()[1])
        app = Starlette(routes=[endpoint.route])
        headers = [("x-content-type-options", "nosniff")]
        server = _MetricsServer(
            uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none", headers=headers)
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield
        finally:
            server.should_exit = True
            await serving
