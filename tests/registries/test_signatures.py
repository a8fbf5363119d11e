"""The request signatures, compared with recorded and live results of the vendors' own packages."""

import hashlib
import hmac
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from alibabacloud_tea_openapi.utils import Utils
from baidubce.auth import bce_v1_signer
from baidubce.auth.bce_credentials import BceCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.settings import Credentials, Secret
from gateway.registries.pai import PAI
from gateway.registries.qianfan import QIANFAN
from gateway.registries.signatures import (
    StaticAuthorization,
    acs3,
    acs3_sign,
    bce_auth_v1,
    bce_prefix,
    static_authorization,
)
from gateway.upstream.messages import Request
from gateway.upstream.url_encoding import encode, query_string
from tests.registries.samples import FOLDER

VECTORS = json.loads((FOLDER / "vectors.json").read_text())["vectors"]
DEFAULT_SET = ("host", "content-length", "content-type", "content-md5")

NOW = datetime(2024, 5, 20, 8, 30, 45, tzinfo=UTC)
NONCE = "0123456789abcdef0123456789abcdef"
SECRET = "test-s3cret-that-stays-here"
TOKEN = "test-security-token/AbC+123=="


def vectors(scheme: str) -> Any:
    return pytest.mark.parametrize("vector", [pytest.param(v, id=v["id"]) for v in VECTORS if v["scheme"] == scheme])


def lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def pairs(vector: Any) -> list[tuple[str, str]]:
    return [(name, value) for name, value in vector["query"]]


# Vectors


def test_there_are_vectors_for_both_schemes() -> None:
    schemes = [vector["scheme"] for vector in VECTORS]
    assert (schemes.count("acs3-hmac-sha256"), schemes.count("bce-auth-v1")) == (32, 31)


@vectors("acs3-hmac-sha256")
def test_acs3_signs_as_the_official_client(vector: Any) -> None:
    keys, expected = vector["credentials"], vector["expected"]
    payload = hashlib.sha256(vector["body"].encode()).hexdigest()
    headers = lower(vector["headers"])
    signed = acs3(keys["access_key_secret"], vector["method"], vector["path"], pairs(vector), headers, payload)
    assert payload == headers["x-acs-content-sha256"]
    assert signed == (expected["signed_headers"], expected["signature"])


@vectors("bce-auth-v1")
def test_bce_auth_v1_signs_as_the_official_client(vector: Any) -> None:
    keys, expected, named = vector["credentials"], vector["expected"], vector["headers_to_sign"]
    prefix = bce_prefix(keys["access_key_id"], vector["timestamp"], vector["expiration_seconds"])
    headers = lower(vector["headers"])
    to_sign = {
        name: value
        for name, value in headers.items()
        if (name in named if named else name in DEFAULT_SET or name.startswith("x-bce-"))
    }
    request = keys["access_key_secret"], prefix, vector["method"], vector["path"], pairs(vector)
    names, signature = bce_auth_v1(*request, to_sign)
    assert prefix == expected["auth_prefix"]
    if vector.get("strict_verifier_accepts", True):
        assert signature == expected["signature"]
        assert not named or set(names.split(";")) == set(named)
    else:
        assert signature != expected["signature"]
        assert bce_auth_v1(*request, headers | {"content-type": ""})[1] == expected["signature"]


def test_the_two_schemes_sort_the_same_query_differently() -> None:
    acs, bce = (next(v for v in VECTORS if v["id"] == name) for name in ("acs-26", "bce-16"))
    assert sorted(pairs(acs)) == sorted(pairs(bce))
    assert acs["expected"]["canonical_request"].split("\n")[2] != bce["expected"]["canonical_request"].split("\n")[2]


# Comparison with the official signers for generated requests

WORD = st.text(st.characters(codec="ascii", categories=["Lu", "Ll", "Nd"]), min_size=1, max_size=12)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
PRINTABLE = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=24)
HEADER = st.from_regex(r"[a-z][a-z0-9-]{0,15}", fullmatch=True)
PATH = st.lists(TEXT.map(encode), max_size=4).map(lambda segments: "/" + "/".join(segments))


def official_acs3(
    secret: str, method: str, path: str, query: dict[str, str], headers: dict[str, str], payload: str
) -> str:
    request = SimpleNamespace(method=method, pathname=path, query=query, headers=headers)
    authorization: str = Utils.get_authorization(request, "ACS3-HMAC-SHA256", payload, "key", secret)
    return authorization


def official_bce(
    key: str,
    secret: str,
    method: str,
    path: str,
    query: dict[str, str],
    headers: dict[str, str],
    now: datetime,
    seconds: int,
) -> str:
    def encoded(values: dict[str, str]) -> dict[bytes, bytes]:
        return {name.encode(): value.encode() for name, value in values.items()}

    names = [name.encode() for name in sorted(headers)]
    credentials = BceCredentials(key, secret)
    stamp = int(now.timestamp())
    authorization: bytes = bce_v1_signer.sign(
        credentials, method.encode(), path.encode(), encoded(headers), encoded(query), stamp, seconds, names
    )
    return authorization.decode()


@given(
    secret=WORD,
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    path=PATH,
    query=st.dictionaries(WORD, TEXT, max_size=6),
    extra=st.dictionaries(HEADER.map(lambda name: f"x-acs-{name}"), PRINTABLE, max_size=4),
    body=st.binary(max_size=64),
)
@settings(max_examples=300, deadline=None)
def test_acs3_agrees_with_the_official_signer(
    secret: str, method: str, path: str, query: dict[str, str], extra: dict[str, str], body: bytes
) -> None:
    payload = hashlib.sha256(body).hexdigest()
    headers = {"host": "registry.example", "x-acs-content-sha256": payload} | extra
    names, signature = acs3(secret, method, path, query.items(), headers, payload)
    official = official_acs3(secret, method, path, query, headers, payload)
    assert official == f"ACS3-HMAC-SHA256 Credential=key,SignedHeaders={names},Signature={signature}"


@given(
    secret=WORD,
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    path=PATH,
    query=st.dictionaries(TEXT.filter(lambda name: name.lower() != "authorization"), TEXT, max_size=6),
    extra=st.dictionaries(HEADER.map(lambda name: f"x-bce-{name}"), PRINTABLE.filter(str.strip), max_size=4),
    now=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    seconds=st.integers(1, 100_000),
)
@settings(max_examples=300, deadline=None)
def test_bce_auth_v1_agrees_with_the_official_signer(
    secret: str,
    method: str,
    path: str,
    query: dict[str, str],
    extra: dict[str, str],
    now: datetime,
    seconds: int,
) -> None:
    headers = {"host": "registry.example", "content-type": "application/json"} | extra
    prefix = bce_prefix("key", f"{now:%Y-%m-%dT%H:%M:%SZ}", seconds)
    names, signature = bce_auth_v1(secret, prefix, method, path, query.items(), headers)
    official = official_bce("key", secret, method, path, query, headers, now, seconds)
    assert official.rpartition("/")[2] == signature
    assert official.split("/")[:4] == prefix.split("/")
    assert set(names.split(";")) == set(headers)


@given(st.dictionaries(TEXT, TEXT, max_size=5))
def test_an_encoded_query_contains_only_unreserved_characters(query: dict[str, str]) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._~%=&-]*", query_string(query.items()))


# The complete headers of each kind

pai_requests = st.builds(
    Request,
    call=st.sampled_from(["ListModels", "GetModel"]),
    service=st.sampled_from(["models", "algorithms"]),
    method=st.just("GET"),
    path=PATH,
    query=st.dictionaries(WORD, TEXT, max_size=4).map(lambda query: tuple(sorted(query.items()))),
)


def credentials(token: str = "") -> Credentials:
    """Return made-up credentials."""
    return Credentials("key", Secret(SECRET), Secret(token))


@given(request=pai_requests, token=st.sampled_from(["", TOKEN]))
@settings(max_examples=100, deadline=None)
def test_the_official_signer_agrees_with_the_headers_for_pai(request: Request, token: str) -> None:
    headers = dict(PAI.sign(request, "127.0.0.1:8080", credentials(token), NOW, NONCE))
    authorization = headers.pop("Authorization")
    found = re.fullmatch(r"ACS3-HMAC-SHA256 Credential=key,SignedHeaders=([^,]+),Signature=[0-9a-f]{64}", authorization)
    assert found is not None
    signed = {name: headers[name] for name in found[1].split(";")}
    payload = signed["x-acs-content-sha256"]
    assert authorization == official_acs3(SECRET, request.method, request.path, dict(request.query), signed, payload)
    assert set(headers) - set(signed) == {"accept"}
    assert {name: signed[name] for name in signed if name != "x-acs-content-sha256"} == {
        "host": "127.0.0.1:8080",
        "x-acs-action": request.call,
        "x-acs-version": {"models": "2021-02-04", "algorithms": "2022-01-12"}[request.service],
        "x-acs-date": "2024-05-20T08:30:45Z",
        "x-acs-signature-nonce": NONCE,
        **({"x-acs-security-token": TOKEN, "x-acs-accesskey-id": "key"} if token else {}),
    }
    assert payload == hashlib.sha256(request.body).hexdigest()
    assert SECRET not in "".join([authorization, *headers.values()])


@given(
    path=PATH,
    query=st.dictionaries(WORD, TEXT, max_size=3).map(lambda query: tuple(query.items())),
    body=st.binary(max_size=40),
    token=st.sampled_from(["", TOKEN]),
)
@settings(max_examples=100, deadline=None)
def test_the_official_signer_agrees_with_the_headers_for_qianfan(
    path: str, query: tuple[tuple[str, str], ...], body: bytes, token: str
) -> None:
    request = Request("modelDetail", "console", "POST", path, query, body)
    headers = dict(QIANFAN.sign(request, "127.0.0.1:8080", credentials(token), NOW, NONCE))
    authorization = headers.pop("Authorization")
    assert authorization == official_bce("key", SECRET, "POST", path, dict(query), headers, NOW, 300)
    assert headers == {
        "content-type": "application/json",
        "host": "127.0.0.1:8080",
        "x-bce-date": "2024-05-20T08:30:45Z",
        **({"x-bce-security-token": TOKEN} if token else {}),
    }
    assert SECRET not in "".join([authorization, *headers.values()])


@given(secret=st.text(st.characters(codec="ascii"), max_size=200), text=st.text(max_size=40))
def test_secrets_of_any_length_sign_like_the_standard_library(secret: str, text: str) -> None:
    message = f"ACS3-HMAC-SHA256\n{hashlib.sha256(text.encode()).hexdigest()}"
    assert acs3_sign(secret, text) == hmac.new(secret.encode(), message.encode(), "sha256").hexdigest()


def test_cached_signing_parts_do_not_mix_up_credentials_hosts_or_times() -> None:
    request = Request("ListModels", "models", "GET", "/api/v1/models")
    later = NOW.replace(year=2030)
    cases = [
        (credentials(), NOW, "host"),
        (credentials(), later, "host"),
        (credentials(TOKEN), NOW, "host"),
        (credentials(), NOW, "other"),
        (replace(credentials(), key="another"), NOW, "host"),
        (replace(credentials(), secret=Secret("another")), NOW, "host"),
    ]
    signed = [PAI.sign(request, host, keys, now, NONCE) for keys, now, host in cases]
    assert len({headers["Authorization"] for headers in signed}) == len(cases)
    assert signed == [PAI.sign(request, host, keys, now, NONCE) for keys, now, host in cases]
    assert [headers["x-acs-date"][:4] for headers in signed] == ["2024", "2030", "2024", "2024", "2024", "2024"]


def test_the_pai_signature_depends_on_the_nonce() -> None:
    request = Request("ListModels", "models", "GET", "/api/v1/models")
    first, second = (PAI.sign(request, "host", credentials(), NOW, nonce) for nonce in ("a" * 32, "b" * 32))
    assert first["Authorization"] != second["Authorization"]


# Static credentials


@pytest.mark.parametrize(
    ("credentials", "authorization"),
    [
        (Credentials("", Secret("")), None),
        (Credentials("Aladdin", Secret("open sesame")), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        (Credentials("test", Secret("123£")), "Basic dGVzdDoxMjPCow=="),
        (Credentials("", Secret(""), Secret("mF_9.B5f-4.1JqM")), "Bearer mF_9.B5f-4.1JqM"),
    ],
    ids=["none", "basic", "basic with UTF-8", "bearer"],
)
def test_static_credentials_are_sent_as_the_examples_of_their_standards(
    credentials: Credentials, authorization: str | None
) -> None:
    """Sources: RFC 7617, sections 2 and 2.1; RFC 6750, section 2.1."""
    headers = dict(static_authorization(Request("List", "api", "GET", "/"), "h.example", credentials, NOW, NONCE))
    assert headers.pop("Authorization", None) == authorization
    assert headers == {"host": "h.example", "accept": "application/json"}


@pytest.mark.parametrize(
    ("authorization", "sent"),
    [
        (StaticAuthorization("X-API-Key", ""), {"X-API-Key": "t-1"}),
        (StaticAuthorization("X-Auth-Token", "Key"), {"X-Auth-Token": "Key t-1"}),
        (StaticAuthorization(scheme="token"), {"Authorization": "token t-1"}),
    ],
    ids=["a header of its own", "with a scheme", "another scheme"],
)
def test_a_token_is_sent_in_the_header_and_with_the_scheme_of_the_kind(
    authorization: StaticAuthorization, sent: dict[str, str]
) -> None:
    request = Request("List", "api", "GET", "/")
    always = {"host": "h.example", "accept": "application/json"}
    assert authorization(request, "h.example", Credentials("", Secret(""), Secret("t-1")), NOW, NONCE) == always | sent
    assert authorization(request, "h.example", Credentials("", Secret("")), NOW, NONCE) == always
    basic = authorization(request, "h.example", Credentials("Aladdin", Secret("open sesame")), NOW, NONCE)
    assert basic == always | {"Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}
