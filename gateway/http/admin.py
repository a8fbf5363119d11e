"""Cache administration: `GET /cache` shows statistics, `DELETE /cache` purges entries on every replica."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.catalog.cache_tags import purge_tags
from gateway.catalog.ids import parse
from gateway.errors import Forbidden, InvalidId, Unauthenticated
from gateway.http.authentication import RequestAuthenticator, denied


class CacheEndpoint:
    """The endpoint for callers with the role ``admin``.

    ``DELETE`` takes ``registry`` (all its entries) or ``id`` (entries that can contain one object); without either it
    purges all registries of this gateway. The response has the number of entries that this process purged, and the
    cache tags by which caches in front of the gateway purge the same.
    """

    def __init__(self, authenticator: RequestAuthenticator) -> None:
        self.authenticator = authenticator

    async def handle(self, request: Request) -> Response:
        try:
            await self.authenticator.principal(request, "admin")
        except (Unauthenticated, Forbidden) as refusal:
            return denied(refusal)
        cache, registries = request.state.cache, request.state.registries
        if cache is None:
            return JSONResponse({"error": "The cache is not enabled."}, 404)
        if request.method == "GET":
            return JSONResponse({**cache.stats(), "memory": request.state.budget.sizes()})
        name, text = request.query_params.get("registry"), request.query_params.get("id")
        try:
            ref = None if text is None else parse(text)
        except InvalidId as error:
            return JSONResponse({"error": str(error)}, 400)
        names = list(registries) if ref is None and name is None else [name if ref is None else ref.registry]
        if any(name not in registries for name in names):
            return JSONResponse({"error": "There is no such registry."}, 400)
        prefixes = [prefix for name in names for prefix in registries[name].cache_prefixes(ref)]
        tags = [tag for name in names for tag in purge_tags(registries[name].name, ref)]
        return JSONResponse({"purged": sum([await cache.purge(prefix) for prefix in prefixes]), "tags": tags})
