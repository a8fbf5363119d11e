"""Checks of credentials: the signatures of the clouds, from the raw target and signed headers, and MLflow's Basic."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, unquote

from gateway.registries.signatures import acs3, bce_auth_v1, bce_prefix
from gateway.twins.rows import UTC
from gateway.twins.wire_formats import CloudError
from gateway.upstream.url_encoding import encode

PAI_KEY_ID = "test-access-key-id"
PAI_SECRET = "test-access-key-secret"  # noqa: S105 - made up, for the loopback servers only
PAI_STS_TOKEN = "test-security-token"  # noqa: S105
PAI_EXPIRED_STS_TOKEN = "test-expired-security-token"  # noqa: S105
PAI_INACTIVE_KEY_ID = "test-inactive-access-key-id"
QIANFAN_ACCESS_KEY = "test-bce-access-key"
QIANFAN_SECRET_KEY = "test-bce-secret-key"  # noqa: S105
QIANFAN_STS_TOKEN = "test-bce-security-token"  # noqa: S105
MLFLOW_USERNAME = "test-user"
MLFLOW_PASSWORD = "test-password"  # noqa: S105

WINDOW = timedelta(minutes=15)
MAX_NONCES = 200_000
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
class ReceivedRequest:
    """A raw HTTP request, with header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The canonical path. Each segment is decoded and encoded again, since clients escape differently."""
        return "/".join(encode(unquote(segment)) for segment in self.target.partition("?")[0].split("/"))

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(self.target.partition("?")[2], keep_blank_values=True)


class PaiSignatureCheck:
    """ACS3-HMAC-SHA256: checks the clock, key, STS token, signed headers, body hash, signature and nonce."""

    def __init__(self) -> None:
        self._nonces: dict[str, datetime] = {}

    def check(self, request: ReceivedRequest, now: datetime) -> None:
        headers = request.headers
        for name, called in REQUIRED:
            if not headers.get(name):
                raise CloudError(f"Missing{called}", f"{called} is mandatory for this action.", 400)
        if not headers["authorization"].startswith("ACS3-HMAC-SHA256 "):
            raise CloudError("InvalidSignatureMethod")
        parts = ACS3.fullmatch(headers["authorization"])
        if parts is None:
            raise CloudError("IncompleteSignature")
        key, names, signature = parts.groups()
        time = _parse_time(headers["x-acs-date"])
        if time is None:
            raise CloudError("InvalidTimeStamp.Format")
        if abs(now - time) > WINDOW:
            raise CloudError("InvalidTimeStamp.Expired")
        _check_key(key, headers.get("x-acs-security-token"))
        self._check_signature(request, names.split(";"), signature)
        self._check_nonce(headers["x-acs-signature-nonce"], now, time)

    def _check_signature(self, request: ReceivedRequest, names: list[str], signature: str) -> None:
        headers = request.headers
        for name in names:
            if name not in headers:
                raise CloudError(f"Missing{name}", f"{name} is mandatory for this action.", 400)
        unsigned = {name for name in headers if name == "host" or name.startswith("x-acs-")} - set(names)
        if unsigned:
            raise CloudError("SignatureDoesNotMatch", f"Headers that must be signed: {', '.join(sorted(unsigned))}.")
        digest = hashlib.sha256(request.body).hexdigest()
        if headers["x-acs-content-sha256"] != digest:
            raise CloudError("SignatureDoesNotMatch", "x-acs-content-sha256 is not the hash of the body.")
        signed = {name: headers[name] for name in names}
        _, expected = acs3(PAI_SECRET, request.method, request.path, request.query, signed, digest)
        if not hmac.compare_digest(expected, signature):
            raise CloudError("SignatureDoesNotMatch")

    def _check_nonce(self, nonce: str, now: datetime, time: datetime) -> None:
        while self._nonces and (len(self._nonces) >= MAX_NONCES or self._nonces[next(iter(self._nonces))] < now):
            del self._nonces[next(iter(self._nonces))]
        if nonce in self._nonces and self._nonces[nonce] >= now:
            raise CloudError("SignatureNonceUsed")
        self._nonces[nonce] = time + WINDOW


class QianfanSignatureCheck:
    """bce-auth-v1: checks the format, key, clock, signed headers and signature. Header names may have any order."""

    def check(self, request: ReceivedRequest, now: datetime) -> None:
        authorization = request.headers.get("authorization")
        if not authorization:
            raise CloudError("AccessDenied")
        parts = BCE.fullmatch(authorization)
        time = _parse_time(parts[2]) if parts else None
        if parts is None or time is None:
            raise CloudError("InvalidHTTPAuthHeader")
        key, stamp, seconds, names, signature = parts.groups()
        if key != QIANFAN_ACCESS_KEY:
            raise CloudError("InvalidAccessKeyId")
        if now > time + timedelta(seconds=int(seconds)) or time > now + WINDOW:
            raise CloudError("RequestExpired", f"Request has expired. Timestamp date is {stamp}.")
        signed = self._signed(request.headers, names)
        token = request.headers.get("x-bce-security-token")
        if "host" not in signed or (token is not None and "x-bce-security-token" not in signed):
            raise CloudError("InvalidHTTPAuthHeader")
        if token not in (None, QIANFAN_STS_TOKEN):
            raise CloudError("InvalidAccessKeyId")  # assumed: the documentation has no code for a wrong token
        prefix = bce_prefix(key, stamp, int(seconds))
        _, expected = bce_auth_v1(QIANFAN_SECRET_KEY, prefix, request.method, request.path, request.query, signed)
        if not hmac.compare_digest(expected, signature):
            raise CloudError("SignatureDoesNotMatch")

    @staticmethod
    def _signed(headers: Mapping[str, str], names: str) -> dict[str, str]:
        if names:
            return {name: headers[name] for name in names.lower().split(";") if name in headers}
        return {
            name: value for name, value in headers.items() if name in DEFAULT_BCE_HEADERS or name.startswith("x-bce-")
        }


@dataclass(slots=True)
class MlflowLoginCheck:
    """Basic credentials. MLflow has no users by default: then requests need none, but those sent must be right."""

    required: bool = False

    def check(self, request: ReceivedRequest) -> None:
        sent = request.headers.get("authorization")
        expected = "Basic " + base64.b64encode(f"{MLFLOW_USERNAME}:{MLFLOW_PASSWORD}".encode()).decode()
        if sent != expected and (self.required or sent is not None):
            raise CloudError("UNAUTHENTICATED")


def _check_key(key: str, token: str | None) -> None:
    if key == PAI_INACTIVE_KEY_ID:
        raise CloudError("InvalidAccessKeyId.Inactive")
    if key != PAI_KEY_ID:
        raise CloudError("InvalidAccessKeyId.NotFound")
    if token == PAI_EXPIRED_STS_TOKEN:
        raise CloudError("InvalidSecurityToken.Expired")
    if token not in (None, PAI_STS_TOKEN):
        raise CloudError("InvalidSecurityToken.Malformed")


def _parse_time(text: str) -> datetime | None:
    if not TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None
