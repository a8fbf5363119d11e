"""Signature checks as the clouds make them, from the raw request target and the headers named as signed."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, unquote

from gateway.registries.signatures import acs3, bce_auth_v1, bce_prefix, encode
from gateway.twins.rows import UTC
from gateway.twins.wire_formats import Refused

PAI_KEY_ID = "test-access-key-id"
PAI_SECRET = "test-access-key-secret"  # noqa: S105 - made up, for the loopback servers only
PAI_STS_TOKEN = "test-security-token"  # noqa: S105
PAI_EXPIRED_STS_TOKEN = "test-expired-security-token"  # noqa: S105
PAI_INACTIVE_KEY_ID = "test-inactive-access-key-id"
QIANFAN_ACCESS_KEY = "test-bce-access-key"
QIANFAN_SECRET_KEY = "test-bce-secret-key"  # noqa: S105
QIANFAN_STS_TOKEN = "test-bce-security-token"  # noqa: S105

WINDOW = timedelta(minutes=15)
NONCES_KEPT = 200_000
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
ACS3 = re.compile(r"ACS3-HMAC-SHA256 Credential=([^,]+),SignedHeaders=([^,]+),Signature=([0-9a-f]{64})")
BCE = re.compile(r"bce-auth-v1/([^/]+)/([^/]+)/([1-9]\d{0,9})/([^/]*)/([0-9a-f]{64})")
REQUIRED = (
    ("authorization", "AccessKeyId"),
    ("host", "Host"),
    ("x-acs-action", "Action"),
    ("x-acs-version", "Version"),
    ("x-acs-date", "Date"),
    ("x-acs-signature-nonce", "SignatureNonce"),
    ("x-acs-content-sha256", "ContentSha256"),
)
DEFAULT_BCE_HEADERS = ("host", "content-length", "content-type", "content-md5")


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came over the wire; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """Decoded and encoded again, segment by segment: clients escape more or less than the canonical form."""
        return "/".join(encode(unquote(segment)) for segment in self.target.partition("?")[0].split("/"))

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(self.target.partition("?")[2], keep_blank_values=True)


class PaiGatekeeper:
    """ACS3-HMAC-SHA256: clock window, key, STS token, signed headers, body hash, signature, replay."""

    def __init__(self) -> None:
        self._nonces: dict[str, datetime] = {}

    def check(self, request: Received, now: datetime) -> None:
        headers = request.headers
        for name, called in REQUIRED:
            if not headers.get(name):
                raise Refused(f"Missing{called}", f"{called} is mandatory for this action.", 400)
        if not headers["authorization"].startswith("ACS3-HMAC-SHA256 "):
            raise Refused("InvalidSignatureMethod")
        parts = ACS3.fullmatch(headers["authorization"])
        if parts is None:
            raise Refused("IncompleteSignature")
        key, names, signature = parts.groups()
        moment = _moment(headers["x-acs-date"])
        if moment is None:
            raise Refused("InvalidTimeStamp.Format")
        if abs(now - moment) > WINDOW:
            raise Refused("InvalidTimeStamp.Expired")
        _check_key(key, headers.get("x-acs-security-token"))
        self._check_signature(request, names.split(";"), signature)
        self._check_nonce(headers["x-acs-signature-nonce"], now, moment)

    def _check_signature(self, request: Received, names: list[str], signature: str) -> None:
        headers = request.headers
        for name in names:
            if name not in headers:
                raise Refused(f"Missing{name}", f"{name} is mandatory for this action.", 400)
        unsigned = {name for name in headers if name == "host" or name.startswith("x-acs-")} - set(names)
        if unsigned:
            raise Refused("SignatureDoesNotMatch", f"Headers that must be signed: {', '.join(sorted(unsigned))}.")
        digest = hashlib.sha256(request.body).hexdigest()
        if headers["x-acs-content-sha256"] != digest:
            raise Refused("SignatureDoesNotMatch", "x-acs-content-sha256 is not the hash of the body.")
        signed = {name: headers[name] for name in names}
        _, expected = acs3(PAI_SECRET, request.method, request.path, request.query, signed, digest)
        if not hmac.compare_digest(expected, signature):
            raise Refused("SignatureDoesNotMatch")

    def _check_nonce(self, nonce: str, now: datetime, moment: datetime) -> None:
        while self._nonces and (len(self._nonces) >= NONCES_KEPT or self._nonces[next(iter(self._nonces))] < now):
            del self._nonces[next(iter(self._nonces))]
        if nonce in self._nonces and self._nonces[nonce] >= now:
            raise Refused("SignatureNonceUsed")
        self._nonces[nonce] = moment + WINDOW


class QianfanGatekeeper:
    """bce-auth-v1: shape, key, clock, host among the signed headers, signature; the names may come in any order."""

    def check(self, request: Received, now: datetime) -> None:
        authorization = request.headers.get("authorization")
        if not authorization:
            raise Refused("AccessDenied")
        parts = BCE.fullmatch(authorization)
        moment = _moment(parts[2]) if parts else None
        if parts is None or moment is None:
            raise Refused("InvalidHTTPAuthHeader")
        key, stamp, seconds, names, signature = parts.groups()
        if key != QIANFAN_ACCESS_KEY:
            raise Refused("InvalidAccessKeyId")
        if now > moment + timedelta(seconds=int(seconds)) or moment > now + WINDOW:
            raise Refused("RequestExpired", f"Request has expired. Timestamp date is {stamp}.")
        signed = self._signed(request.headers, names)
        token = request.headers.get("x-bce-security-token")
        if "host" not in signed or (token is not None and "x-bce-security-token" not in signed):
            raise Refused("InvalidHTTPAuthHeader")
        if token not in (None, QIANFAN_STS_TOKEN):
            raise Refused("InvalidAccessKeyId")  # an assumption: the tables name no code for a wrong token
        prefix = bce_prefix(key, stamp, int(seconds))
        _, expected = bce_auth_v1(QIANFAN_SECRET_KEY, prefix, request.method, request.path, request.query, signed)
        if not hmac.compare_digest(expected, signature):
            raise Refused("SignatureDoesNotMatch")

    @staticmethod
    def _signed(headers: Mapping[str, str], names: str) -> dict[str, str]:
        if names:
            return {name: headers[name] for name in names.lower().split(";") if name in headers}
        return {
            name: value for name, value in headers.items() if name in DEFAULT_BCE_HEADERS or name.startswith("x-bce-")
        }


def _check_key(key: str, token: str | None) -> None:
    if key == PAI_INACTIVE_KEY_ID:
        raise Refused("InvalidAccessKeyId.Inactive")
    if key != PAI_KEY_ID:
        raise Refused("InvalidAccessKeyId.NotFound")
    if token == PAI_EXPIRED_STS_TOKEN:
        raise Refused("InvalidSecurityToken.Expired")
    if token not in (None, PAI_STS_TOKEN):
        raise Refused("InvalidSecurityToken.Malformed")


def _moment(text: str) -> datetime | None:
    if not TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None
