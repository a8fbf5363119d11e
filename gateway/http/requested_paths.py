"""Paths of requests: the prefix of a proxy, the slash after `/graphql`, and requests to `/`."""

from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.execution.request import InvalidRequest
from gateway.http.responses import error_body

READING = ("GET", "HEAD", "OPTIONS")


class RequestedPaths:
    """ASGI middleware that removes ``root_path`` and the slash after `/graphql` from the path of a request.

    Browsers that open an address where the relative links of a page would lead elsewhere are redirected. GraphQL
    requests to `/` are told where to go. Redirects have no host, so the `Host` header of a request has no effect.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self.app, self.root_path = app, root_path
        self.missed = InvalidRequest(404, f"GraphQL requests go to {root_path}/graphql.")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] in ("http", "websocket") and scope["path"] != "/graphql":
            app = self._rewritten(scope) or app
        await app(scope, receive, send)

    def _rewritten(self, scope: Scope) -> ASGIApp | None:
        """Rewrite the path. Return a response that takes the place of the application's, if there is one."""
        path: str = scope["path"]
        if self.root_path and path == self.root_path:
            if scope.get("method") in READING:
                return RedirectResponse(f"{self.root_path}/", 308)
            path = "/"
        elif self.root_path and path.startswith(f"{self.root_path}/"):
            path = path.removeprefix(self.root_path)
        if path == "/graphql/":
            if scope.get("method") in READING and not scope["query_string"]:
                return RedirectResponse("../graphql", 308)
            path = "/graphql"
        scope["path"], scope["raw_path"] = path, path.encode()
        if path == "/" and scope["type"] == "http" and scope["method"] not in READING:
            return Response(error_body(self.missed), self.missed.status, media_type="application/json")
        return None
