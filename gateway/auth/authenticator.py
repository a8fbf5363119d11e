"""Authentication of requests by API key or bearer token, and the audit log of denied requests."""

import logging
from collections.abc import Callable, Mapping
from typing import Final

from gateway.auth import api_keys
from gateway.auth.principals import PATTERN, ROLE, ROUTER, Principal
from gateway.auth.tokens import TokenVerifier, split_words
from gateway.config.settings import AccessSettings, Secret, SettingsError
from gateway.config.watched_files import WatchedFile
from gateway.errors import Forbidden, Unauthenticated

audit = logging.getLogger("gateway.audit")

REALM: Final = 'Bearer realm="gateway"'
"""Value of `WWW-Authenticate` for requests without a valid credential (RFC 6750, section 3)."""

ADMIN_TOKEN: Final = "cache.admin_token"  # noqa: S105 - the name of the caller in the audit log


HEADERS: Final = frozenset(
    {"authorization", "x-api-key", "x-gateway-registries", "x-gateway-roles", "x-gateway-caller"}
)
"""The headers that authenticate a caller."""


class Authenticator:
    """Finds the caller of each request from its headers.

    ``admin_token`` is a bearer token for `/cache` alone. ``anonymous_roles`` are the roles of every caller if
    authentication is not required. ``now`` returns seconds since 1970.

    Raises `SettingsError` for settings that contradict each other, and for a file that cannot be used.
    """

    def __init__(
        self, settings: AccessSettings, admin_token: Secret, anonymous_roles: frozenset[str], now: Callable[[], float]
    ) -> None:
        methods = [name for name in ("keys", "issuer", "audience", "jwks") if getattr(settings, name)]
        if settings.mode == "callers" and not methods:
            raise SettingsError(("access.mode: callers needs access.keys, or access.issuer, audience and jwks",))
        if settings.mode != "callers" and methods:
            raise SettingsError(tuple(f'access.{name}: needs access.mode = "callers"' for name in methods))
        self.required = settings.mode == "callers"
        self.anonymous = Principal("anyone", ("*",), anonymous_roles)
        self.now = now
        self.keys = WatchedFile("access.keys", settings.keys, api_keys.parse, now) if settings.keys else None
        self.tokens = TokenVerifier(settings, now) if methods and methods != ["keys"] else None
        self.admin_key: api_keys.ApiKey | None = None
        if admin_token:
            caller = Principal(ADMIN_TOKEN, ("*",), frozenset({"admin"}))
            self.admin_key = api_keys.ApiKey(api_keys.digest(admin_token.reveal()), caller, None)

    @property
    def admits_admins(self) -> bool:
        """Whether any caller can have the role ``admin``."""
        return self.required or self.admin_key is not None

    @property
    def issuer_unavailable(self) -> bool:
        """Whether the last fetch of the issuer's keys failed."""
        return self.tokens is not None and self.tokens.keys.failing

    async def authenticate(self, headers: Mapping[str, str]) -> Principal:
        """Return the caller of a request. Names of ``headers`` are in lower case, or their lookup ignores case.

        Raises `Unauthenticated` if authentication is required and the request has no valid credential, and
        `IssuerUnavailable` for a token that cannot be verified.
        """
        if not self.required and self.admin_key is None:
            return self.anonymous
        bearer = bearer_credential(headers.get("authorization", ""))
        key = headers.get("x-api-key")
        credential = bearer or key
        if self.admin_key is not None and credential and api_keys.find([self.admin_key], credential):
            return self.admin_key.caller
        if not self.required:
            return self.anonymous
        if bearer and key:
            raise Unauthenticated("two credentials in one request")
        if not credential:
            raise Unauthenticated("no credential")
        if api_keys.KEY_FORMAT.fullmatch(credential):
            return self._caller_of_key(credential, headers)
        if bearer and self.tokens is not None:
            return await self.tokens.verify(bearer)
        raise Unauthenticated("the credential is neither an API key nor a token")

    def _caller_of_key(self, key: str, headers: Mapping[str, str]) -> Principal:
        """Return the caller of a key. For a router's key, return the caller that the router names in its headers."""
        stored = api_keys.find(self.keys.content if self.keys else (), key)
        if stored is None:
            raise Unauthenticated("the API key is unknown")
        if stored.expires is not None and stored.expires <= self.now():
            raise Unauthenticated(f"the API key of {stored.caller.name} has expired")
        if ROUTER not in stored.caller.roles:
            return stored.caller
        registries, roles = headers.get("x-gateway-registries"), headers.get("x-gateway-roles")
        if registries is None or roles is None:
            raise Unauthenticated(
                f"the router {stored.caller.name} sent no X-Gateway-Registries or X-Gateway-Roles header"
            )
        name = headers.get("x-gateway-caller") or "somebody"
        patterns = tuple(filter(PATTERN.fullmatch, split_words(registries)))
        shared_roles = frozenset(role for role in filter(ROLE.fullmatch, split_words(roles)) if stored.caller.has(role))
        return Principal(f"{name} through {stored.caller.name}", patterns, shared_roles, stored.caller.registries)


def bearer_credential(authorization: str) -> str | None:
    """Return the credential of an `Authorization` header with the scheme Bearer, else None."""
    scheme, _, credential = authorization.partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else None


def log_denial(error: Unauthenticated | Forbidden, caller: str | None, remote: str, path: str) -> None:
    """Write a denied request to the audit log, without its credential."""
    reason = error.reason if isinstance(error, Unauthenticated) else str(error)
    entry = {"denied": error.code, "reason": reason, "caller": caller, "remote": remote, "path": path[:200]}
    audit.warning("request denied", extra={"fields": entry})
