"""Compression of all responses but those of the GraphQL endpoint, which compresses its JSON itself."""

from math import inf

from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware, GZipResponder, IdentityResponder
from starlette.types import Receive, Scope, Send

from gateway.http.negotiation import MIN_COMPRESSED, header, min_compressed


class Compression(GZipMiddleware):
    """Starlette's middleware, for clients that accept gzip by the weights in ``Accept-Encoding``."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        minimum, excluded = min_compressed(header(Headers(scope=scope), "accept-encoding")), self.exclude_content_types
        responder = IdentityResponder(self.app, MIN_COMPRESSED, exclude_content_types=excluded)
        if minimum != inf:
            responder = GZipResponder(self.app, int(minimum), self.compresslevel, exclude_content_types=excluded)
        await responder(scope, receive, send)
