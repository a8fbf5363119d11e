"""One bad key in an issuer's key set costs that key; a set that cannot be read costs the set."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from gateway.auth import jwks
from tests.auth.gateways import RSA, Clock, public, query_with_bearer, running_issuer, token
from tests.auth.test_tokens import claims, token_gateway

GOOD = public(RSA, "1")

BAD: dict[str, Any] = {
    "a type that is a list": {"kty": [], "kid": "2"},
    "a type that is an object": {"kty": {}, "kid": "2"},
    "an id that is a list": {**GOOD, "kid": []},
    "an id that is a number": {**GOOD, "kid": 2},
    "a modulus that is a number": {**GOOD, "kid": "2", "n": 5},
    "a modulus that is a list": {**GOOD, "kid": "2", "n": ["AA"]},
    "a modulus that is null": {**GOOD, "kid": "2", "n": None},
    "a modulus that is no base64": {**GOOD, "kid": "2", "n": "é"},
    "a modulus that is zero": {**GOOD, "kid": "2", "n": "AA"},
    "an even exponent": {**GOOD, "kid": "2", "e": "Ag"},
    "no modulus": {"kty": "RSA", "kid": "2", "e": "AQAB"},
    "a point that is not on the curve": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "2"},
    "a short Ed25519 key": {"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "2"},
    "text": "key",
    "null": None,
    "a list": [GOOD],
}


@pytest.mark.parametrize("case", BAD)
async def test_one_bad_key_costs_that_key(case: str, caplog: pytest.LogCaptureFixture) -> None:
    async with running_issuer(GOOD) as issuer, token_gateway(f"{issuer.url}/jwks", Clock()) as gateway:
        issuer.keys[:] = [BAD[case], GOOD, BAD[case]]
        assert (await query_with_bearer(gateway, token(claims()))).status == 200
    logged = [record for record in caplog.records if "invalid key" in record.getMessage()]
    assert len(logged) == 2
    assert all(record.levelno == logging.WARNING for record in logged)


SETS = {
    "nested deeply": b'{"keys":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "not closed": b'{"keys":' + b"[" * 100_000,
    "not UTF-8": b"\xff\xfe",
    "a list": b"[]",
    "keys that are an object": b'{"keys": {}}',
    "nothing": b"",
}


@pytest.mark.parametrize("case", SETS)
def test_a_key_set_that_cannot_be_read_has_no_keys(case: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any ValueError is handled
        jwks.parse(SETS[case], ["RS256", "ES256", "EdDSA"])


def test_a_key_set_may_have_odd_text_beside_its_keys(tmp_path: Path) -> None:
    content = json.dumps({"keys": [GOOD], "note": "@"}).replace("@", r"\ud83d").encode()
    assert list(jwks.parse(content, ["RS256"])) == [("1", "RS256")]


async def test_a_caller_whose_name_is_odd_text_is_served_and_logged() -> None:
    async with running_issuer(GOOD) as issuer, token_gateway(f"{issuer.url}/jwks", Clock()) as gateway:
        assert (await query_with_bearer(gateway, token(claims(sub="a\ud83d")))).status == 200
