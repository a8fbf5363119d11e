"""Alibaba's SDKs against the PAI twin: sync and async, with a key and with an STS token."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_aiworkspace20210204 import models as workspace
from alibabacloud_aiworkspace20210204.client import Client as WorkspaceClient
from alibabacloud_paistudio20220112 import models as studio
from alibabacloud_paistudio20220112.client import Client as StudioClient
from alibabacloud_tea_openapi.exceptions import ClientException, ServerException, ThrottlingException
from alibabacloud_tea_openapi.models import Config

from gateway.twins import PAI_KEY_ID, PAI_SECRET, PAI_STS_TOKEN, Twins

PAGES = Path(__file__).parent / "pages"


class Sdk:
    """One interface to both SDKs, sync or async. Calls return the JSON of the response body."""

    def __init__(self, twins: Twins, mode: str, **credentials: str) -> None:
        options = {"access_key_id": PAI_KEY_ID, "access_key_secret": PAI_SECRET} | credentials
        config = Config(endpoint=f"127.0.0.1:{twins.port}", protocol="http", **options)
        self._mode = mode
        self._clients = (WorkspaceClient(config), StudioClient(config))

    async def __call__(self, name: str, *arguments: Any) -> dict[str, Any]:
        client = next(client for client in self._clients if hasattr(client, name))
        if self._mode == "async":
            answer = await getattr(client, f"{name}_async")(*arguments)
        else:
            answer = await asyncio.to_thread(getattr(client, name), *arguments)
        assert answer.status_code == 200
        found: dict[str, Any] = answer.body.to_map()
        return found

    async def models(self, **parameters: Any) -> dict[str, Any]:
        return await self("list_models", workspace.ListModelsRequest(**parameters))

    async def algorithms(self, **parameters: Any) -> dict[str, Any]:
        return await self("list_algorithms", studio.ListAlgorithmsRequest(**parameters))

    async def versions(self, model: str, **parameters: Any) -> dict[str, Any]:
        return await self("list_model_versions", model, workspace.ListModelVersionsRequest(**parameters))


@pytest.fixture(params=["sync", "async", "sync with STS", "async with STS"])
def sdk(request: pytest.FixtureRequest, twins: Twins) -> Sdk:
    mode, _, sts = request.param.partition(" with ")
    return Sdk(twins, mode, **({"security_token": PAI_STS_TOKEN} if sts else {}))


@pytest.fixture
def sync(twins: Twins) -> Sdk:
    return Sdk(twins, "sync")


async def test_every_call_is_accepted(twins: Twins, sdk: Sdk) -> None:
    model, algorithm = "model-rbvg5wzljzjhc9ks92", "algo-xsldfvu1334"
    assert (await sdk.models())["TotalCount"] == len(twins.corpus.pai_models.partition(""))
    assert (await sdk("get_model", model, workspace.GetModelRequest()))["ModelName"] == "情感分析"
    assert (await sdk.versions(model))["TotalCount"] == 2
    version = await sdk("get_model_version", model, "0.2.0", workspace.GetModelVersionRequest())
    assert version["FrameworkType"] == "TensorFlow"
    spaces = await sdk("list_workspaces", workspace.ListWorkspacesRequest())
    assert [space["WorkspaceId"] for space in spaces["Workspaces"]] == ["23456", "12345", "88061", "88062"]
    assert (await sdk.algorithms(algorithm_provider="pai"))["TotalCount"] > 10
    assert (await sdk("get_algorithm", algorithm))["DisplayName"] == "llm_training"
    listed = await sdk("list_algorithm_versions", algorithm, studio.ListAlgorithmVersionsRequest())
    assert [item["AlgorithmVersion"] for item in listed["AlgorithmVersions"]] == ["v0.0.1", "v0.1.0"]
    assert (await sdk("get_algorithm_version", algorithm, "v0.0.1"))["AlgorithmName"] == "llm_training"
    assert set(twins.calls.values()) == {1}
    assert len(twins.calls) == 9


async def test_the_documented_algorithm_example_is_returned_unchanged(sdk: Sdk) -> None:
    page = json.loads((PAGES / "pai_get_algorithm_version.json").read_bytes())
    assert await sdk("get_algorithm_version", "algo-xsldfvu1334", "v0.0.1") == page


async def test_a_model_version_has_every_documented_field(sync: Sdk) -> None:
    fields = json.loads((PAGES / "pai_model_version_fields.json").read_bytes())
    version = await sync("get_model_version", "model-rbvg5wzljzjhc9ks92", "0.2.0", workspace.GetModelVersionRequest())
    assert [name for name in fields if not version.get(name) and not name.endswith("Spec")] == []
    assert set(fields) <= set(version)


async def test_the_sdk_accepts_every_generated_row(twins: Twins, sync: Sdk) -> None:
    for provider in ("", "pai", "huggingface"):
        answer = await sync.models(page_size=100, provider=provider)
        assert len(answer["Models"]) == answer["TotalCount"] == len(twins.corpus.pai_models.partition(provider))
    for row in twins.corpus.algorithms:
        for version in row.versions:
            answer = await sync("get_algorithm_version", row.keys[0], version["AlgorithmVersion"])
            assert answer["AlgorithmSpec"]["Image"] == version["AlgorithmSpec"]["Image"]


@pytest.mark.parametrize("order", ["ASC", "DESC"])
async def test_all_pages_together_are_the_corpus_in_order_of_creation(twins: Twins, sdk: Sdk, order: str) -> None:
    walked: list[str] = []
    for number in range(1, 100):
        page = await sdk.models(page_number=number, page_size=30, sort_by="GmtCreateTime", order=order)
        if not page["Models"]:
            break
        walked += [model["ModelId"] for model in page["Models"]]
    rows = [row.keys[0] for row in twins.corpus.pai_models.partition("")]
    assert walked == (rows if order == "ASC" else rows[::-1])
    assert page["TotalCount"] == len(rows)


async def test_default_page_sizes(sync: Sdk) -> None:
    assert len((await sync.models())["Models"]) == 10
    assert len((await sync.algorithms(algorithm_provider="pai"))["Algorithms"]) == 10
    assert len((await sync("list_workspaces", workspace.ListWorkspacesRequest(page_size=3)))["Workspaces"]) == 3


@pytest.mark.parametrize(
    "parameters",
    [
        {"page_size": 101},
        {"page_size": 0},
        {"page_number": 0},
        {"sort_by": "ModelName"},
        {"order": "desc"},
        {"conditions": [workspace.ListModelsRequestConditions(column="Rating", operator="LessThan", value="1")]},
    ],
    ids=lambda parameters: ",".join(parameters),
)
async def test_parameters_out_of_bounds_are_refused(sync: Sdk, parameters: dict[str, Any]) -> None:
    with pytest.raises(ClientException) as refused:
        await sync.models(**parameters)
    assert refused.value.code == "InvalidParameter"


def tag(key: str, value: str) -> list[workspace.ListModelsRequestTag]:
    return [workspace.ListModelsRequestTag(key=key, value=value)]


def below(size: int) -> list[workspace.ListModelsRequestConditions]:
    condition = workspace.ListModelsRequestConditions(column="ParameterSize", operator="LessThan", value=str(size))
    return [condition]


def texts(model: dict[str, Any]) -> list[str]:
    labels = [pair[side] for pair in model.get("Labels") or () for side in ("Key", "Value")]
    return [model.get("ModelName") or "", model.get("Domain") or "", model.get("Task") or "", *labels]


Expect = Callable[[dict[str, Any]], bool]
FILTERS: list[tuple[dict[str, Any], Expect]] = [
    ({"model_name": "BERT"}, lambda model: "bert" in model["ModelName"].lower()),
    ({"model_name": '"情感分析"'}, lambda model: model["ModelName"] == "情感分析"),
    ({"query": "text"}, lambda model: any("text" in text for text in texts(model))),
    ({"query": "风控"}, lambda model: any("风控" in text for text in texts(model))),
    ({"label": "search"}, lambda model: any("search" in text for text in texts(model)[3:])),
    ({"domain": "llm"}, lambda model: model.get("Domain") == "llm"),
    ({"task": "translation"}, lambda model: model.get("Task") == "translation"),
    ({"origin": "Civitai"}, lambda model: model.get("Origin") == "Civitai"),
    ({"model_type": "LoRA"}, lambda model: model.get("ModelType") == "LoRA"),
    ({"workspace_id": "12345"}, lambda model: model["WorkspaceId"] == "12345"),
    ({"tag": tag("team", "风控")}, lambda model: {"Key": "team", "Value": "风控"} in (model.get("Tags") or ())),
    ({"conditions": below(200)}, lambda model: (model.get("ParameterSize") or 0) < 200),
    (
        {"domain": "cv", "model_type": "LoRA"},
        lambda model: (model.get("Domain"), model.get("ModelType")) == ("cv", "LoRA"),
    ),
]


@pytest.mark.parametrize(("parameters", "expect"), FILTERS, ids=[",".join(parameters) for parameters, _ in FILTERS])
async def test_filters_return_exactly_the_matching_models(
    twins: Twins, sync: Sdk, parameters: dict[str, Any], expect: Expect
) -> None:
    answer = await sync.models(page_size=100, **parameters)
    items = [row.item for row in twins.corpus.pai_models.partition("")]
    if "conditions" in parameters:
        items = [item for item in items if item.get("ParameterSize") is not None]
    expected = [item["ModelId"] for item in items if expect(item)]
    assert expected
    assert [model["ModelId"] for model in answer["Models"]] == expected
    assert answer["TotalCount"] == len(expected)


async def test_public_models_are_filtered_by_provider_and_collection(sync: Sdk) -> None:
    public = await sync.models(provider="pai", page_size=100)
    assert {model["Provider"] for model in public["Models"]} == {"pai"}
    assert (await sync.models(provider="nobody"))["TotalCount"] == 0
    both = await sync.models(provider="pai", collections="AI4D,QuickStart", page_size=100)
    one = await sync.models(provider="pai", collections="AI4D", page_size=100)
    assert 0 < one["TotalCount"] < both["TotalCount"] < public["TotalCount"]


async def test_versions_are_filtered_and_paged(twins: Twins, sync: Sdk) -> None:
    row = max(twins.corpus.pai_models.partition(""), key=lambda model: len(model.versions))
    assert len(row.versions) > 50
    model = row.keys[0]
    page = await sync.versions(model, page_size=20, page_number=3, order="DESC")
    names = [version["VersionName"] for version in row.versions][::-1]
    assert [version["VersionName"] for version in page["Versions"]] == names[40:60]
    for name, value in (
        ("FormatType", "SavedModel"),
        ("FrameworkType", "Pytorch"),
        ("SourceType", "PAIFlow"),
        ("ApprovalStatus", "Approved"),
    ):
        parameter = {"FormatType": "format_type", "FrameworkType": "framework_type"} | {
            "SourceType": "source_type",
            "ApprovalStatus": "approval_status",
        }
        answer = await sync.versions(model, page_size=100, **{parameter[name]: value})
        expected = [version["VersionName"] for version in row.versions if version.get(name) == value]
        assert [version["VersionName"] for version in answer["Versions"]] == expected
        assert expected


async def test_tags_and_request_ids_appear_in_the_same_responses_as_in_the_cloud(sync: Sdk, twins: Twins) -> None:
    item = (await sync.models(model_name='"情感分析"'))["Models"][0]
    detail = await sync("get_model", item["ModelId"], workspace.GetModelRequest())
    assert item["Tags"] == [{"Key": "team", "Value": "search"}]
    assert "Tags" not in detail
    assert item["LatestVersion"] == detail["LatestVersion"]
    assert (item["GmtCreateTime"], detail["GmtCreateTime"]) == ("2024-03-01T00:00:00Z", "2024-03-01T00:00:00.028Z")
    assert "RequestId" not in await sync("get_algorithm_version", "algo-xsldfvu1334", "v0.0.1")
    listed = (await sync.algorithms(algorithm_provider="pai"))["Algorithms"]
    assert not any("TenantId" in algorithm for algorithm in listed)


async def test_algorithms_are_found_by_name_provider_and_id(sync: Sdk) -> None:
    named = await sync.algorithms(algorithm_name="llm_train", algorithm_provider="pai")
    assert [found["AlgorithmId"] for found in named["Algorithms"]] == ["algo-sidjc8134hv", "algo-xsldfvu1334"]
    own = (await sync.algorithms(page_size=100))["Algorithms"]
    assert {found.get("AlgorithmProvider") or "" for found in own} == {""}
    assert "algo-min00000001" in [found["AlgorithmId"] for found in own]
    one = await sync.algorithms(algorithm_id="algo-sidjc8134hv", algorithm_provider="pai")
    assert one["TotalCount"] == 1


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("get_model", ("model-doesnotexist", workspace.GetModelRequest()), "201600003"),
        (
            "list_model_versions",
            ("model-doesnotexist", workspace.ListModelVersionsRequest()),
            "201600003",
        ),
        (
            "get_model_version",
            ("model-rbvg5wzljzjhc9ks92", "9.9.9", workspace.GetModelVersionRequest()),
            "201600004",
        ),
        ("get_algorithm", ("algo-doesnotexist",), "201600013"),
        ("get_algorithm_version", ("algo-xsldfvu1334", "v9"), "201600014"),
    ],
)
async def test_a_missing_object_is_a_client_exception(
    sync: Sdk, name: str, arguments: tuple[Any, ...], code: str
) -> None:
    with pytest.raises(ClientException) as refused:
        await sync(name, *arguments)
    assert (refused.value.status_code, refused.value.code) == (404, code)
    assert refused.value.request_id


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize(
    ("credentials", "code"),
    [
        ({"access_key_secret": "not-the-secret"}, "SignatureDoesNotMatch"),
        ({"access_key_id": "nobody"}, "InvalidAccessKeyId.NotFound"),
        ({"access_key_id": "test-inactive-access-key-id"}, "InvalidAccessKeyId.Inactive"),
        ({"security_token": "not-the-token"}, "InvalidSecurityToken.Malformed"),
        ({"security_token": "test-expired-security-token"}, "InvalidSecurityToken.Expired"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_wrong_credentials_are_refused(twins: Twins, mode: str, credentials: dict[str, str], code: str) -> None:
    with pytest.raises(ClientException) as refused:
        await Sdk(twins, mode, **credentials).models()
    assert refused.value.code == code
    assert twins.calls == {"ListModels": 1}


async def test_faults_become_exceptions_of_the_sdk(twins: Twins, sync: Sdk) -> None:
    twins.faults.replace(
        {
            "ListModels": {"error": "Throttling.User", "status": 429, "headers": {"x-acs-retry-after": "1500"}},
            "*": {"status": 503},
        }
    )
    with pytest.raises(ThrottlingException) as throttled:
        await sync.models()
    assert (throttled.value.code, throttled.value.retry_after) == ("Throttling.User", 1500)
    with pytest.raises(ServerException) as broken:
        await sync("get_algorithm", "algo-xsldfvu1334")
    assert (broken.value.status_code, broken.value.code) == (503, "ServiceUnavailable")
