"""JWT bearer tokens. Sources: RFC 7519 (JSON Web Token), RFC 8725 (best current practices)."""

from collections.abc import Callable
from typing import Any, Final

import jwt

from gateway.auth.jwks import KeySet, key_set
from gateway.auth.principals import PATTERN, ROLES, Principal
from gateway.config.settings import AccessSettings, SettingsError
from gateway.errors import Unauthenticated

LONGEST: Final = 16_384
"""Characters of a token that is looked at."""

REQUIRED: Final = ("exp", "iss", "aud", "sub")


class Tokens:
    """Tokens of one issuer for one audience, signed with an allowed algorithm by one of the issuer's own keys."""

    def __init__(self, settings: AccessSettings, now: Callable[[], float]) -> None:
        names = ("issuer", "audience", "jwks")
        missing = [f"access.{name} is missing: tokens need it" for name in names if not getattr(settings, name)]
        if missing:
            raise SettingsError(tuple(missing))
        self.settings = settings
        self.keys: KeySet = key_set(settings.jwks, settings.algorithms, now)

    async def caller(self, token: str) -> Principal:
        """The holder of a token. Raises `Unauthenticated`."""
        if len(token) > LONGEST:
            raise Unauthenticated("the token is too long")
        try:
            header = jwt.get_unverified_header(token)
            algorithm, kid = header.get("alg"), header.get("kid")
            if algorithm not in self.settings.algorithms:
                raise Unauthenticated("the token's algorithm is not allowed")
            key = await self.keys.key(kid, algorithm)
            if key is None:
                raise Unauthenticated("the token's key is not the issuer's")
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self.settings.audience,
                issuer=self.settings.issuer,
                leeway=self.settings.leeway,
                options={"require": list(REQUIRED), "enforce_minimum_key_length": True},
            )
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise Unauthenticated(f"the token is refused: {type(error).__name__}") from None
        registries, roles = (
            texts(claims.get(name)) for name in (self.settings.registries_claim, self.settings.roles_claim)
        )
        known = frozenset(roles) & ROLES.keys()
        name = f"{claims['sub']} of {self.settings.issuer}"
        return Principal(name, tuple(filter(PATTERN.fullmatch, registries)), known)


def texts(claim: Any) -> list[str]:
    """The words of a claim: a list of texts, or one text with blanks between them (as OAuth's `scope`)."""
    words = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else []
    return [word for word in words if isinstance(word, str)]
