"""How requests are authenticated: ACS3-HMAC-SHA256, bce-auth-v1, AWS4-HMAC-SHA256, and static credentials.

ACS3-HMAC-SHA256 is Alibaba Cloud's API signature V3, bce-auth-v1 is Baidu AI Cloud's authentication V1, and
AWS4-HMAC-SHA256 is the Signature Version 4 of Amazon Web Services. All sign a canonical form of the request, which the
server rebuilds from the request that it receives. All functions are pure.
"""

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from gateway.config.settings import Credentials
from gateway.memory_budget import memo
from gateway.upstream.messages import Request
from gateway.upstream.url_encoding import CACHE_SIZE, Pairs, encode, length, query_string


@lru_cache(maxsize=2)
def timestamp(now: datetime) -> str:
    """Format a time as both vendors sign it: in UTC, ``yyyy-MM-ddTHH:mm:ssZ``."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _hmac_sha256(key: str, text: str) -> str:
    return hmac.digest(key.encode(), text.encode(), "sha256").hex()


def acs3(
    secret: str, method: str, path: str, query: Pairs, headers: Mapping[str, str], payload_sha256: str
) -> tuple[str, str]:
    """Sign a request with ACS3-HMAC-SHA256.

    ``path`` is percent-encoded, ``query`` is not, ``headers`` are exactly those to sign with lower-case names,
    ``payload_sha256`` is the lower-case hex digest of the body. Returns (signed header names joined by ``;``,
    signature in hex). Source: Alibaba Cloud, "V3 request body and signature mechanism".
    """
    signed, canonical = acs3_canonical_request(method, path, query, headers, payload_sha256)
    return signed, acs3_sign(secret, canonical)


def acs3_canonical_request(
    method: str, path: str, query: Pairs, headers: Mapping[str, str], payload_sha256: str
) -> tuple[str, str]:
    """Return the names of the signed headers, joined by ``;``, and the canonical request."""
    names = sorted(headers)
    signed = ";".join(names)
    block = "".join([f"{name}:{headers[name].strip()}\n" for name in names])
    return signed, "\n".join((method, path or "/", query_string(query), block, signed, payload_sha256))


def acs3_sign(secret: str, canonical: str) -> str:
    """Sign a canonical request. Returns the signature in hex."""
    return _hmac_sha256(secret, f"ACS3-HMAC-SHA256\n{hashlib.sha256(canonical.encode()).hexdigest()}")


def bce_prefix(access_key: str, timestamp: str, seconds: int) -> str:
    """Return the start of a bce-auth-v1 authorization.

    ``timestamp`` is in UTC, ``yyyy-MM-ddTHH:mm:ssZ``; ``seconds`` is the validity of the signature.
    """
    return f"bce-auth-v1/{access_key}/{timestamp}/{seconds}"


def bce_auth_v1(
    secret: str, prefix: str, method: str, path: str, query: Pairs, headers: Mapping[str, str]
) -> tuple[str, str]:
    """Sign a request with bce-auth-v1.

    ``path`` is percent-encoded, ``query`` is not, ``headers`` are exactly those to sign with lower-case names;
    empty ones are left out. Returns (signed header names joined by ``;``, signature in hex). The body is not
    covered. Source: Baidu AI Cloud, "Generating an authentication string".
    """
    signed, lines = _bce_headers(tuple(headers.items()))
    canonical = f"{method}\n{path}\n{_bce_canonical_query(tuple(query))}\n{lines}"
    return signed, _hmac_sha256(_bce_signing_key(secret, prefix), canonical)


@memo(CACHE_SIZE, length)
def _bce_canonical_query(query: tuple[tuple[str, str], ...]) -> str:
    """Return the canonical query: sorted after encoding, without ``authorization``."""
    return "&".join(
        sorted([f"{encode(name)}={encode(value)}" for name, value in query if name.lower() != "authorization"])
    )


@lru_cache(maxsize=64)
def _bce_headers(headers: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    """Return the signed names and the canonical header lines. All calls of one second share them."""
    lines = sorted([f"{name}:{encode(value.strip())}" for name, value in headers if value.strip()])
    return ";".join([line.partition(":")[0] for line in lines]), "\n".join(lines)


@lru_cache(maxsize=8)
def _bce_signing_key(secret: str, prefix: str) -> str:
    """Return the signing key for a prefix. All calls of one second share it."""
    return _hmac_sha256(secret, prefix)


@lru_cache(maxsize=2)
def sigv4_timestamp(now: datetime) -> str:
    """Format a time as AWS4-HMAC-SHA256 signs it: in UTC, ``yyyyMMddTHHmmssZ``."""
    return now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def sigv4(
    secret: str,
    time: str,
    region: str,
    service: str,
    method: str,
    path: str,
    query: Pairs,
    headers: Mapping[str, str],
    payload_sha256: str,
) -> tuple[str, str, str]:
    """Sign a request with AWS4-HMAC-SHA256.

    ``time`` is in UTC, ``yyyyMMddTHHmmssZ``; ``path`` is percent-encoded, ``query`` is not; ``headers`` are exactly
    those to sign with lower-case names; ``payload_sha256`` is the lower-case hex digest of the body. Returns (scope of
    the signature, signed header names joined by ``;``, signature in hex). Source: AWS, "Create a signed AWS API
    request". Amazon S3, which encodes a path only once, is not covered.
    """
    scope = f"{time[:8]}/{region}/{service}/aws4_request"
    names = sorted(headers)
    signed = ";".join(names)
    block = "".join([f"{name}:{' '.join(headers[name].split())}\n" for name in names])
    pairs = sorted([(encode(name), encode(value)) for name, value in query])
    target = f"{method}\n{_sigv4_path(path)}\n{'&'.join([f'{name}={value}' for name, value in pairs])}"
    digest = hashlib.sha256(f"{target}\n{block}\n{signed}\n{payload_sha256}".encode()).hexdigest()
    key = _sigv4_signing_key(secret, time[:8], region, service)
    return scope, signed, hmac.digest(key, f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}".encode(), "sha256").hex()


def _sigv4_path(path: str) -> str:
    """Return the canonical path: without empty and dot segments, and each segment encoded once more."""
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(encode(segment))
    return f"/{'/'.join(segments)}{'/' if segments and path.endswith('/') else ''}"


@lru_cache(maxsize=64)
def _sigv4_signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """Return the signing key of a day, a region and a service. All calls of one day share it."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


@dataclass(frozen=True, slots=True)
class StaticAuthorization:
    """The headers of a request with a token, a user name and password, or no credentials.

    They do not depend on the request. Sources: RFC 6750, section 2.1; RFC 7617, section 2.
    """

    header: str = "Authorization"
    """The header that contains the token, such as ``X-API-Key``."""
    scheme: str = "Bearer"
    """The scheme before the token. Empty if the header contains the token alone."""

    def __call__(
        self, request: Request, host: str, credentials: Credentials, now: datetime, nonce: str
    ) -> Mapping[str, str]:
        """Return the headers to send."""
        headers = {"host": host, "accept": "application/json"}
        if token := credentials.token.reveal():
            headers[self.header] = f"{self.scheme} {token}".lstrip()
        elif credentials.key:
            pair = f"{credentials.key}:{credentials.secret.reveal()}"
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        return headers


static_authorization = StaticAuthorization()
"""The headers of a request with a bearer token, a user name and password, or no credentials."""
