"""Alibaba PAI's read calls: AIWorkSpace 2021-02-04 and PaiStudio 2022-01-12."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from gateway.twins.calls import Call, CallRequest, page_slice, positive_integer
from gateway.twins.pai_filters import (
    ALGORITHM_FILTERS,
    MODEL_FILTERS,
    VERSION_FILTERS,
    WORKSPACE_FILTERS,
    Predicate,
    invalid,
)
from gateway.twins.rows import Algorithm, Json, PaiModel, parse_time
from gateway.twins.wire_formats import CloudError

T = TypeVar("T")

LARGEST_PAGE = 100
VERSION_ITEM = (
    "AlgorithmId",
    "AlgorithmName",
    "AlgorithmProvider",
    "AlgorithmVersion",
    "UserId",
    "TenantId",
    "GmtCreateTime",
    "GmtModifiedTime",
)


def _matcher(
    request: CallRequest, filters: Mapping[str, Callable[[str], Predicate[T]]]
) -> tuple[tuple[tuple[str, str], ...], Predicate[T]]:
    filters_set = tuple(sorted((name, text) for name, text in request.query.items() if name in filters and text))
    predicates = [filters[name](text) for name, text in filters_set]
    return filters_set, lambda row: all(predicate(row) for predicate in predicates)


def _page(request: CallRequest, size: int = 10) -> tuple[int, int]:
    return (
        positive_integer(request.query.get("PageNumber"), "PageNumber", 1),
        positive_integer(request.query.get("PageSize"), "PageSize", size, LARGEST_PAGE),
    )


def _descending(request: CallRequest, *columns: str) -> bool:
    if request.query.get("SortBy", "") not in ("", *columns):
        raise invalid("SortBy")
    if request.query.get("Order", "") not in ("", "ASC", "DESC"):
        raise invalid("Order")
    return request.query.get("Order") == "DESC"


def _sorted_page(request: CallRequest, rows: Sequence[Json], size: int, *columns: str) -> list[Json]:
    column = request.query.get("SortBy") or "GmtCreateTime"
    ordered = sorted(rows, key=lambda row: parse_time(row.get(column)), reverse=_descending(request, *columns))
    number, size = _page(request, size)
    return ordered[(number - 1) * size : number * size]


def _model(request: CallRequest) -> PaiModel:
    found = request.corpus.pai_models.find(request.path["ModelId"])
    if found is None:
        raise CloudError("201600003", f"The model {request.path['ModelId']} does not exist.", 404)
    return found


def _algorithm(request: CallRequest) -> Algorithm:
    found = request.corpus.algorithms.find(request.path["AlgorithmId"])
    if found is None:
        raise CloudError("201600013", f"The algorithm {request.path['AlgorithmId']} does not exist.", 404)
    return found


async def list_models(request: CallRequest) -> Json:
    number, size = _page(request)
    descending = _descending(request, "GmtCreateTime")
    filters_set, match = _matcher(request, MODEL_FILTERS)
    provider = request.query.get("Provider", "")
    partition = request.corpus.pai_models.partition(provider)
    found = (
        await request.corpus.pai_models.matching(provider, filters_set, match) if filters_set else range(len(partition))
    )
    positions = page_slice(found[::-1] if descending else found, number, size)
    return {"Models": [partition.at(position).item for position in positions], "TotalCount": len(found)}


async def get_model(request: CallRequest) -> Json:
    return _model(request).detail


async def list_model_versions(request: CallRequest) -> Json:
    _filters, match = _matcher(request, VERSION_FILTERS)
    found = [version for version in _model(request).versions if match(version)]
    return {"Versions": _sorted_page(request, found, 10, "GmtCreateTime"), "TotalCount": len(found)}


async def get_model_version(request: CallRequest) -> Json:
    name = request.path["VersionName"]
    for version in _model(request).versions:
        if version["VersionName"] == name:
            return version
    raise CloudError("201600004", f"The model version {name} does not exist.", 404)


async def list_workspaces(request: CallRequest) -> Json:
    _filters, match = _matcher(request, WORKSPACE_FILTERS)
    found = [workspace for workspace in request.corpus.workspaces if match(workspace)]
    page = _sorted_page(request, found, 20, "GmtCreateTime", "GmtModifiedTime")
    return {"Workspaces": page, "TotalCount": len(found)}


async def list_algorithms(request: CallRequest) -> Json:
    number, size = _page(request)
    _filters, match = _matcher(request, ALGORITHM_FILTERS)
    partition = request.corpus.algorithms.partition(request.query.get("AlgorithmProvider", ""))
    found = [algorithm.head for algorithm in partition if match(algorithm.head)]
    items = [_without_tenant(head) for head in found[(number - 1) * size : number * size]]
    return {"Algorithms": items, "TotalCount": len(found)}


async def get_algorithm(request: CallRequest) -> Json:
    return _algorithm(request).head


async def list_algorithm_versions(request: CallRequest) -> Json:
    number, size = _page(request)
    versions = _algorithm(request).versions
    items = [
        {name: _id_text(name, version[name]) for name in VERSION_ITEM if name in version}
        for version in versions[(number - 1) * size : number * size]
    ]
    return {"AlgorithmVersions": items, "TotalCount": len(versions)}


async def get_algorithm_version(request: CallRequest) -> Json:
    name = request.path["AlgorithmVersion"]
    for version in _algorithm(request).versions:
        if version["AlgorithmVersion"] == name:
            return version
    raise CloudError("201600014", f"The algorithm version {name} does not exist.", 404)


def _without_tenant(head: Json) -> Json:
    return {name: value for name, value in head.items() if name != "TenantId"}


def _id_text(name: str, value: Any) -> Any:
    """Return ids as text: list items have text ids even where the single object has numbers."""
    return str(value) if name in ("UserId", "TenantId") else value


MODELS, ALGORITHMS = "2021-02-04", "2022-01-12"
CALLS = (
    Call("GetAlgorithm", "PaiStudio", "/api/v1/algorithms/{AlgorithmId}", get_algorithm, version=ALGORITHMS),
    Call(
        "GetAlgorithmVersion",
        "PaiStudio",
        "/api/v1/algorithms/{AlgorithmId}/versions/{AlgorithmVersion}",
        get_algorithm_version,
        version=ALGORITHMS,
        omits_request_id=True,
    ),
    Call("GetModel", "AIWorkSpace", "/api/v1/models/{ModelId}", get_model, version=MODELS),
    Call(
        "GetModelVersion",
        "AIWorkSpace",
        "/api/v1/models/{ModelId}/versions/{VersionName}",
        get_model_version,
        version=MODELS,
    ),
    Call(
        "ListAlgorithmVersions",
        "PaiStudio",
        "/api/v1/algorithms/{AlgorithmId}/versions",
        list_algorithm_versions,
        version=ALGORITHMS,
    ),
    Call("ListAlgorithms", "PaiStudio", "/api/v1/algorithms", list_algorithms, version=ALGORITHMS),
    Call("ListModelVersions", "AIWorkSpace", "/api/v1/models/{ModelId}/versions", list_model_versions, version=MODELS),
    Call("ListModels", "AIWorkSpace", "/api/v1/models", list_models, version=MODELS),
    Call("ListWorkspaces", "AIWorkSpace", "/api/v1/workspaces", list_workspaces, version=MODELS),
)
