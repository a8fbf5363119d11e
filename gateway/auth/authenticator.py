"""Who is let in: from the headers of a request to its caller, and a line in the audit log for who is not."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Final

from gateway.auth import api_keys as keys
from gateway.auth.principals import PATTERN, ROLES, ROUTER, Principal
from gateway.auth.tokens import Tokens, texts
from gateway.auth.watched_files import Watched
from gateway.config.settings import AccessSettings, Secret, SettingsError
from gateway.errors import Forbidden, Unauthenticated

audit = logging.getLogger("gateway.audit")

REALM: Final = 'Bearer realm="gateway"'
"""What `WWW-Authenticate` says where a credential is needed (RFC 6750, section 3)."""

OPERATOR: Final = "cache.admin_token"


class Authenticator:
    """The door as the settings want it. Raises `SettingsError`.

    ``admin_token`` is a key for `/cache` alone; ``anyone`` are the roles of all where nobody is asked who they are;
    ``now`` gives seconds since 1970.
    """

    def __init__(
        self, settings: AccessSettings, admin_token: Secret, anyone: frozenset[str], now: Callable[[], float]
    ) -> None:
        ways = [name for name in ("keys", "issuer", "audience", "jwks") if getattr(settings, name)]
        if settings.mode == "callers" and not ways:
            raise SettingsError(("access.mode: callers needs access.keys, or access.issuer, audience and jwks",))
        if settings.mode != "callers" and ways:
            raise SettingsError(tuple(f'access.{name}: needs access.mode = "callers"' for name in ways))
        self.asks = settings.mode == "callers"
        self.anyone = Principal("anyone", ("*",), anyone)
        self.now = now
        self.entries = Watched(settings.keys, keys.parse, now) if settings.keys else None
        self.tokens = Tokens(settings, now) if ways and ways != ["keys"] else None
        self.operator: keys.Entry | None = None
        if admin_token:
            caller = Principal(OPERATOR, ("*",), frozenset({"admin"}))
            self.operator = keys.Entry(keys.digest(admin_token.reveal()), caller, None)

    @property
    def knows_admins(self) -> bool:
        """Whether anybody can have the role ``admin``."""
        return self.asks or self.operator is not None

    async def caller(self, headers: Mapping[str, str]) -> Principal:
        """Who asks. ``headers`` have names in lower case, or are found by those.

        Raises `Unauthenticated` without a credential that is accepted.
        """
        bearer = bearer_of(headers.get("authorization", ""))
        key = headers.get("x-api-key")
        credential = bearer or key
        if self.operator is not None and credential and keys.find([self.operator], credential):
            return self.operator.caller
        if not self.asks:
            return self.anyone
        if bearer and key:
            raise Unauthenticated("two credentials in one request")
        if not credential:
            raise Unauthenticated("no credential")
        if keys.KEY.fullmatch(credential):
            return self._holder(credential, headers)
        if bearer and self.tokens is not None:
            return await self.tokens.caller(bearer)
        raise Unauthenticated("what is neither a key nor a token")

    def reload(self) -> None:
        """Take up at once what has changed in the files and at the issuer."""
        if self.entries is not None:
            self.entries.look()
        if self.tokens is not None:
            self.tokens.keys.look()

    def _holder(self, key: str, headers: Mapping[str, str]) -> Principal:
        """The caller of a key; a router's key must come with whom it asks for."""
        entry = keys.find(self.entries.said if self.entries else (), key)
        if entry is None:
            raise Unauthenticated("an unknown key")
        if entry.expires is not None and entry.expires <= self.now():
            raise Unauthenticated(f"a key of {entry.caller.name} that has expired")
        if ROUTER not in entry.caller.roles:
            return entry.caller
        registries, roles = headers.get("x-gateway-registries"), headers.get("x-gateway-roles")
        if registries is None or roles is None:
            raise Unauthenticated(f"the router {entry.caller.name} does not say for whom it asks")
        name = headers.get("x-gateway-caller") or "somebody"
        patterns = tuple(filter(PATTERN.fullmatch, texts(registries)))
        shared = frozenset(texts(roles)) & entry.caller.roles & ROLES.keys()
        return Principal(f"{name} through {entry.caller.name}", patterns, shared, entry.caller.registries)


def bearer_of(authorization: str) -> str | None:
    """The credential of an `Authorization` header of the scheme Bearer."""
    scheme, _, credential = authorization.partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else None


def note(refusal: Unauthenticated | Forbidden, caller: str | None, remote: str, path: str) -> None:
    """One line of the audit log for a request that was denied; it never holds a credential."""
    reason = refusal.reason if isinstance(refusal, Unauthenticated) else str(refusal)
    said = {"denied": refusal.code, "reason": reason, "caller": caller, "remote": remote, "path": path[:200]}
    audit.warning("%s", json.dumps(said))
