"""The two clouds' request signatures as functions from values to text.

ACS3-HMAC-SHA256 (Alibaba Cloud API signature V3) and bce-auth-v1 (Baidu AI Cloud authentication V1). Both sign a
canonical form of the request; a server that verifies one builds the same form from what it received.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from urllib.parse import quote

Pairs = Iterable[tuple[str, str]]

REMEMBERED: Final = 4096
"""Texts and queries that need not be encoded again, since many calls have the same."""


@lru_cache(REMEMBERED)
def encode(text: str) -> str:
    """Percent-encode UTF-8 bytes, keeping only letters, digits and ``-_.~`` (both vendors' rule, RFC 3986)."""
    return quote(text, safe="-_.~")


def query_string(query: Pairs) -> str:
    """The query as it goes on the wire and, for ACS3, into the canonical request: sorted by name, encoded."""
    return _query_string(tuple(query))


@lru_cache(REMEMBERED)
def _query_string(query: tuple[tuple[str, str], ...]) -> str:
    return "&".join([f"{encode(name)}={encode(value)}" for name, value in sorted(query, key=lambda pair: pair[0])])


@lru_cache(maxsize=2)
def timestamp(now: datetime) -> str:
    """A time as both vendors sign it: in UTC, ``yyyy-MM-ddTHH:mm:ssZ``."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _hmac(key: str, text: str) -> str:
    return hmac.digest(key.encode(), text.encode(), "sha256").hex()


def acs3(
    secret: str, method: str, path: str, query: Pairs, headers: Mapping[str, str], payload_sha256: str
) -> tuple[str, str]:
    """Sign a request with ACS3-HMAC-SHA256.

    ``path`` is percent-encoded, ``query`` is not, ``headers`` are exactly those to sign with lower-case names,
    ``payload_sha256`` is the lower-case hex digest of the body. Returns (signed header names joined by ``;``,
    signature in hex). Source: Alibaba Cloud, "V3 request body and signature mechanism".
    """
    signed, canonical = acs3_form(method, path, query, headers, payload_sha256)
    return signed, acs3_signature(secret, canonical)


def acs3_form(method: str, path: str, query: Pairs, headers: Mapping[str, str], payload_sha256: str) -> tuple[str, str]:
    """The signed header names, and the canonical form of a request."""
    names = sorted(headers)
    signed = ";".join(names)
    block = "".join([f"{name}:{headers[name].strip()}\n" for name in names])
    return signed, "\n".join((method, path or "/", query_string(query), block, signed, payload_sha256))


def acs3_signature(secret: str, canonical: str) -> str:
    """The signature of a canonical form."""
    return _hmac(secret, f"ACS3-HMAC-SHA256\n{hashlib.sha256(canonical.encode()).hexdigest()}")


def bce_prefix(access_key: str, timestamp: str, seconds: int) -> str:
    """The part of a bce-auth-v1 authorization that names key, time (UTC, ``yyyy-MM-ddTHH:mm:ssZ``) and validity."""
    return f"bce-auth-v1/{access_key}/{timestamp}/{seconds}"


def bce_auth_v1(
    secret: str, prefix: str, method: str, path: str, query: Pairs, headers: Mapping[str, str]
) -> tuple[str, str]:
    """Sign a request with bce-auth-v1.

    ``path`` is percent-encoded, ``query`` is not, ``headers`` are exactly those to sign with lower-case names;
    empty ones are left out. Returns (signed header names joined by ``;``, signature in hex). The body is not
    covered. Source: Baidu AI Cloud, "Generating an authentication string".
    """
    signed, lines = _bce_lines(tuple(headers.items()))
    canonical = f"{method}\n{path}\n{_bce_query(tuple(query))}\n{lines}"
    return signed, _hmac(_signing_key(secret, prefix), canonical)


@lru_cache(REMEMBERED)
def _bce_query(query: tuple[tuple[str, str], ...]) -> str:
    return "&".join(
        sorted([f"{encode(name)}={encode(value)}" for name, value in query if name.lower() != "authorization"])
    )


@lru_cache(maxsize=64)
def _bce_lines(headers: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    """The signed names, and the canonical lines; all calls of one second have the same."""
    lines = sorted([f"{name}:{encode(value.strip())}" for name, value in headers if value.strip()])
    return ";".join([line.partition(":")[0] for line in lines]), "\n".join(lines)


@lru_cache(maxsize=8)
def _signing_key(secret: str, prefix: str) -> str:
    """The key of one second, with which everything is signed that has its time."""
    return _hmac(secret, prefix)
