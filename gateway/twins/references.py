"""Rows from the examples in the vendors' documentation, unchanged."""

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from gateway.twins.rows import Algorithm, Json, PaiModel, QianfanModel


def document(name: str) -> Any:
    """Return a file of ``reference/``: a response body from the vendor's documentation."""
    return json.loads(files("gateway.twins").joinpath("reference", f"{name}.json").read_bytes())


def pai_models() -> Iterator[PaiModel]:
    sentiment = _without(document("pai_GetModel"), "RequestId", "LatestVersion")
    listed, empty = document("pai_ListModels")["Models"]
    versions = document("pai_ListModelVersions")["Versions"]
    differs = {name: value for name, value in listed.items() if sentiment.get(name) != value}
    yield PaiModel(sentiment, versions[::-1], _without(differs, "LatestVersion"))
    yield PaiModel(_without(empty, "Tags"), (), {"Tags": empty["Tags"]})
    (public,) = document("pai_ListModels_provider_pai")["Models"]
    head = _without(public, "LatestVersion", "Tags")
    yield PaiModel(head, [public["LatestVersion"]], {"Tags": public["Tags"]}, ("QuickStart",))


def algorithms() -> Iterator[Algorithm]:
    """``llm_training`` has numbers in the spec of v0.0.1, like the documentation, and text in that of v0.1.0."""
    first = document("pai_GetAlgorithmVersion_seed_example")
    second = document("pai_ListAlgorithmVersions")["AlgorithmVersions"][1]
    spec = document("pai_GetAlgorithmVersion_typed")["AlgorithmSpec"]
    yield Algorithm(_without(document("pai_GetAlgorithm"), "RequestId"), [first, second | {"AlgorithmSpec": spec}])

    train = document("pai_ListAlgorithms")["Algorithms"][0]
    version = {name: train[name] for name in first if name in train}
    yield Algorithm(
        train | {"TenantId": train["UserId"]},
        [version | {"AlgorithmVersion": "v0.0.1", "TenantId": train["UserId"], "AlgorithmSpec": spec}],
    )

    minimal = document("pai_GetAlgorithmVersion_minimal")
    head = _without(minimal, "AlgorithmSpec", "AlgorithmVersion")
    yield Algorithm(head | {"AlgorithmDescription": "", "DisplayName": "", "WorkspaceId": "23456"}, [minimal])


def qianfan_models() -> Iterator[QianfanModel]:
    """Model 5862 has no text ids if it is requested by number, as in the 2023 documentation."""
    current = document("qianfan_v1_modelDetail")["result"]
    yield QianfanModel.read(document("qianfan_v1_modelDetail_seed_example")["result"], current)
    yield QianfanModel.read(document("qianfan_v1_modelDetail_preset")["result"])
    for item in document("qianfan_v1_preset_list")["result"]["items"]:
        yield QianfanModel.read(_preset_detail(item))
    for item in document("qianfan_v1_user_list")["result"]["items"]:
        yield QianfanModel.read(_user_detail(item))


def version_params() -> Any:
    """Return ``params`` of a chat model in modelVersionDetail."""
    return document("qianfan_v1_modelVersionDetail")["result"]["params"]


def _without(found: Json, *names: str) -> Json:
    return {name: value for name, value in found.items() if name not in names}


def _preset_detail(item: Json) -> Json:
    created = {"createTime": item["modifyTime"], "modifyTime": item["modifyTime"]}
    owner = {name: item[name] for name in ("modelId", "modelIdStr", "modelName")}
    versions = [
        owner
        | {
            "modelVersionId": summary["versionId"],
            "modelVersionIdStr": summary["versionIdStr"],
            **{name: summary[name] for name in ("version", "algorithm", "framework", "supportOptions")},
            "sourceType": "PlatformPreset",
            "sourceExtra": {},
            "state": "Ready",
            "property": {},
            **created,
        }
        for summary in item["versionSummaries"]
    ]
    return (
        _without(item, "versionCount", "versionSummaries")
        | {"source": "PlatformPreset", "createUserId": 0, "createUser": "", "tags": [], **created}
        | {"apiDocLink": item["versionSummaries"][0]["apiDocLink"], "modelVersionList": versions}
    )


def _user_detail(item: Json) -> Json:
    created = {"createTime": item["createTime"], "modifyTime": item["createTime"]}
    owner = {name: item[name] for name in ("modelId", "modelIdStr", "modelName", "trainType")}
    latest = item["latestVersionInfo"]
    version = latest and owner | {
        "modelVersionId": latest["versionId"],
        "modelVersionIdStr": latest["versionIdStr"],
        **{name: latest[name] for name in ("version", "state", "sourceType", "sourceExtra")},
        "description": "",
        "framework": "paddle",
        "property": {},
        **created,
    }
    return _without(item, "versionCount", "latestVersionInfo") | {
        "source": "UserCreate",
        "createUserId": 20,
        "createUser": "baidu_aipd",
        "description": "",
        **created,
        "modelVersionList": [version] if version else [],
    }


def fine_tuning_models() -> list[Json]:
    names = ("qianfan_v2_DescribeFineTuningSupportModels", "more_fine_tuning_models")
    return [entry for name in names for entry in document(name)["result"]]


def fine_tuning_tasks() -> dict[str, Json]:
    """Return the documented example task, and the task that produced version 7203."""
    task = document("qianfan_v2_DescribeFineTuningTask")["result"]
    extra = document("qianfan_v1_modelDetail")["result"]["modelVersionList"][0]["sourceExtra"]["trainSourceExtra"]
    bloom = task | {
        "taskId": extra["runIdStr"],
        "jobId": extra["taskIdStr"],
        "jobName": extra["taskName"],
        "model": "BLOOMZ-7B",
        "parameterScale": "LoRA",
        "createDate": "2023-09-22T11:20:04Z",
        "finishDate": "2023-09-22T14:41:11Z",
    }
    return {found["taskId"]: found for found in (task, bloom)}


def workspaces() -> list[Json]:
    return [item for name in ("pai_ListWorkspaces", "more_workspaces") for item in document(name)["Workspaces"]]
