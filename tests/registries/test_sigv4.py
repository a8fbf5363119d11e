"""AWS4-HMAC-SHA256, compared with requests that the vendor's package signed, and with the vendor's own examples."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from gateway.registries.signatures import sigv4, sigv4_timestamp
from tests.registries.samples import FOLDER

VECTORS = json.loads((FOLDER / "sigv4.json").read_text(encoding="utf-8"))["vectors"]


def authorization(case: Any) -> str:
    """Return the Authorization header of a request, of which all headers are signed."""
    time, url = sigv4_timestamp(datetime.fromtimestamp(case["time"], UTC)), urlsplit(case["url"])
    headers = {name.lower(): value for name, value in case["headers"].items()} | {
        "host": url.netloc,
        "x-amz-date": time,
    }
    if case["token"]:
        headers["x-amz-security-token"] = case["token"]
    query = parse_qsl(url.query, keep_blank_values=True)
    payload = hashlib.sha256(case["body"].encode()).hexdigest()
    scope, names, signature = sigv4(
        case["secret"], time, case["region"], case["service"], case["method"], url.path, query, headers, payload
    )
    credential = f"{case['key']}/{scope}"
    return f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"


@pytest.mark.parametrize("vector", [pytest.param(vector, id=vector["id"]) for vector in VECTORS])
def test_a_request_is_signed_as_by_the_official_package(vector: Any) -> None:
    assert authorization(vector) == vector["sends"]["Authorization"]
    assert sigv4_timestamp(datetime.fromtimestamp(vector["time"], UTC)) == vector["sends"]["X-Amz-Date"]


def test_every_part_of_a_request_changes_its_signature() -> None:
    vector = VECTORS[0]
    changes = {
        "secret": "another",
        "region": "us-east-1",
        "service": "iam",
        "method": "GET",
        "url": "https://other.example/",
        "headers": {"Content-Type": "text/plain"},
        "body": "{ }",
        "time": vector["time"] + 1,
        "token": "token",
    }
    assert vector.keys() - changes.keys() == {"id", "level", "description", "key", "sends"}
    signed = {authorization(vector), *(authorization({**vector, name: value}) for name, value in changes.items())}
    assert len(signed) == 1 + len(changes)


def test_the_published_example_is_signed_as_published() -> None:
    """Source: AWS, Signature Version 4 test suite, ``get-vanilla``."""
    headers = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"}
    secret, payload = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", hashlib.sha256().hexdigest()
    signed = sigv4(secret, headers["x-amz-date"], "us-east-1", "service", "GET", "/", (), headers, payload)
    assert signed == (
        "20150830/us-east-1/service/aws4_request",
        "host;x-amz-date",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    )
