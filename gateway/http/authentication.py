"""Authentication of requests, for every transport: from headers to a principal and a request context."""

import math
from collections.abc import Hashable, Mapping
from typing import Final

from cachetools import LRUCache
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response

from gateway.auth.authenticator import REALM, Authenticator, log_denial
from gateway.auth.principals import Principal, visible
from gateway.catalog.registry import Registry
from gateway.errors import Forbidden, IssuerUnavailable, Unauthenticated
from gateway.execution.request import InvalidRequest
from gateway.execution.request_context import RequestContext
from gateway.http.caching_headers import requested_freshness
from gateway.http.negotiation import header
from gateway.http.responses import STATUSES
from gateway.upstream.caching_client import ANY

CACHED_CALLERS: Final = 1_000
"""The number of different patterns of registries whose registries are cached."""

Registries = Mapping[str, Registry]


class RequestAuthenticator:
    """Authenticates requests, and writes refusals to the audit log.

    Without ``anonymous_directives``, the ``Cache-Control`` of callers without a name is ignored.
    """

    def __init__(self, authenticator: Authenticator, anonymous_directives: bool = True) -> None:
        self.authenticator, self.anonymous_directives = authenticator, anonymous_directives
        self._visible: LRUCache[Hashable, tuple[Registries, Registries]] = LRUCache(CACHED_CALLERS)

    def visible(self, registries: Registries, caller: Principal) -> Registries:
        """Return the registries that a caller may read, computed once for callers with the same patterns."""
        patterns = caller.registries, caller.router_registries
        cached = self._visible.get(patterns)
        if cached is None or cached[0] is not registries:
            cached = self._visible[patterns] = registries, visible(registries, caller)
        return cached[1]

    async def caller(self, connection: HTTPConnection, headers: Mapping[str, str] | None = None) -> Principal:
        """Return the caller, with any role. ``headers`` replace those of the connection. Raises `Unauthenticated`."""
        try:
            return await self.authenticator.authenticate(connection.headers if headers is None else headers)
        except Unauthenticated as refusal:
            log_denial(refusal, None, *address(connection))
            raise

    def require(self, role: str, principal: Principal, connection: HTTPConnection) -> None:
        """Check that a caller has a role. Raises `Unauthenticated` for an anonymous caller, else `Forbidden`."""
        try:
            if principal is self.authenticator.anonymous and not principal.has(role):
                raise Unauthenticated(f"an anonymous request, without the role {role}")
            principal.require(role)
        except (Unauthenticated, Forbidden) as refusal:
            log_denial(refusal, principal.name, *address(connection))
            raise

    async def principal(
        self, connection: HTTPConnection, role: str, headers: Mapping[str, str] | None = None
    ) -> Principal:
        """Return the caller, after checking its role. ``headers`` replace those of the connection.

        Raises `Unauthenticated` and `Forbidden`.
        """
        principal = await self.caller(connection, headers)
        self.require(role, principal, connection)
        return principal

    async def context(self, connection: HTTPConnection, headers: Mapping[str, str] | None = None) -> RequestContext:
        """Return the context of a request by a caller with the role ``read``, with the registries that it may read.

        Raises `Unauthenticated`, `Forbidden` and `InvalidRequest`.
        """
        return self.context_of(await self.principal(connection, "read", headers), connection)

    def context_of(self, principal: Principal, connection: HTTPConnection) -> RequestContext:
        """Return the context of a request by a caller whose roles were checked. Raises `InvalidRequest`."""
        state, headers, remote = connection.scope["state"], connection.headers, address(connection)
        honoured = self.authenticator.required or self.anonymous_directives
        return RequestContext(
            self.visible(state["registries"], principal),
            state["bounds"],
            requested_freshness(header(headers, "cache-control")) if honoured else ANY,
            principal.roles,
            principal.name if self.authenticator.required else None,
            lambda refusal: log_denial(refusal, principal.name, *remote),
            requested_plan(headers.get("x-gateway-plan")),
            requests_tags(headers.get("x-gateway-cache-tags")),
        )


def requested_plan(header: str | None) -> str | None:
    """Return the value of ``X-Gateway-Plan``. Raises `InvalidRequest`."""
    if header not in (None, "only", "include"):
        raise InvalidRequest(400, "`x-gateway-plan` must be `only` or `include`.")
    return header


def requests_tags(header: str | None) -> bool:
    """Whether ``X-Gateway-Cache-Tags`` requests the cache tags in the response. Raises `InvalidRequest`."""
    if header not in (None, "include"):
        raise InvalidRequest(400, "`x-gateway-cache-tags` must be `include`.")
    return header is not None


def address(connection: HTTPConnection) -> tuple[str, str]:
    """Return the client's address and the requested path."""
    client = connection.scope.get("client")
    return client[0] if client else "", connection.scope["path"]


def denial_headers(refusal: Unauthenticated | Forbidden) -> dict[str, str]:
    """Return ``WWW-Authenticate`` for credentials that are not valid, ``Retry-After`` if that cannot be decided."""
    if isinstance(refusal, IssuerUnavailable):
        return {"Retry-After": str(math.ceil(refusal.retry_after))}
    return {"WWW-Authenticate": REALM} if isinstance(refusal, Unauthenticated) else {}


def denied(refusal: Unauthenticated | Forbidden) -> Response:
    """Return the response of endpoints other than GraphQL to a denied request."""
    return JSONResponse({"error": str(refusal)}, STATUSES[refusal.code], denial_headers(refusal))
