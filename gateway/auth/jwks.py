"""The public keys of an issuer of tokens, from a file or an address. Source: RFC 7517 (JSON Web Key).

The only address that is ever asked is the one in the settings: a token's own `jku`, `x5u` or `jwk` is not looked at.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial
from ipaddress import ip_address
from typing import Final, Protocol
from urllib.parse import urlsplit

import aiohttp
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from gateway.auth.watched_files import Watched
from gateway.config.settings import SettingsError
from gateway.upstream.http_session import BodyTooLarge, failure_cause, new_session, proxy_for, read_body

logger = logging.getLogger("gateway.auth")

LARGEST: Final = 1 << 18
"""Bytes of a set of keys that are read."""
SECONDS: Final = 5.0
"""Seconds that asking for it may take."""
FRESH: Final = 600.0
"""Seconds after which it is asked for again, while the old keys are used."""
PAUSE: Final = 30.0
"""Seconds between two requests for it, however many unknown keys tokens name."""

FAMILIES: Final = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}
"""What a key of each type can verify. Symmetric keys (`oct`) verify nothing: their holders could sign themselves."""
CURVES: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}
PUBLIC: Final = ("kty", "n", "e", "crv", "x", "y")

Keys = Mapping[tuple[str | None, str], PyJWK]
"""Public keys by their id (`kid`) and the one algorithm each is used with."""


class KeySet(Protocol):
    """Where the issuer's keys come from; ``look`` has them looked at again."""

    def look(self) -> None: ...

    async def key(self, kid: str | None, algorithm: str) -> PyJWK | None: ...


def key_set(place: str, algorithms: Collection[str], now: Callable[[], float]) -> KeySet:
    """The keys of a file or an address. Raises `SettingsError`."""
    read = partial(parse, algorithms=algorithms)
    if "://" not in place:
        return InFile(Watched(place, read, now))
    url = urlsplit(place)
    if url.scheme != "https" and not (url.scheme == "http" and on_loopback(url.hostname or "")):
        raise SettingsError(("access.jwks: must be a file or an https:// address (http:// on loopback only)",))
    return AtAddress(place, read, now)


def on_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def parse(content: bytes, algorithms: Collection[str]) -> Keys:
    """The keys of a JWK Set that can verify one of the algorithms. Raises ValueError when there is none."""
    document = json.loads(content)
    entries = document.get("keys") if isinstance(document, dict) else None
    found: dict[tuple[str | None, str], PyJWK] = {}
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        public = {name: entry[name] for name in PUBLIC if name in entry}
        for algorithm in FAMILIES.get(entry.get("kty", ""), ()):
            curve = CURVES.get(algorithm, entry.get("crv"))
            if algorithm in algorithms and entry.get("alg", algorithm) == algorithm and entry.get("crv") == curve:
                try:
                    found[entry.get("kid"), algorithm] = PyJWK(public, algorithm)
                except PyJWTError:
                    logger.warning("A key of the issuer cannot be used: %s", algorithm)
    if not found:
        raise ValueError(f"holds no public key for {', '.join(algorithms)}")
    return found


class InFile:
    """Keys of a file, which is read again when it changes."""

    def __init__(self, file: Watched[Keys]) -> None:
        self.file = file

    def look(self) -> None:
        self.file.look()

    async def key(self, kid: str | None, algorithm: str) -> PyJWK | None:
        return self.file.said.get((kid, algorithm))


class AtAddress:
    """Keys of an address: asked for when first needed, when an unknown key is named, and from time to time. The old
    ones are used while it does not answer."""

    def __init__(self, url: str, read: Callable[[bytes], Keys], now: Callable[[], float]) -> None:
        self.url, self.read, self.now = url, read, now
        self._keys: Keys = {}
        self._asked = float("-inf")
        self._flight: asyncio.Task[None] | None = None

    def look(self) -> None:
        self._asked = float("-inf")

    async def key(self, kid: str | None, algorithm: str) -> PyJWK | None:
        found = self._keys.get((kid, algorithm))
        since = self.now() - self._asked
        if self._flight is None and since >= (PAUSE if found is None else FRESH):
            self._asked = self.now()
            self._flight = asyncio.ensure_future(self._renew())
        if found is None and self._flight is not None:
            await asyncio.shield(self._flight)
            found = self._keys.get((kid, algorithm))
        return found

    async def _renew(self) -> None:
        try:
            self._keys = self.read(await fetch(self.url))
        except (aiohttp.ClientError, BodyTooLarge, OSError, ValueError) as error:
            # The error's text may contain the address and parts of the document.
            connecting = isinstance(error, aiohttp.ClientError | OSError)
            cause = (failure_cause(error) if connecting else None) or type(error).__name__
            logger.error("The issuer's keys cannot be fetched (%s). The gateway keeps using the previous ones.", cause)
        finally:
            self._flight = None


async def fetch(url: str) -> bytes:
    """Return the body of the response, directly or through the proxy of the environment. Redirects are not followed.

    Raises ValueError for a status other than 200, `BodyTooLarge` beyond `LARGEST` bytes, and aiohttp's errors.
    """
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with (
        new_session(keep_alive=False) as session,
        session.get(url, allow_redirects=False, timeout=timeout, proxy=proxy_for(url)) as response,
    ):
        body = await read_body(response, LARGEST)
        if response.status != 200:
            raise ValueError("not found")
        return body
