"""What crosses the wire to a registry, as values: an unsigned request, where it goes, and what was received."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import orjson

from gateway.config.settings import Credentials
from gateway.errors import RegistryError


@dataclass(frozen=True)
class Request:
    """One unsigned call: everything but host, credentials and time.

    ``service`` names which of the registry's addresses it goes to; ``path`` is percent-encoded, ``query`` is not;
    ``promise`` tells an answer that holds what it must.
    """

    call: str
    service: str
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    promise: Callable[[Any], bool] = field(default=lambda document: True, compare=False, repr=False)

    @cached_property
    def digest(self) -> str:
        """Tells it from every other request of the same call."""
        asked = orjson.dumps([self.service, self.method, self.path, self.query, self.body.decode()])
        return hashlib.blake2b(asked, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Scope:
    """One account of one product at its addresses: the digest of all that decides whose data an answer holds."""

    digest: str

    @classmethod
    def of(cls, *parts: str) -> "Scope":
        return cls(hashlib.blake2b("\n".join(parts).encode(), digest_size=12).hexdigest())

    def key(self, request: Request) -> "Key":
        """The key of a request's answer within this scope."""
        digest = request.digest
        return Key(self, request.call, digest, f"{self.digest}:{request.call}:{digest}")


class Key(NamedTuple):
    """Names one answer of one account; ``text`` says all of it."""

    scope: Scope
    call: str
    digest: str
    text: str

    def __str__(self) -> str:
        return self.text


class Response(NamedTuple):
    """What a registry answered; header names in lower case; ``document`` is the body decoded, None if not JSON."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    document: Any


class CredentialProvider(Protocol):
    """Where the credentials of a registry come from."""

    async def current(self) -> Credentials:
        """Those to sign with now. Raises `RegistryKeyless`."""

    async def renewed(self, used: Credentials) -> bool:
        """Whether there are others than those which a registry did not accept."""


@dataclass(frozen=True, slots=True)
class StaticCredentials:
    """Credentials that stand in the settings."""

    credentials: Credentials

    async def current(self) -> Credentials:
        return self.credentials

    async def renewed(self, used: Credentials) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a registry's requests go, and its rules.

    ``scope`` is whose data it answers, ``timeout`` in seconds for one call, ``limit`` in bytes for one decoded answer;
    ``sign`` gives the headers for (request, host, credentials, now, nonce), ``check`` the error of a response,
    ``keyring`` the credentials.
    """

    registry: str
    scope: Scope
    addresses: Mapping[str, str]
    timeout: float
    limit: int
    sign: Callable[[Request, str, Credentials, datetime, str], Mapping[str, str]]
    check: Callable[[Response], RegistryError | None]
    keyring: CredentialProvider
