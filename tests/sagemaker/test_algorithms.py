"""Algorithms, which moto does not have: a server of ours has them, and checks the signatures of gateway and boto3."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.registries.signatures import sigv4
from tests.conftest import Client
from tests.registries.samples import sample
from tests.sagemaker.conftest import Moto, gateway_over
from tests.sagemaker.test_moto import time

pytestmark = pytest.mark.timeout(600)  # the first run installs the locked packages

PAGE = 3
"""The most rows on a page, however many are requested."""

DESCRIBED = sample("sagemaker", "DescribeAlgorithm")
PACKAGE = sample("sagemaker", "DescribeModelPackage")
ALGORITHMS = [
    {
        **DESCRIBED,
        "AlgorithmName": name,
        "AlgorithmArn": f"arn:aws:sagemaker:eu-west-1:123456789012:algorithm/{name}",
        "CreationTime": 1_700_000_000 + number // 2 + 0.25,
    }
    for number, name in enumerate(["boosted-trees", "kmeans", "PCA", "a2c", "zeta", "Xgb", "m1"])
]
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(\S+?)/(\d{8})/(\S+?)/sagemaker/aws4_request, SignedHeaders=(\S+), Signature=(\w+)"
)


def failure(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"__type": code, "message": message}, status=status)


def is_signed(request: web.Request, body: bytes, secret: str) -> bool:
    """Return whether a request has the signature that it should have."""
    found = AUTHORIZATION.fullmatch(request.headers["Authorization"])
    assert found is not None
    signed = {name: request.headers[name] for name in found[4].split(";")}
    assert {"host", "x-amz-date", "x-amz-target", "content-type"} <= signed.keys()
    payload, date = hashlib.sha256(body).hexdigest(), signed["x-amz-date"]
    return sigv4(secret, date, found[3], "sagemaker", "POST", request.path, (), signed, payload)[2] == found[5]


def list_algorithms(body: dict[str, Any]) -> web.Response:
    """Return a page of algorithms. A token belongs to the parameters that it was made for."""
    offset, _, made_for = body.pop("NextToken", "0").partition(" ")
    own = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    if made_for not in ("", own):
        return failure(400, "ValidationException", "The token does not belong to these parameters.")
    rows = sorted(ALGORITHMS, key=lambda row: row["CreationTime"], reverse=body.get("SortOrder") == "Descending")
    rows = [row for row in rows if body.get("NameContains", "") in row["AlgorithmName"]]
    start, end = int(offset), int(offset) + min(PAGE, body.get("MaxResults", 10))
    token = {"NextToken": f"{end} {own}"} if end < len(rows) else {}
    keys = ("AlgorithmName", "AlgorithmArn", "AlgorithmDescription", "CreationTime", "AlgorithmStatus")
    return web.json_response({"AlgorithmSummaryList": [{k: row[k] for k in keys} for row in rows[start:end]], **token})


@pytest.fixture
async def cloud(moto: Moto) -> AsyncIterator[TestServer]:
    _, secret, _ = moto.keys["user"]

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        if not is_signed(request, body, secret):
            return failure(403, "InvalidSignatureException", "The request signature does not match.")
        operation, parameters = request.headers["X-Amz-Target"].removeprefix("SageMaker."), json.loads(body)
        if operation == "ListAlgorithms":
            return list_algorithms(parameters)
        if operation == "DescribeModelPackage":
            return web.json_response(PACKAGE)
        for row in ALGORITHMS:
            if operation == "DescribeAlgorithm" and row["AlgorithmName"] == parameters["AlgorithmName"]:
                return web.json_response(row)
        return failure(400, "ValidationException", f"{operation}: {parameters} does not exist.")

    app = web.Application()
    app.router.add_post("/", answer)
    async with TestServer(app) as server:
        yield server


@pytest.fixture
async def gateway(moto: Moto, cloud: TestServer) -> AsyncIterator[Client]:
    async with gateway_over(f"http://127.0.0.1:{cloud.port}", moto.keys["user"]) as client:
        yield client


async def boto3(moto: Moto, cloud: TestServer, operation: str, **params: Any) -> Any:
    return await asyncio.to_thread(moto.boto3, operation, f"http://127.0.0.1:{cloud.port}", **params)


@pytest.mark.parametrize("size", [2, 4, 100])
async def test_all_algorithms_are_those_of_boto3(moto: Moto, cloud: TestServer, gateway: Client, size: int) -> None:
    query = """query($size: Int!, $after: String) {
      algorithms(first: $size, after: $after) {
        nodes { nativeId name description createdAt latestVersion { name createdAt } }
        pageInfo { hasNextPage endCursor } coverage { state } } }"""
    found: list[Any] = []
    after = None
    while True:
        page = (await gateway.query(query, size=size, after=after)).data["algorithms"]
        assert page["coverage"] == [{"state": "COMPLETE"}]
        found += page["nodes"]
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    listed = (await boto3(moto, cloud, "list_algorithms"))["AlgorithmSummaryList"]
    times = {row["AlgorithmName"]: time(row["CreationTime"]) for row in listed}
    expected = sorted(sorted(times), key=lambda name: times[name], reverse=True)
    assert [row["name"] for row in found] == expected
    assert len(expected) == len(ALGORITHMS)
    for row in found:
        assert row["nativeId"] == row["name"]
        assert row["description"] == "Gradient boosting."
        assert time(row["createdAt"]) == times[row["name"]]
        assert row["latestVersion"] == {"name": "1", "createdAt": row["createdAt"]}


async def test_an_algorithm_is_what_boto3_describes(moto: Moto, cloud: TestServer, gateway: Client) -> None:
    query = """{ algorithm(id: "aws:algorithm/kmeans") { name versions { totalCount nodes { id name raw spec {
      image hyperParameters { name type required defaultValue range { minimum maximum enum } }
      inputChannels { name required supportedChannelTypes properties } metricDefinitions { name regex }
      supportedInstanceTypes supportsDistributedTraining } } } } }"""
    described = await boto3(moto, cloud, "describe_algorithm", AlgorithmName="kmeans")
    training = described["TrainingSpecification"]
    found = (await gateway.query(query)).data["algorithm"]
    [version] = found["versions"]["nodes"]
    spec = version["spec"]
    assert (found["versions"]["totalCount"], version["id"], version["name"]) == (
        1,
        "aws:algorithm/kmeans/version/1",
        "1",
    )
    assert version["raw"]["TrainingSpecification"] == training
    assert spec["image"] == training["TrainingImage"]
    assert spec["supportedInstanceTypes"] == training["SupportedTrainingInstanceTypes"]
    assert spec["supportsDistributedTraining"] == training["SupportsDistributedTraining"]
    assert spec["metricDefinitions"] == [{"name": "auc", "regex": "auc=([0-9.]+)"}]
    assert [(row["name"], row["type"], row["required"], row["defaultValue"]) for row in spec["hyperParameters"]] == [
        (row["Name"], row["Type"], row.get("IsRequired"), row.get("DefaultValue"))
        for row in training["SupportedHyperParameters"]
    ]
    assert [row["range"] for row in spec["hyperParameters"]] == [
        {"minimum": "1", "maximum": "20", "enum": None},
        {"minimum": "0.01", "maximum": "1", "enum": None},
        {"minimum": None, "maximum": None, "enum": ["gbtree", "dart"]},
        None,
    ]


async def test_a_version_leads_to_the_algorithms_of_its_account(gateway: Client) -> None:
    query = """{ modelVersion(id: "aws:model/Churn-Model/version/2") {
      trainedWith { name algorithm { id description } algorithmVersion { id spec { image } } } stage stageName } }"""
    arn = "arn:aws:sagemaker:eu-west-1:{}:algorithm/{}".format
    assert (await gateway.query(query)).data["modelVersion"] == {
        "trainedWith": [
            {
                "name": arn("123456789012", "boosted-trees"),
                "algorithm": {"id": "aws:algorithm/boosted-trees", "description": "Gradient boosting."},
                "algorithmVersion": {
                    "id": "aws:algorithm/boosted-trees/version/1",
                    "spec": {"image": DESCRIBED["TrainingSpecification"]["TrainingImage"]},
                },
            },
            {"name": arn("999999999999", "market-trees"), "algorithm": None, "algorithmVersion": None},
        ],
        "stage": "PRODUCTION",
        "stageName": "Production",
    }


@pytest.mark.parametrize("id", ["aws:algorithm/none", "aws:algorithm/none/version/1"])
async def test_a_missing_algorithm_is_null(gateway: Client, id: str) -> None:
    assert (await gateway.query("query($id: ID!) { node(id: $id) { id } }", id=id)).body == {"data": {"node": None}}


async def test_a_name_finds_an_algorithm(gateway: Client) -> None:
    query = '{ algorithms(filter: {nameEquals: "PCA"}) { nodes { name } } }'
    assert (await gateway.query(query)).data["algorithms"]["nodes"] == [{"name": "PCA"}]


async def test_another_secret_is_refused(moto: Moto, cloud: TestServer) -> None:
    key, secret, token = moto.keys["user"]
    url = f"http://127.0.0.1:{cloud.port}"
    async with gateway_over(url, (key, secret[:-1], token)) as gateway:
        answer = await gateway.query("{ algorithms { nodes { id } } }")
    [error] = answer.body["errors"]
    assert [failed["code"] for failed in error["extensions"]["registries"]] == ["REGISTRY_UNAUTHENTICATED"]
