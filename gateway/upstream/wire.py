"""What crosses the wire to a registry, as values: an unsigned request, where it goes, and what was received."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.errors import RegistryError


@dataclass(frozen=True, slots=True)
class Request:
    """One unsigned call: everything but host, credentials and time.

    ``service`` names which of the registry's addresses it goes to; ``path`` is percent-encoded, ``query`` is not.
    """

    call: str
    service: str
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """What a registry answered; header names in lower case; ``document`` is the body decoded, None if not JSON."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    document: Any


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a registry's requests go, and its rules: ``timeout`` in seconds for one call, ``limit`` in bytes for one
    decoded answer; ``sign`` gives the headers for (request, host, now, nonce), ``check`` the error of a response."""

    registry: str
    addresses: Mapping[str, str]
    timeout: float
    limit: int
    sign: Callable[[Request, str, datetime, str], Mapping[str, str]]
    check: Callable[[Response], RegistryError | None]
