"""Is the gateway alive, and which registries answer."""

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from gateway.auth.principals import visible
from gateway.errors import Forbidden, Unauthenticated
from gateway.http.authentication import RequestAuthenticator, denied
from gateway.schema.schema import printed


async def healthz(request: Request) -> Response:
    """Alive: says nothing about registries."""
    return JSONResponse({"status": "ok"})


class HealthEndpoints:
    """Those that tell of what exists only what exists for whoever asks."""

    def __init__(self, entrance: RequestAuthenticator) -> None:
        self.entrance = entrance

    async def readyz(self, request: Request) -> Response:
        """Ready, and how each registry that the caller may read has been answering: degraded when the last call to
        some of them failed, and that lately; 503 only when it did so for each of them, or the gateway is about to
        stop. Who may not ask is told of all together."""
        registries = request.state.registries
        try:
            registries = visible(registries, await self.entrance.access.authenticate(request.headers))
            told = True
        except Unauthenticated:
            told = False
        states = {name: registry.health.state for name, registry in registries.items()}
        failing = sum(registry.health.failed_lately for registry in registries.values())
        status = "ok" if not failing else "down" if failing == len(states) else "degraded"
        if request.state.stopping.is_set():
            status = "stopping"
        said = {"status": status, **({"registries": states} if told else {})}
        return JSONResponse(said, 503 if status in ("down", "stopping") else 200)

    async def schema(self, request: Request) -> Response:
        """The schema in SDL."""
        try:
            await self.entrance.caller(request, "explain")
        except (Unauthenticated, Forbidden) as refusal:
            return denied(refusal)
        return PlainTextResponse(printed())
