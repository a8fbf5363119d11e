"""SageMaker answers of a scripted server: faults, odd pages, tokens, and what the gateway sends."""

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway import twins
from gateway.catalog.ids import parse
from gateway.catalog.registry import Registry
from gateway.config.settings import CacheSettings, RetrySettings, Secret
from gateway.registries.sagemaker import DESCRIBE_PACKAGE, SAGEMAKER
from gateway.upstream.caching_client import UncachedClient
from tests.conftest import Client, pai, qianfan, served, settings
from tests.sagemaker.conftest import sagemaker

KEY = ("AKIATESTKEY", "test-aws-secret", "")
GROUP = {"ModelPackageGroupName": "m", "ModelPackageGroupArn": "arn", "CreationTime": 1_700_000_000}
MODEL = "aws:model/m"


def packages(*numbers: int, **more: Any) -> dict[str, Any]:
    """Return a page of packages, of which a higher number is newer."""
    return {
        "ModelPackageSummaryList": [
            {"ModelPackageGroupName": "m", "ModelPackageVersion": number, "CreationTime": 1_700_000_000 + number}
            for number in numbers
        ],
        **more,
    }


def fault(code: str, status: int = 400) -> web.Response:
    return web.json_response({"__type": f"com.amazon.coral.service#{code}", "message": "No."}, status=status)


@dataclass
class Scripted:
    """A server whose answers are functions of the parameters by operation; it records what it receives."""

    answers: dict[str, Callable[[dict[str, Any]], Any]]
    url: str = ""
    received: list[tuple[str, dict[str, Any], Mapping[str, str]]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        operation, parameters = request.headers["X-Amz-Target"].removeprefix("SageMaker."), await request.json()
        self.received.append((operation, parameters, request.headers))
        answer = self.answers[operation](parameters)
        return answer if isinstance(answer, web.StreamResponse) else web.json_response(answer)


@asynccontextmanager
async def gateway_over(
    answers: dict[str, Callable[[dict[str, Any]], Any]],
    options: Any = None,
    now: Callable[[], float] = time.time,
    **sections: Any,
) -> AsyncIterator[tuple[Client, Scripted]]:
    cloud = Scripted({"DescribeModelPackageGroup": lambda _: GROUP, **answers})
    app = web.Application()
    app.router.add_post("/{path:.*}", cloud.handle)
    async with TestServer(app) as server:
        cloud.url = f"http://127.0.0.1:{server.port}"
        registry = sagemaker(cloud.url, KEY, **options or {})
        async with served(settings(registry, **sections), now) as client:
            yield client, cloud


def codes(answer: Any) -> list[str]:
    return [error["extensions"]["code"] for error in answer.body.get("errors", ())]


# Latest versions


@pytest.mark.parametrize(
    "page",
    [
        packages(NextToken="t"),
        {"ModelPackageSummaryList": ["odd"]},
        {"ModelPackageSummaryList": [{"ModelPackageVersion": None}]},
        packages(NextToken={"odd": 1}),
    ],
    ids=["an empty page before others", "a row that is no object", "a row without a key", "a token that is no text"],
)
async def test_a_latest_version_that_is_not_there_is_an_error_and_not_null(page: Any) -> None:
    async with gateway_over({"ListModelPackages": lambda _: page}) as (gateway, _):
        answer = await gateway.query(f'{{ model(id: "{MODEL}") {{ name latestVersion {{ name }} }} }}')
    assert answer.body["data"] == {"model": {"name": "m", "latestVersion": None}}
    assert codes(answer) == ["REGISTRY_BAD_ANSWER"]


async def test_a_model_without_versions_has_no_latest_version() -> None:
    async with gateway_over({"ListModelPackages": lambda _: packages()}) as (gateway, _):
        answer = await gateway.query(f'{{ model(id: "{MODEL}") {{ latestVersion {{ name }} }} }}')
    assert answer.body == {"data": {"model": {"latestVersion": None}}}


async def test_the_latest_version_is_found_behind_an_empty_page() -> None:
    def pages(parameters: Any) -> Any:
        return packages(2, 1) if "NextToken" in parameters else packages(NextToken="t")

    query = f'{{ model(id: "{MODEL}") {{ latestVersion {{ name }} versions {{ nodes {{ name }} }} }} }}'
    async with gateway_over({"ListModelPackages": pages}) as (gateway, _):
        answer = await gateway.query(query)
    assert answer.data["model"] == {
        "latestVersion": {"name": "2"},
        "versions": {"nodes": [{"name": "2"}, {"name": "1"}]},
    }


# Tokens

VERSIONS = """query($id: ID!, $after: String) { model(id: $id) { versions(first: 2, after: $after) {
  nodes { name } pageInfo { hasNextPage endCursor } coverage { state } } } }"""


@pytest.mark.parametrize(
    "token", ["t", "x" * 8192, 'a"b\\c/+=', "模型"], ids=["short", "longest", "escaped", "Chinese"]
)
async def test_a_token_is_sent_back_as_it_came(token: str) -> None:
    """Cursors contain the token, too: the third page starts with the second token."""
    second = token[:-1] + "2"
    pages = {None: packages(6, 5, NextToken=token), token: packages(4, 3, NextToken=second), second: packages(2, 1)}
    names, after = [], None
    async with gateway_over({"ListModelPackages": lambda sent: pages[sent.get("NextToken")]}) as (gateway, cloud):
        for _ in range(3):
            page = (await gateway.query(VERSIONS, id=MODEL, after=after)).data["model"]["versions"]
            assert page["coverage"] == [{"state": "COMPLETE"}]
            names += [row["name"] for row in page["nodes"]]
            after = page["pageInfo"]["endCursor"]
    assert names == ["6", "5", "4", "3", "2", "1"]
    sent = [{**parameters, "NextToken": None} for call, parameters, _ in cloud.received if call == "ListModelPackages"]
    assert all(parameters == sent[0] for parameters in sent)


@pytest.mark.parametrize("token", ["same", 7, {"odd": 1}, ["t"]])
async def test_a_list_whose_token_leads_nowhere_is_not_complete(token: Any) -> None:
    async with gateway_over({"ListModelPackages": lambda _: packages(2, 1, NextToken=token)}) as (gateway, _):
        answer = await gateway.query(f'{{ model(id: "{MODEL}") {{ versions {{ nodes {{ name }} }} }} }}')
    assert answer.body["data"]["model"]["versions"]["nodes"] == [{"name": "2"}, {"name": "1"}]
    assert codes(answer) == ["LIST_INCOMPLETE"]


# Faults


async def test_a_throttled_call_is_sent_again() -> None:
    answers = [fault("ThrottlingException"), GROUP]
    sections = {"retry": RetrySettings(attempts=2)}
    async with gateway_over({"DescribeModelPackageGroup": lambda _: answers.pop(0)}, **sections) as (gateway, _):
        answer = await gateway.query(f'{{ model(id: "{MODEL}") {{ name }} }}')
    assert answer.data == {"model": {"name": "m"}}


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (lambda: fault("ThrottlingException"), "REGISTRY_THROTTLED"),
        (lambda: fault("ExpiredTokenException"), "REGISTRY_UNAUTHENTICATED"),
        (lambda: fault("AccessDeniedException"), "REGISTRY_FORBIDDEN"),
        (lambda: fault("ServiceUnavailable", 503), "REGISTRY_UNAVAILABLE"),
        (lambda: fault("ValidationException"), "REGISTRY_REJECTED"),
        (lambda: web.Response(status=404, text="<html>"), "REGISTRY_BAD_ANSWER"),
        (lambda: web.json_response({}), "REGISTRY_BAD_ANSWER"),
    ],
)
async def test_a_fault_is_never_a_missing_model(response: Callable[[], Any], code: str) -> None:
    async with gateway_over({"DescribeModelPackageGroup": lambda _: response()}) as (gateway, _):
        answer = await gateway.query(f'{{ model(id: "{MODEL}") {{ name }} }}')
    assert answer.body["data"] == {"model": None}
    assert codes(answer) == [code]
    assert "No." not in json.dumps(answer.body)


async def test_a_key_from_a_file_is_renewed_when_it_has_expired(tmp_path: Path) -> None:
    file, now = tmp_path / "key.json", [time.time()]

    def write(token: str) -> None:
        key = {"Version": 1, "AccessKeyId": "AKIA", "SecretAccessKey": "secret", "SessionToken": token}
        file.write_text(json.dumps(key))

    def group(_: Any) -> Any:
        if cloud.received[-1][2]["X-Amz-Security-Token"] == "new":
            return GROUP
        write("new")
        now[0] += 60  # renewals have a shortest interval
        return fault("ExpiredTokenException")

    write("old")
    own = {"access_key_id": "", "secret_access_key": Secret(""), "credentials_file": str(file)}
    async with gateway_over({"DescribeModelPackageGroup": group}, own, lambda: now[0]) as (gateway, cloud):
        answer = await gateway.query(f'{{ model(id: "{MODEL}") {{ name }} }}')
    assert answer.data == {"model": {"name": "m"}}
    assert len(cloud.received) == 2


# Requests


@pytest.mark.parametrize(
    ("region", "arn"),
    [
        ("eu-west-1", "arn:aws:sagemaker:eu-west-1:123456789012:model-package/Churn-Model/7"),
        ("cn-north-1", "arn:aws-cn:sagemaker:cn-north-1:123456789012:model-package/Churn-Model/7"),
        ("us-gov-west-1", "arn:aws-us-gov:sagemaker:us-gov-west-1:123456789012:model-package/Churn-Model/7"),
    ],
)
async def test_a_package_is_named_by_partition_region_and_account(region: str, arn: str) -> None:
    package = {
        **packages(7)["ModelPackageSummaryList"][0],
        "ModelPackageArn": arn,
        "ModelPackageGroupName": "Churn-Model",
    }
    async with gateway_over({"DescribeModelPackage": lambda _: package}, {"region": region}) as (gateway, cloud):
        answer = await gateway.query('{ modelVersion(id: "aws:model/Churn-Model/version/7") { name } }')
    assert answer.data == {"modelVersion": {"name": "7"}}
    [(_, parameters, headers)] = cloud.received
    assert parameters == {"ModelPackageName": arn, "IncludedData": "MetadataOnly"}
    assert f"/{region}/sagemaker/aws4_request" in headers["Authorization"]


async def test_registries_of_two_accounts_and_regions_share_no_answers() -> None:
    own = [{"account": "1" * 12}, {"account": "2" * 12}, {"account": "2" * 12, "region": "us-east-1"}]
    groups: list[Any] = []

    def group(_: Any) -> Any:
        groups.append(None)
        return {**GROUP, "ModelPackageGroupDescription": str(len(groups))}

    cloud = Scripted({"DescribeModelPackageGroup": group})
    app = web.Application()
    app.router.add_post("/", cloud.handle)
    async with TestServer(app) as server:
        url = f"http://127.0.0.1:{server.port}"
        registries = [sagemaker(url, KEY, name=f"aws-{number}", **options) for number, options in enumerate(own)]
        async with served(settings(*registries, cache=CacheSettings())) as gateway:
            models = " ".join(f'm{n}: model(id: "aws-{n}:model/m") {{ description }}' for n in range(len(own)))
            found = [(await gateway.query(f"{{ {models} }}")).data for _ in range(2)]
    assert {row["description"] for row in found[0].values()} == {"1", "2", "3"}
    assert found[0] == found[1]


def spelled(name: str) -> Callable[[dict[str, Any]], Any]:
    """Return the answer of a registry that knows package 7 of a group, whose resource name has a spelling."""
    package = {**packages(7)["ModelPackageSummaryList"][0], "ModelPackageGroupName": "Churn-Model"}
    arn = f"arn:aws:sagemaker:eu-west-1:123456789012:model-package/{name}/7"

    def answer(parameters: dict[str, Any]) -> Any:
        return {**package, "ModelPackageArn": arn} if parameters["ModelPackageName"] == arn else missing()

    return answer


def missing() -> web.Response:
    return web.json_response({"__type": "ValidationException", "message": "The package does not exist."}, status=400)


@pytest.mark.parametrize(("name", "calls"), [("Churn-Model", 1), ("churn-model", 2)])
async def test_a_package_is_found_by_the_old_and_the_new_spelling_of_its_group(name: str, calls: int) -> None:
    query = "query($id: ID!) { modelVersion(id: $id) { id name uri model { id } } }"
    async with gateway_over({"DescribeModelPackage": spelled(name)}) as (gateway, cloud):
        found = await gateway.query(query, id="aws:model/Churn-Model/version/7")
        made = len([call for call, *_ in cloud.received if call == "DescribeModelPackage"])
        none = await gateway.query(query, id="aws:model/Churn-Model/version/8")
        other = await gateway.query(query, id="aws:model/churn-model/version/7")
    assert found.data == {
        "modelVersion": {
            "id": "aws:model/Churn-Model/version/7",
            "name": "7",
            "uri": None,
            "model": {"id": "aws:model/Churn-Model"},
        }
    }
    assert made == calls
    assert none.body == other.body == {"data": {"modelVersion": None}}


async def test_a_package_that_fails_is_not_looked_for_under_its_old_spelling() -> None:
    async with gateway_over({"DescribeModelPackage": lambda _: fault("ThrottlingException")}) as (gateway, cloud):
        answer = await gateway.query('{ modelVersion(id: "aws:model/Churn-Model/version/7") { name } }')
    assert codes(answer) == ["REGISTRY_THROTTLED"]
    assert len(cloud.received) == 1


def test_a_purge_of_a_version_includes_its_description() -> None:
    registry = Registry(SAGEMAKER, sagemaker("http://127.0.0.1:9", KEY), UncachedClient(None))  # type: ignore[arg-type]
    request = SAGEMAKER.with_settings(registry.settings, DESCRIBE_PACKAGE.request(("m", "7")))
    assert b"123456789012" in request.body
    assert str(registry.destination.scope.key(request)) in registry.cache_prefixes(parse("aws:model/m/version/7"))


async def test_hostile_ids_reach_no_registry() -> None:
    async with gateway_over({}) as (gateway, cloud):
        for key in ("{account}", "m%22", "a--", "-a", "a_b", "a.b", "a" * 64, "m%2F1"):
            answer = await gateway.query("query($id: ID!) { node(id: $id) { id } }", id=f"aws:model/{key}")
            assert codes(answer) == ["INVALID_ID"], key
    assert cloud.received == []


# Beside other registries


def groups(parameters: Any) -> Any:
    """Return two groups: one newer than all models of the twins, one older."""
    times = {"new": 4_000_000_000, "old": 1_000_000}
    rows = [{**GROUP, "ModelPackageGroupName": name, "CreationTime": seconds} for name, seconds in times.items()]
    return {"ModelPackageGroupSummaryList": rows if parameters["SortOrder"] == "Descending" else rows[::-1]}


async def test_groups_are_in_one_list_with_the_models_of_other_registries() -> None:
    query = """query($after: String, $filter: ModelFilter) { models(first: 40, after: $after, filter: $filter) {
      nodes { registryName name createdAt ownership } pageInfo { hasNextPage endCursor }
      coverage { registry { name kind capabilities } state } } }"""
    cloud = Scripted({"ListModelPackageGroups": groups})
    app = web.Application()
    app.router.add_post("/", cloud.handle)
    async with TestServer(app) as server, twins.serving(models=60) as others:
        registry = sagemaker(f"http://127.0.0.1:{server.port}", KEY)
        async with served(settings(pai(others.url), qianfan(others.url), registry)) as gateway:
            rows, after = [], None
            while True:
                page = (await gateway.query(query, after=after, filter={"ownership": "OWN"})).data["models"]
                rows += page["nodes"]
                after = page["pageInfo"]["endCursor"]
                if not page["pageInfo"]["hasNextPage"]:
                    break
            [only] = (await gateway.query(query, filter={"kinds": ["SAGEMAKER"]})).data["models"]["coverage"]
            none = (await gateway.query(query, filter={"kinds": ["SAGEMAKER"], "ownership": "PLATFORM"})).data["models"]
    assert {entry["registry"]["name"]: entry["state"] for entry in page["coverage"]} == dict.fromkeys(
        ("pai", "qianfan", "aws"), "COMPLETE"
    )
    assert [rows[0]["name"], rows[-1]["name"]] == ["new", "old"]
    assert {row["registryName"] for row in rows} == {"aws", "pai", "qianfan"}
    assert rows == sorted(rows, key=lambda row: datetime.fromisoformat(row["createdAt"]), reverse=True)
    assert only["registry"] == {"name": "aws", "kind": "SAGEMAKER", "capabilities": ["MODELS", "ALGORITHMS"]}
    assert none["nodes"] == []
