"""Dispatch of HTTP requests by exact path, before Starlette's router and middleware."""

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send


class Dispatcher:
    """Sends HTTP requests for the paths of ``endpoints`` to their ASGI applications, and all others to ``app``."""

    def __init__(self, endpoints: Mapping[str, ASGIApp], app: ASGIApp) -> None:
        self.endpoints, self.app = endpoints, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self.endpoints.get(scope["path"]) if scope["type"] == "http" else None
        if endpoint is None:
            await self.app(scope, receive, send)
        else:
            scope["endpoint"] = endpoint  # as a route does
            await endpoint(scope, receive, send)
