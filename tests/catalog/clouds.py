"""Both clouds as raw documents in memory, and a gateway over them that records every call."""

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from gateway.app import registries
from gateway.catalog.plan_execution import PlanExecution
from gateway.config.settings import LimitsSettings, Secret, Settings
from gateway.errors import NotFound, RegistryUnavailable
from gateway.execution.documents import Document, Documents, digest
from gateway.execution.strawberry_context import OperationContext
from gateway.memory_budget import BoundedCache
from gateway.registries.pai import PaiSettings
from gateway.registries.qianfan import QianfanSettings
from gateway.schema.schema import GRAPHQL_SCHEMA, SCHEMA
from gateway.upstream.caching_client import UncachedClient
from gateway.upstream.messages import Destination, Request


class ExecutedDocuments(Documents):
    """Documents that are cached when they are read."""

    def read(self, text: str, sha256: str | None = None) -> Document:
        document = super().read(text, sha256)
        if not document.errors:
            self.store(document, digest(text))
        return document


DOCUMENTS = ExecutedDocuments(
    GRAPHQL_SCHEMA,
    LimitsSettings(fields=100_000, depth=100, aliases=10_000, directives=10_000),
    suggestions=True,
    cache=BoundedCache(10**8),
)

SETTINGS = Settings(
    registries=(
        PaiSettings(
            name="pai", kind="pai", region="cn-hangzhou", access_key_id="id", access_key_secret=Secret("secret")
        ),
        QianfanSettings(name="qianfan", kind="qianfan", access_key="id", secret_key=Secret("secret")),
    )
)

Raw = dict[str, Any]


# Alibaba PAI


def pai_version(name: str, day: int, **more: Any) -> Raw:
    created = f"2024-05-{day:02}T08:00:00Z"
    return {
        "VersionName": name,
        "Uri": f"oss://bucket/{name}",
        "FrameworkType": "PyTorch",
        "FormatType": "SavedModel",
        "UserId": "1",
        "OwnerId": "2",
        "Labels": [{"Key": "stage", "Value": "test"}],
        "GmtCreateTime": created,
        "GmtModifiedTime": created,
        **more,
    }


def pai_model(key: str, day: int, *versions: Raw, provider: str = "") -> tuple[Raw, list[Raw]]:
    created = f"2024-05-{day:02}T09:00:00Z"
    model = {
        "ModelId": key,
        "ModelName": f"name of {key}",
        "UserId": "1",
        "OwnerId": "2",
        "WorkspaceId": "234",
        "Accessibility": "PRIVATE",
        "GmtCreateTime": created,
        "GmtModifiedTime": created,
        **({"Provider": provider} if provider else {}),
        **({"LatestVersion": versions[0]} if versions else {}),
    }
    return model, list(versions)


TUNED = {"TrainingSpec": {"AlgorithmName": "tune", "AlgorithmProvider": "pai", "AlgorithmVersion": "v1"}}

PAI_MODELS = [
    pai_model("model-a", 20, pai_version("0.2.0", 12, **TUNED), pai_version("0.1.0", 11, **TUNED)),
    pai_model("model-b", 18, pai_version("1.0.0", 10)),
    pai_model("model-empty", 16),
    pai_model("model-public", 14, pai_version("v1", 9, **TUNED), provider="pai"),
]


def pai_algorithm(key: str, name: str, day: int, *versions: str, provider: str = "") -> tuple[Raw, list[Raw]]:
    created = f"2024-04-{day:02}T09:00:00Z"
    listed = {
        "AlgorithmId": key,
        "AlgorithmName": name,
        "AlgorithmProvider": provider,
        "UserId": "1",
        "WorkspaceId": "234",
        "GmtCreateTime": created,
    }
    listed_versions = [
        {
            "AlgorithmId": key,
            "AlgorithmName": name,
            "AlgorithmProvider": provider,
            "AlgorithmVersion": version,
            "UserId": "1",
            "TenantId": "3",
            "GmtCreateTime": created,
        }
        for version in versions
    ]
    return listed, listed_versions


PAI_ALGORITHMS = [
    pai_algorithm("algo-own", "mine", 12, "v0.0.1"),
    pai_algorithm("algo-tune", "tune", 10, "v2", "v1", provider="pai"),
    pai_algorithm("algo-tuner", "tuner", 9, "v1", provider="pai"),
]
ALGORITHM_SPEC = {"Image": "registry/image:1", "Command": "python train.py"}


# Baidu Qianfan


def qianfan_version(model: int, number: int, name: str, day: int, **more: Any) -> Raw:
    return {
        "modelId": model,
        "modelIdStr": f"am-{model}",
        "modelVersionId": number,
        "modelVersionIdStr": f"amv-{number}",
        "version": name,
        "framework": "paddle",
        "state": "Ready",
        "sourceType": "Train",
        "sourceExtra": {"trainSourceExtra": {"taskIdStr": "task-1", "runIdStr": f"job-{number}"}},
        "algorithm": "LoRA",
        "ioMode": "chat",
        "createTime": f"2024-05-{day:02}T08:00:00Z",
        **more,
    }


def qianfan_model(number: int, day: int, *versions: Raw, source: str = "UserCreate") -> Raw:
    return {
        "modelId": number,
        "modelIdStr": f"am-{number}",
        "modelName": f"name of am-{number}",
        "source": source,
        "modelType": 0,
        "description": "words",
        "createUserId": 7,
        "createTime": f"2024-05-{day:02}T10:00:00Z",
        "modifyTime": f"2024-05-{day:02}T11:00:00Z",
        "modelVersionList": list(versions),
    }


QIANFAN_MODELS = [
    qianfan_model(1, 19, qianfan_version(1, 12, "2", 12), qianfan_version(1, 11, "1", 11)),
    qianfan_model(2, 17),
    qianfan_model(3, 1, qianfan_version(3, 31, "1", 1), source="PlatformPreset"),
    qianfan_model(4, 1, qianfan_version(4, 42, "2", 2), qianfan_version(4, 41, "1", 1), source="PlatformPreset"),
]
CATALOGUE = [
    {
        "model": "ERNIE-Lite",
        "baseModel": "ERNIE",
        "modelType": "Text2Text",
        "supportTrainMode": [
            {
                "trainMode": "SFT",
                "supportParameterScale": [
                    {"parameterScale": "LoRA", "supportHyperParameterConfig": [{"key": "epoch", "type": "int"}]}
                ],
            }
        ],
    }
]
TASK = {"model": "ERNIE-Lite", "trainMode": "SFT", "parameterScale": "LoRA"}


TURNS = 10
"""Turns of the event loop before each response, so that all independent calls of an operation come first."""


class FakeClouds:
    """A sender that answers from the documents of this module.

    ``calls`` are the calls received, as text, in their order. A call in ``blocked`` is answered once its event is set;
    ``arrived`` has an event for each call, set when the call comes in. A call in ``failing`` fails.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.requests: Counter[tuple[str, Request]] = Counter()
        self.blocked: dict[str, asyncio.Event] = {}
        self.arrived: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.failing: set[str] = set()
        self.registries = registries(SETTINGS, UncachedClient(self))
        for registry in self.registries.values():
            registry.now = lambda: 0.0

    async def send(self, destination: Destination, request: Request, *, refresh: bool = False) -> Any:
        call = call_text(destination.registry, request)
        self.calls.append(call)
        self.requests[destination.registry, request] += 1
        self.arrived[call].set()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        if call in self.blocked:
            await self.blocked[call].wait()
        if call in self.failing:
            raise RegistryUnavailable(destination.registry)
        answer = from_pai(request) if destination.registry == "pai" else from_qianfan(request)
        if answer is None:
            raise NotFound(destination.registry)
        return answer

    async def query(self, document: str, **variables: Any) -> Any:
        """Return the data of an operation; errors fail the test."""
        result = await self.execute(document, variables)
        assert not result.errors, result.errors
        return result.data

    async def execute(self, document: str, variables: Mapping[str, Any] | None = None) -> Any:
        read = DOCUMENTS.read(document)
        assert not read.errors, read.errors
        context = OperationContext(read.node, PlanExecution(self.registries))
        return await SCHEMA.execute(None, dict(variables or {}), context)


def call_text(registry: str, request: Request) -> str:
    """A call as the tests write it: registry, name, keys, parameters, and the page after the first."""
    keys = re.findall(r"/(?:models|algorithms|versions)/([^/]+)", request.path)
    parameters = {**dict(request.query), **(orjson.loads(request.body) if request.body else {})}
    left_out = {"SortBy", "Order", "orderBy", "order", "Action", "PageSize", "pageSize"}
    values = [str(value) for name, value in parameters.items() if name not in {*left_out, "PageNumber", "pageNo"}]
    number = int(parameters.get("PageNumber") or parameters.get("pageNo") or 1)
    return " ".join([registry, request.call, *keys, *values, *([f"page {number}"] if number > 1 else [])])


def page(rows: Sequence[Any], query: Mapping[str, str]) -> list[Any]:
    number, size = int(query["PageNumber"]), int(query["PageSize"])
    return list(rows[(number - 1) * size : number * size])


def from_pai(request: Request) -> Raw | None:
    query = dict(request.query)
    _, _, _, family, *keys = request.path.split("/")
    return (pai_models if family == "models" else pai_algorithms)(
        [key for key in keys if key != "versions"], request, query
    )


def pai_models(keys: list[str], request: Request, query: Mapping[str, str]) -> Raw | None:
    if not keys:
        rows = [model for model, _ in PAI_MODELS if model.get("Provider", "") == query.get("Provider", "")]
        return {"RequestId": "1", "Models": page(rows, query), "TotalCount": len(rows)}
    model, versions = next((one for one in PAI_MODELS if one[0]["ModelId"] == keys[0]), (None, []))
    if request.path.endswith("/versions"):
        return {"RequestId": "1", "Versions": page(versions, query), "TotalCount": len(versions)}
    if len(keys) > 1:
        return next(({"RequestId": "1", **one} for one in versions if one["VersionName"] == keys[1]), None)
    return None if model is None else {"RequestId": "1", **model}


def pai_algorithms(keys: list[str], request: Request, query: Mapping[str, str]) -> Raw | None:
    if not keys:
        rows = [
            algorithm
            for algorithm, _ in PAI_ALGORITHMS
            if algorithm["AlgorithmProvider"] == query.get("AlgorithmProvider", "")
            and query.get("AlgorithmName", "") in algorithm["AlgorithmName"]
        ]
        return {"RequestId": "1", "Algorithms": page(rows, query), "TotalCount": len(rows)}
    algorithm, versions = next((one for one in PAI_ALGORITHMS if one[0]["AlgorithmId"] == keys[0]), (None, []))
    if request.path.endswith("/versions"):
        return {"RequestId": "1", "AlgorithmVersions": page(versions, query), "TotalCount": len(versions)}
    if len(keys) > 1:
        found = next((one for one in versions if one["AlgorithmVersion"] == keys[1]), None)
        return None if found is None else {"RequestId": "1", **found, "AlgorithmSpec": ALGORITHM_SPEC}
    return None if algorithm is None else {"RequestId": "1", **algorithm, "TenantId": "3"}


def from_qianfan(request: Request) -> Raw | None:
    parameters = orjson.loads(request.body)
    answers: dict[str, Callable[[], Any]] = {
        "modelDetail": lambda: find(QIANFAN_MODELS, ("modelId", "modelIdStr"), parameters["modelId"]),
        "modelVersionDetail": lambda: version_detail(parameters["modelVersionId"]),
        "userList": lambda: qianfan_page(
            [user_row(one) for one in QIANFAN_MODELS if one["source"] == "UserCreate"], parameters
        ),
        "presetList": lambda: qianfan_page(
            [preset_row(one) for one in QIANFAN_MODELS if one["source"] != "UserCreate"], parameters
        ),
        "DescribeFineTuningSupportModels": lambda: CATALOGUE,
        "DescribeFineTuningTask": lambda: TASK if parameters["taskId"].startswith("job-") else None,
    }
    answer = answers[request.call]()
    return None if answer is None else {"result": answer}


def find(rows: Sequence[Raw], names: Sequence[str], key: Any) -> Raw | None:
    return next((one for one in rows if key in {one[name] for name in names}), None)


def version_detail(key: Any) -> Raw | None:
    versions = [version for model in QIANFAN_MODELS for version in model["modelVersionList"]]
    version = find(versions, ("modelVersionId", "modelVersionIdStr"), key)
    return None if version is None else {**version, "params": {"input": {"type": "object"}, "output": {}}}


def qianfan_page(rows: Sequence[Raw], parameters: Mapping[str, Any]) -> Raw:
    number, size = parameters["pageNo"], parameters["pageSize"]
    return {"items": rows[(number - 1) * size : number * size], "total": len(rows)}


def user_row(model: Raw) -> Raw:
    versions = model["modelVersionList"]
    listed = {name: model[name] for name in ("modelId", "modelIdStr", "modelName", "modelType", "createTime")}
    latest = {"latestVersionInfo": summary(versions[0])} if versions else {}
    return {**listed, "versionCount": len(versions), **latest}


def preset_row(model: Raw) -> Raw:
    listed = {name: model[name] for name in ("modelId", "modelIdStr", "modelName", "modelType", "modifyTime")}
    return {**listed, "versionSummaries": [summary(version) for version in model["modelVersionList"]]}


def summary(version: Raw) -> Raw:
    names = ("version", "state", "sourceType", "sourceExtra", "framework")
    return {
        "versionId": version["modelVersionId"],
        "versionIdStr": version["modelVersionIdStr"],
        **{name: version[name] for name in names},
    }
