"""What crosses the wire to a registry, as values: an unsigned request, where it goes, and what was received."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from gateway.errors import RegistryError


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Scope:
    """One account of one product at its addresses: the digest of all that decides whose data an answer holds."""

    digest: str

    @classmethod
    def of(cls, *parts: str) -> "Scope":
        return cls(hashlib.blake2b("\n".join(parts).encode(), digest_size=12).hexdigest())

    def key(self, request: Request) -> "Key":
        """The key of a request's answer within this scope."""
        asked = orjson.dumps([request.service, request.method, request.path, request.query, request.body.decode()])
        return Key(self, request.call, hashlib.blake2b(asked, digest_size=16).hexdigest())


@dataclass(frozen=True, slots=True)
class Key:
    """Names one answer of one account."""

    scope: Scope
    call: str
    digest: str

    def __str__(self) -> str:
        return f"{self.scope.digest}:{self.call}:{self.digest}"


@dataclass(frozen=True, slots=True)
class Response:
    """What a registry answered; header names in lower case; ``document`` is the body decoded, None if not JSON."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    document: Any


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a registry's requests go, and its rules.

    ``scope`` is whose data it answers, ``timeout`` in seconds for one call, ``limit`` in bytes for one decoded answer;
    ``sign`` gives the headers for (request, host, now, nonce), ``check`` the error of a response.
    """

    registry: str
    scope: Scope
    addresses: Mapping[str, str]
    timeout: float
    limit: int
    sign: Callable[[Request, str, datetime, str], Mapping[str, str]]
    check: Callable[[Response], RegistryError | None]
