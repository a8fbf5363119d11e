"""JWT bearer tokens. Sources: RFC 7519 (JSON Web Token), RFC 8725 (best current practices)."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import jwt

from gateway.auth.jwks import KeySet, key_set
from gateway.auth.principals import PATTERN, ROLE, Principal
from gateway.config.settings import AccessSettings, SettingsError
from gateway.errors import Unauthenticated
from gateway.upstream.json_documents import clean_text

MAX_TOKEN_CHARACTERS: Final = 16_384

REQUIRED_CLAIMS: Final = ("exp", "iss", "aud", "sub")


class TokenVerifier:
    """Verifies tokens of one issuer for one audience. Raises `SettingsError` if a setting is missing or invalid.

    ``now`` returns seconds since 1970.
    """

    def __init__(self, settings: AccessSettings, now: Callable[[], float]) -> None:
        names = ("issuer", "audience", "jwks")
        missing = [f"access.{name} is missing: tokens need it" for name in names if not getattr(settings, name)]
        if missing:
            raise SettingsError(tuple(missing))
        self.settings = settings
        self.keys: KeySet = key_set(settings.jwks, settings.algorithms, now)

    async def verify(self, token: str) -> Principal:
        """Return the caller that a token names.

        Raises `Unauthenticated` if the token is invalid, and `IssuerUnavailable` if that cannot be decided.
        """
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise Unauthenticated("the token is too long")
        try:
            header = jwt.get_unverified_header(token)
            algorithm, kid = header.get("alg"), header.get("kid")
            if algorithm not in self.settings.algorithms:
                raise Unauthenticated("the token's algorithm is not allowed")
            claims = await self._claims(token, kid, algorithm)
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise Unauthenticated(f"the token is invalid: {type(error).__name__}") from None
        registries, roles = (
            split_words(claim_value(claims, name))
            for name in (self.settings.registries_claim, self.settings.roles_claim)
        )
        known = frozenset(filter(ROLE.fullmatch, roles))
        name = clean_text(f"{claims['sub']} of {self.settings.issuer}")
        return Principal(name, tuple(filter(PATTERN.fullmatch, registries)), known)

    async def _claims(self, token: str, kid: str | None, algorithm: str) -> dict[str, Any]:
        """Return the claims of a token, after verifying its signature and them. Raises PyJWT's errors, too.

        If no key verifies it, the issuer may have replaced them, with the same id or without any.
        """
        keys = await self.keys.find(kid, algorithm)
        try:
            return self._verified(token, keys, algorithm)
        except jwt.InvalidSignatureError:
            newer = await self.keys.find(kid, algorithm, other_than=keys)
            if not newer:
                raise
            return self._verified(token, newer, algorithm)

    def _verified(self, token: str, keys: tuple[jwt.PyJWK, ...], algorithm: str) -> dict[str, Any]:
        """Return the claims of a token that one of the keys verifies."""
        if not keys:
            raise Unauthenticated("the token is signed with a key that the issuer does not publish")
        for key in keys[:-1]:
            with suppress(jwt.InvalidSignatureError):
                return self._decoded(token, key, algorithm)
        return self._decoded(token, keys[-1], algorithm)

    def _decoded(self, token: str, key: jwt.PyJWK, algorithm: str) -> dict[str, Any]:
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=self.settings.audience,
            issuer=self.settings.issuer,
            leeway=self.settings.leeway,
            options={"require": list(REQUIRED_CLAIMS), "enforce_minimum_key_length": True},
        )


def claim_value(claims: dict[str, Any], name: str) -> Any:
    """Return the value of a claim by its name, or by its path inside other claims, separated by dots. None without."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def split_words(claim: Any) -> list[str]:
    """Return the words of a claim: a list of texts, or one text separated by spaces, like OAuth's `scope`."""
    if isinstance(claim, str):
        return claim.split()
    return [word for word in claim if isinstance(word, str)] if isinstance(claim, list) else []
