"""The way in, for every transport: who asks, and what exists for them."""

from collections.abc import Mapping

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response

from gateway.auth.authenticator import REALM, Authenticator, log_denial
from gateway.auth.principals import Principal, visible
from gateway.errors import Forbidden, Unauthenticated
from gateway.execution.request_context import RequestContext
from gateway.http import caching_headers as freshness
from gateway.http.requests import InvalidRequest

STATUSES = {Unauthenticated.code: 401, Forbidden.code: 403}


class RequestAuthenticator:
    """Lets callers in, each with a scene of their own, and notes who is not let in."""

    def __init__(self, access: Authenticator) -> None:
        self.access = access

    async def caller(
        self, connection: HTTPConnection, role: str, headers: Mapping[str, str] | None = None
    ) -> Principal:
        """Who asks, with a role; by the connection's own headers, or by others that came over it.

        Raises `Unauthenticated` and `Forbidden`, which are in the audit log then.
        """
        caller = None
        try:
            caller = await self.access.authenticate(connection.headers if headers is None else headers)
            if caller is self.access.anonymous and role not in caller.roles:
                raise Unauthenticated(f"nobody in particular, without the role {role}")
            caller.require(role)
        except (Unauthenticated, Forbidden) as refusal:
            log_denial(refusal, None if caller is None else caller.name, *whence(connection))
            raise
        return caller

    async def scene(self, connection: HTTPConnection, headers: Mapping[str, str] | None = None) -> RequestContext:
        """The scene of whoever asks: what they may not read is not in it. Raises as `caller` does."""
        caller = await self.caller(connection, "read", headers)
        state, address = connection.state, whence(connection)
        return RequestContext(
            visible(state.registries, caller),
            state.bounds,
            freshness.wanted(connection.headers.get("cache-control")),
            caller.roles,
            caller.name if self.access.required else None,
            lambda refusal: log_denial(refusal, caller.name, *address),
            planned(connection.headers.get("x-gateway-plan")),
        )


def planned(header: str | None) -> str | None:
    """Whether the plan is asked for. Raises `InvalidRequest`."""
    if header not in (None, "only", "include"):
        raise InvalidRequest(400, "`x-gateway-plan` must be `only` or `include`.")
    return header


def whence(connection: HTTPConnection) -> tuple[str, str]:
    """The address that a request came from, and the path that it asks for."""
    return connection.client.host if connection.client else "", connection.scope["path"]


def challenge(refusal: Unauthenticated | Forbidden) -> dict[str, str]:
    """The headers of a refusal: where a credential is needed, which kind."""
    return {"WWW-Authenticate": REALM} if isinstance(refusal, Unauthenticated) else {}


def denied(refusal: Unauthenticated | Forbidden) -> Response:
    """The answer of doors that do not speak GraphQL."""
    return JSONResponse({"error": str(refusal)}, STATUSES[refusal.code], challenge(refusal))
