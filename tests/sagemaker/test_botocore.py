"""AWS4-HMAC-SHA256 agrees with botocore on any request."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.registries.sagemaker import SAGEMAKER, SageMakerSettings, partition
from gateway.upstream.url_encoding import query_string
from tests.registries.test_sigv4 import authorization
from tests.sagemaker.conftest import interpreter, sagemaker

HERE = Path(__file__).parent

pytestmark = pytest.mark.timeout(600)  # the first run installs the locked packages

WORD = st.text(st.characters(codec="ascii", categories=["Lu", "Ll", "Nd"]), min_size=1, max_size=12)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=16)
VALUE = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=24)
SEGMENT = st.sampled_from(["", ".", "..", "~"]) | TEXT
HEADER = st.from_regex(r"x-amz-meta-[a-z][a-z0-9-]{0,8}", fullmatch=True)
HOST = st.sampled_from(["api.sagemaker.eu-west-1.amazonaws.com", "127.0.0.1:5000", "gateway.example:8443"])


@st.composite
def requests(draw: st.DrawFn) -> Any:
    """Generate a request with any path, query, headers and body, and credentials."""
    path = "/".join(quote(segment, safe="-_.~") for segment in draw(st.lists(SEGMENT, max_size=4)))
    query = query_string(draw(st.lists(st.tuples(TEXT, TEXT), max_size=5)))
    return {
        "key": draw(WORD),
        "secret": draw(VALUE.filter(bool)),
        "token": draw(st.just("") | WORD),
        "region": draw(st.sampled_from(["us-east-1", "eu-west-1", "cn-north-1"])),
        "service": draw(st.sampled_from(["sagemaker", "iam", "sts"])),
        "method": draw(st.sampled_from(["GET", "POST", "PUT"])),
        "url": f"https://{draw(HOST)}/{path}{'?' if query else ''}{query}",
        "headers": draw(st.dictionaries(HEADER, VALUE, max_size=4)),
        "body": draw(TEXT),
        "time": draw(st.integers(0, 4_000_000_000)),
    }


@pytest.fixture(scope="module")
def botocore() -> Iterator[Any]:
    """A function that returns the headers with which botocore sends a request."""
    command = [interpreter(), HERE / "botocore_signer.py"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def sign(case: Any) -> Any:
            print(json.dumps(case), file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())  # type: ignore[union-attr]

        yield sign
        process.stdin.close()


@given(case=requests())
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_request_is_signed_as_by_botocore(botocore: Any, case: Any) -> None:
    assert authorization(case) == botocore(case)["Authorization"]


REGIONS = """
import boto3, json
session = boto3.Session()
regions = {r: p for p in session.get_available_partitions() for r in session.get_available_regions("sagemaker", p)}
client = lambda region: boto3.client("sagemaker", region_name=region, aws_access_key_id="a", aws_secret_access_key="b")
print(json.dumps({region: [partition, client(region).meta.endpoint_url] for region, partition in regions.items()}))
"""


def test_each_region_has_the_endpoint_and_the_partition_of_botocore() -> None:
    command = [interpreter(), "-c", REGIONS]
    regions = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    pattern = next(item for item in fields(SageMakerSettings) if item.name == "region").metadata["pattern"]
    for region, (name, endpoint) in regions.items():
        assert re.fullmatch(pattern, region)
        settings = sagemaker("", ("a", "b", ""), region=region)
        assert (partition(region)[0], SAGEMAKER.services(settings)["registry"]) == (name, endpoint)
    assert len({name for name, _ in regions.values()}) > 3
