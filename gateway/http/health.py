"""Health endpoints: liveness, readiness and the schema."""

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from gateway.auth.principals import visible
from gateway.errors import Forbidden, Unauthenticated
from gateway.http.authentication import RequestAuthenticator, denied
from gateway.schema.schema import print_sdl


async def healthz(request: Request) -> Response:
    """Liveness: 200 while the process runs, independent of the registries."""
    return JSONResponse({"status": "ok"})


class HealthEndpoints:
    """Endpoints whose responses show only the registries that the caller may read."""

    def __init__(self, authenticator: RequestAuthenticator) -> None:
        self.authenticator = authenticator

    async def readyz(self, request: Request) -> Response:
        """Readiness, with the state of each registry that the caller may read.

        ``degraded``: the last call to a registry failed, or the issuer's keys could not be fetched. The gateway is
        ready then, too, even if all registries fail: it serves cached answers, or reports which registry fails.
        ``stopping`` (503): the gateway is about to stop. A caller without a valid credential gets the status alone, for
        all registries.
        """
        registries = request.state.registries
        try:
            registries = visible(registries, await self.authenticator.authenticator.authenticate(request.headers))
            authenticated = True
        except Unauthenticated:
            authenticated = False
        states = {name: registry.health.state for name, registry in registries.items()}
        status = "ok"
        if request.state.stopping.is_set():
            status = "stopping"
        elif "UNAVAILABLE" in states.values() or self.authenticator.authenticator.issuer_unavailable:
            status = "degraded"
        body = {"status": status, **({"registries": states} if authenticated else {})}
        return JSONResponse(body, 503 if status == "stopping" else 200)

    async def schema(self, request: Request) -> Response:
        """The schema in SDL."""
        try:
            await self.authenticator.principal(request, "explain")
        except (Unauthenticated, Forbidden) as refusal:
            return denied(refusal)
        return PlainTextResponse(print_sdl())
