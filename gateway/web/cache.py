"""What is kept, for operators: `GET /cache` shows it, `DELETE /cache` forgets it on every replica."""

import hmac

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.catalog.ids import parse
from gateway.errors import InvalidId


class CacheDoor:
    """The endpoint, open to holders of a bearer token.

    ``DELETE`` takes ``registry`` (all of its answers) or ``id`` (those that may tell of one object), or neither for
    all of this gateway's registries, and answers how many this process forgot.
    """

    def __init__(self, token: str) -> None:
        self.expected = f"Bearer {token}".encode()

    async def answer(self, request: Request) -> Response:
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), self.expected):
            return JSONResponse({"error": "A bearer token is needed."}, 401, {"WWW-Authenticate": "Bearer"})
        cache, registries = request.state.cache, request.state.registries
        if cache is None:
            return JSONResponse({"error": "Nothing is kept: the cache is not enabled."}, 404)
        if request.method == "GET":
            return JSONResponse(cache.stats())
        name, text = request.query_params.get("registry"), request.query_params.get("id")
        try:
            ref = None if text is None else parse(text)
        except InvalidId as error:
            return JSONResponse({"error": str(error)}, 400)
        names = list(registries) if ref is None and name is None else [name if ref is None else ref.registry]
        if any(one not in registries for one in names):
            return JSONResponse({"error": "There is no such registry."}, 400)
        prefixes = [prefix for one in names for prefix in registries[one].prefixes(ref)]
        return JSONResponse({"purged": sum([await cache.purge(prefix) for prefix in prefixes])})
