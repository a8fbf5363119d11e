"""Public keys of the token issuer, from a file or a URL. Source: RFC 7517 (JSON Web Key).

Keys are only fetched from the URL in the settings. The header fields `jku`, `x5u` and `jwk` of a token are ignored.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial
from ipaddress import ip_address
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import aiohttp
from jwt import PyJWK

from gateway.config.settings import SettingsError
from gateway.config.urls import has_valid_host
from gateway.config.watched_files import WatchedFile
from gateway.errors import IssuerUnavailable
from gateway.upstream.http_session import BodyTooLarge, failure_cause, new_session, proxy_for, read_body
from gateway.upstream.json_documents import read_json

logger = logging.getLogger("gateway.auth")

MAX_BODY_BYTES: Final = 1 << 18
"""Largest response with a key set, in bytes."""
SECONDS: Final = 5.0
"""Timeout of a fetch, in seconds."""
REFRESH_AFTER: Final = 600.0
"""Seconds after which the key set is fetched again in the background."""
MIN_FETCH_INTERVAL: Final = 30.0
"""Seconds between two fetches, however many unknown keys the tokens name."""
RETRY_AFTER: Final = 5.0
"""Seconds between two fetches after one that failed."""

FAMILIES: Final = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}
"""Algorithms of each key type. Symmetric keys (`oct`) are left out: whoever can verify with one can also sign."""
CURVES: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}
PUBLIC_FIELDS: Final = ("kty", "n", "e", "crv", "x", "y")

Keys = Mapping[tuple[str | None, str], tuple[PyJWK, ...]]
"""Public keys by key id (`kid`) and algorithm. Several may have one id, or none."""


class UnusableKeySet(ValueError):
    """The document has no usable keys. The message gives operators the reason."""


class KeySet(Protocol):
    """The issuer's public keys. ``failing`` is true if the last attempt to fetch them failed."""

    failing: bool

    async def find(
        self, kid: str | None, algorithm: str, other_than: tuple[PyJWK, ...] | None = None
    ) -> tuple[PyJWK, ...]:
        """Return the keys that may have signed a token with an id and an algorithm, see `keys_for`.

        ``other_than`` are those that do not verify the token. Raises `IssuerUnavailable` if there are no keys because
        they cannot be fetched.
        """

    async def problem(self) -> str | None:
        """Fetch the keys, and return why that is not possible, for operators."""


def key_set(location: str, algorithms: Collection[str], now: Callable[[], float]) -> KeySet:
    """Return the key set in a file or at a URL. Raises `SettingsError` if the file or the URL cannot be used."""
    parse_keys = partial(parse, algorithms=algorithms)
    if "://" not in location:
        return FileKeySet(WatchedFile("access.jwks", location, parse_keys, now))
    if location.startswith(("http://", "https://")) and not has_valid_host(location):
        raise SettingsError(("access.jwks: the host or port of its URL is not valid",))
    url = urlsplit(location)
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.hostname or "")):
        raise SettingsError(("access.jwks: must be a file or an https:// URL (http:// on loopback only)",))
    proxy_for(location)
    return RemoteKeySet(location, parse_keys, now)


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def parse(content: bytes, algorithms: Collection[str]) -> Keys:
    """Return the keys of a JWK Set that can verify one of the algorithms. Raises ValueError if there is none."""
    document = read_json(content)
    entries = document.get("keys") if isinstance(document, dict) else None
    keys: dict[tuple[str | None, str], tuple[PyJWK, ...]] = {}
    for entry in entries if isinstance(entries, list) else ():
        try:
            for name, key in public_keys(entry, algorithms).items():
                keys[name] = (*keys.get(name, ()), key)
        except Exception as error:  # PyJWT and cryptography raise errors of many types for an invalid key
            logger.warning("The issuer's key set has an invalid key (%s), which is ignored.", type(error).__name__)
    if not keys:
        raise UnusableKeySet(f"holds no public key for {', '.join(algorithms)}")
    return keys


def keys_for(keys: Keys, kid: str | None, algorithm: str) -> tuple[PyJWK, ...]:
    """Return the keys with an id for an algorithm, else those without an id. Without an id, also the only one."""
    found = keys.get((kid, algorithm)) or keys.get((None, algorithm))
    if found is None and kid is None:
        ids = {known for known, _ in keys}
        found = keys.get((ids.pop(), algorithm)) if len(ids) == 1 else None
    return found or ()


def public_keys(entry: Any, algorithms: Collection[str]) -> dict[tuple[str | None, str], PyJWK]:
    """Return the public key of one entry, for each algorithm that it can verify. Raises errors of many types."""
    if entry.get("use", "sig") != "sig":
        return {}
    kid = entry.get("kid")
    if not isinstance(kid, str | None):
        raise TypeError("the key id is not text")
    public = {name: entry[name] for name in PUBLIC_FIELDS if name in entry}
    return {
        (kid, algorithm): PyJWK(public, algorithm)
        for algorithm in FAMILIES.get(entry.get("kty", ""), ())
        if algorithm in algorithms
        and entry.get("alg", algorithm) == algorithm
        and entry.get("crv") == CURVES.get(algorithm, entry.get("crv"))
    }


class FileKeySet:
    """Keys in a file, which is reloaded when it changes."""

    failing = False

    def __init__(self, file: WatchedFile[Keys]) -> None:
        self.file = file

    async def find(
        self, kid: str | None, algorithm: str, other_than: tuple[PyJWK, ...] | None = None
    ) -> tuple[PyJWK, ...]:
        keys = keys_for(self.file.content, kid, algorithm)
        return () if keys is other_than else keys

    async def problem(self) -> str | None:
        return None


class RemoteKeySet:
    """Keys at a URL, fetched on first use, when a token names an unknown key, and every `REFRESH_AFTER` seconds.

    If a fetch fails, the previous keys stay in use, and tokens with other keys cannot be verified.
    """

    def __init__(self, url: str, parse: Callable[[bytes], Keys], now: Callable[[], float]) -> None:
        self.url, self.parse, self.now = url, parse, now
        self._keys: Keys = {}
        self._fetched_at = float("-inf")
        self._refresh: asyncio.Task[None] | None = None
        self.failing = False

    async def find(
        self, kid: str | None, algorithm: str, other_than: tuple[PyJWK, ...] | None = None
    ) -> tuple[PyJWK, ...]:
        keys = self._known(kid, algorithm, other_than)
        if self._refresh is None and self._next_fetch_in(known=bool(keys)) <= 0:
            self._fetched_at = self.now()
            self._refresh = asyncio.create_task(self._fetch())
        if not keys and self._refresh is not None:
            await asyncio.shield(self._refresh)
            keys = self._known(kid, algorithm, other_than)
        if not keys and self.failing:
            raise IssuerUnavailable(max(1.0, self._next_fetch_in(known=False)))
        return keys

    def _known(self, kid: str | None, algorithm: str, other_than: tuple[PyJWK, ...] | None) -> tuple[PyJWK, ...]:
        keys = keys_for(self._keys, kid, algorithm)
        return () if keys is other_than else keys

    def _next_fetch_in(self, *, known: bool) -> float:
        """Return the seconds until the keys may be fetched again, for a token whose key is known or not."""
        interval = REFRESH_AFTER if known else RETRY_AFTER if self.failing else MIN_FETCH_INTERVAL
        return self._fetched_at + interval - self.now()

    async def _fetch(self) -> None:
        try:
            cause = await self.problem()
        finally:
            self._refresh = None
        if cause is not None:
            logger.error(
                "The issuer's keys (access.jwks) cannot be fetched (%s). The previous keys stay in use.", cause
            )

    async def problem(self) -> str | None:
        try:
            self._keys = self.parse(await fetch(self.url))
        except (aiohttp.ClientError, BodyTooLarge, OSError, UnusableKeySet, ValueError) as error:
            self.failing = True
            # The error's text may contain the address and parts of the document.
            if isinstance(error, UnusableKeySet):
                return str(error)
            connecting = isinstance(error, aiohttp.ClientError | OSError)
            return (failure_cause(error) if connecting else None) or type(error).__name__
        self.failing = False
        return None


async def fetch(url: str) -> bytes:
    """Return the body of the response, directly or through the proxy of the environment. Redirects are not followed.

    Raises `UnusableKeySet` for a status other than 200, `BodyTooLarge` beyond `MAX_BODY_BYTES` bytes, and the errors of
    aiohttp.
    """
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with (
        new_session(keep_alive=False) as session,
        session.get(url, allow_redirects=False, timeout=timeout, proxy=proxy_for(url)) as response,
    ):
        body = await read_body(response, MAX_BODY_BYTES)
        if response.status != 200:
            raise UnusableKeySet(f"status {response.status}")
        return body
