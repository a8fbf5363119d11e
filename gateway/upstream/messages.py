"""Requests to registries, their destinations, and the responses, as plain values."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from ssl import SSLContext
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import orjson

from gateway.config.settings import Credentials, Quota, QuotaSettings
from gateway.errors import RegistryError
from gateway.upstream.url_encoding import length


@dataclass(frozen=True)
class Request:
    """One unsigned request, without host, credentials and time.

    ``service`` names the endpoint of the registry. ``path`` is percent-encoded, ``query`` is not. ``validator`` returns
    whether a JSON document is a complete answer to the request; some registries send errors that look like success.
    ``always_exists`` is true for calls that only list: "no such object" is no answer to them. ``region`` is that of the
    signature, for signatures that are valid in one region. The document has the ``response_headers``, in lower case.
    """

    call: str
    service: str
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    validator: Callable[[Any], bool] = field(default=lambda document: True, compare=False, repr=False)
    always_exists: bool = field(default=False, compare=False, repr=False)
    region: str = ""
    response_headers: tuple[str, ...] = ()

    def document(self, response: "Response") -> dict[str, Any] | None:
        """Return the JSON document of a response as the kind's tables read it.

        None if the body has none, or is a list although the request expects an object.
        """
        headers = None
        if self.response_headers:
            sent = combined_headers(response.headers)
            headers = {name: sent[name] for name in self.response_headers if name in sent}
        document = document_of(response.document, headers)
        return document if not isinstance(response.document, list) or self.validator(document) else None

    def accepts(self, document: Any) -> bool:
        """Return whether a document, or None for "no such object", is a complete answer to the request."""
        return not self.always_exists if document is None else self.validator(document)

    @cached_property
    def length(self) -> int:
        """The number of characters and bytes that callers may choose: in the path, the query and the body."""
        return len(self.path) + length(self.query) + len(self.body)

    @cached_property
    def digest(self) -> str:
        """Hash that differs for any two requests of one call."""
        parts = [self.service, self.method, self.path, self.query, self.body.decode()]
        content = orjson.dumps([*parts, self.response_headers] if self.response_headers else parts)
        return hashlib.blake2b(content, digest_size=16).hexdigest()


def combined_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers by their names in lower case. The values of a repeated one are joined (RFC 9110, 5.3)."""
    combined: dict[str, str] = {}
    for name, value in headers.items():
        name = name.lower()
        combined[name] = f"{combined[name]}, {value}" if name in combined else value
    return combined


def document_of(body: Any, headers: Mapping[str, str] | None = None) -> dict[str, Any] | None:
    """Return the document of a JSON body: an object as it is, a list as the ``body`` of an object.

    With ``headers``, the document is an object of both. None for other bodies.
    """
    if headers is None and isinstance(body, dict):
        return body
    if not isinstance(body, dict | list):
        return None
    return {"body": body} if headers is None else {"headers": dict(headers), "body": body}


@dataclass(frozen=True, slots=True)
class Scope:
    """One account of one product at its endpoints. ``digest`` covers every setting that decides whose data is read."""

    digest: str

    @classmethod
    def of(cls, *parts: str) -> "Scope":
        return cls(hashlib.blake2b("\n".join(parts).encode(), digest_size=12).hexdigest())

    def key(self, request: Request) -> "CacheKey":
        """The cache key of a request's answer within this scope."""
        digest = request.digest
        return CacheKey(self, request.call, digest, f"{self.digest}:{request.call}:{digest}")


class CacheKey(NamedTuple):
    """Cache key of one answer of one account; ``text`` combines the other parts."""

    scope: Scope
    call: str
    digest: str
    text: str

    def __str__(self) -> str:
        return self.text


class Response(NamedTuple):
    """A registry's response. Header names are case-insensitive or lower-case; ``document`` is None if the body is not
    JSON."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    document: Any


class CredentialProvider(Protocol):
    """Supplies the credentials of a registry. It waits for a renewal until ``ends``, a time of the event loop, and then
    raises TimeoutError."""

    @property
    def problem(self) -> str | None:
        """Why the last renewal failed, for operators. None if it did not."""

    async def current(self, ends: float | None = None) -> Credentials:
        """Return the credentials to sign with. Raises `RegistryCredentialsMissing`."""

    async def renewed(self, used: Credentials, ends: float | None = None) -> bool:
        """Return whether there are other credentials than those that the registry refused."""


@dataclass(frozen=True, slots=True)
class StaticCredentials:
    """Credentials from the settings; they never change."""

    credentials: Credentials
    problem: None = None

    async def current(self, ends: float | None = None) -> Credentials:
        return self.credentials

    async def renewed(self, used: Credentials, ends: float | None = None) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Address of one service of a registry.

    ``origin`` is scheme, host and port; ``host`` the ``Host`` header; ``path`` a percent-encoded prefix of every
    request path, without a slash at its end; ``proxy`` the URL of the proxy in front of it.
    """

    origin: str
    host: str
    path: str = ""
    proxy: str | None = field(default=None, repr=False)  # its URL may contain a password

    @classmethod
    def parse(cls, address: str, proxy: str | None = None) -> "Endpoint":
        parts = urlsplit(address)
        return cls(f"{parts.scheme}://{parts.netloc}", parts.netloc, parts.path.rstrip("/"), proxy)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where and how to send a registry's requests.

    ``timeout`` is in seconds for one request, ``limit`` in bytes for one decoded body. ``sign`` returns the headers for
    (request, host, credentials, time, nonce), where the request's path starts with the endpoint's. ``check`` returns
    the error that a response reports. ``tls`` replaces the default TLS settings. Every request has
    ``headers``. ``quota`` is that of the registry's kind, and ``quota_settings`` replaces parts of it.
    """

    registry: str
    scope: Scope
    endpoints: Mapping[str, Endpoint]
    timeout: float
    limit: int
    sign: Callable[[Request, str, Credentials, datetime, str], Mapping[str, str]]
    check: Callable[[Response], RegistryError | None]
    credentials: CredentialProvider
    tls: SSLContext | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    quota: Quota = Quota()
    quota_settings: QuotaSettings = QuotaSettings()


_NUMBER = re.compile(r"\s*\+?([0-9]+(?:\.[0-9]*)?)\s*(?:,.*)?")


def header_number(value: str) -> float | None:
    """Return the number that is the value of a header, or the first of its list. None for other values.

    It may have a sign and a fraction. One with too many digits for a float is infinite.
    """
    match = _NUMBER.fullmatch(value)
    return None if match is None else float(match[1])
