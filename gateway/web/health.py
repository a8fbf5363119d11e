"""Is the gateway alive, and which registries answer."""

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from gateway.graph.schema import printed


async def healthz(request: Request) -> Response:
    """Alive: says nothing about registries."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Ready, and how each registry has been answering; 503 only when every registry's last call failed."""
    states = {name: registry.health.state for name, registry in request.state.registries.items()}
    down = bool(states) and all(state == "UNAVAILABLE" for state in states.values())
    return JSONResponse({"status": "down" if down else "ok", "registries": states}, 503 if down else 200)


async def schema(request: Request) -> Response:
    """The schema in SDL."""
    return PlainTextResponse(printed())
