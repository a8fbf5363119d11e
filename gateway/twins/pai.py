"""Alibaba PAI's read calls over the corpus: AIWorkSpace 2021-02-04 and PaiStudio 2022-01-12."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from gateway.twins.calls import Ask, Call, cut, whole
from gateway.twins.pai_filters import (
    ALGORITHM_FILTERS,
    MODEL_FILTERS,
    VERSION_FILTERS,
    WORKSPACE_FILTERS,
    Test,
    invalid,
)
from gateway.twins.rows import Algorithm, Json, PaiModel, instant
from gateway.twins.wire_formats import Refused

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


def _tests(ask: Ask, filters: Mapping[str, Callable[[str], Test[T]]]) -> tuple[tuple[tuple[str, str], ...], Test[T]]:
    given = tuple(sorted((name, text) for name, text in ask.query.items() if name in filters and text))
    tests = [filters[name](text) for name, text in given]
    return given, lambda row: all(test(row) for test in tests)


def _page(ask: Ask, size: int = 10) -> tuple[int, int]:
    return (
        whole(ask.query.get("PageNumber"), "PageNumber", 1),
        whole(ask.query.get("PageSize"), "PageSize", size, LARGEST_PAGE),
    )


def _descending(ask: Ask, *columns: str) -> bool:
    if ask.query.get("SortBy", "") not in ("", *columns):
        raise invalid("SortBy")
    if ask.query.get("Order", "") not in ("", "ASC", "DESC"):
        raise invalid("Order")
    return ask.query.get("Order") == "DESC"


def _sorted_page(ask: Ask, rows: Sequence[Json], size: int, *columns: str) -> list[Json]:
    column = ask.query.get("SortBy") or "GmtCreateTime"
    ordered = sorted(rows, key=lambda row: instant(row.get(column)), reverse=_descending(ask, *columns))
    number, size = _page(ask, size)
    return ordered[(number - 1) * size : number * size]


def _model(ask: Ask) -> PaiModel:
    found = ask.corpus.pai_models.find(ask.path["ModelId"])
    if found is None:
        raise Refused("201600003", f"The model {ask.path['ModelId']} does not exist.", 404)
    return found


def _algorithm(ask: Ask) -> Algorithm:
    found = ask.corpus.algorithms.find(ask.path["AlgorithmId"])
    if found is None:
        raise Refused("201600013", f"The algorithm {ask.path['AlgorithmId']} does not exist.", 404)
    return found


async def list_models(ask: Ask) -> Json:
    number, size = _page(ask)
    descending = _descending(ask, "GmtCreateTime")
    given, match = _tests(ask, MODEL_FILTERS)
    provider = ask.query.get("Provider", "")
    shelf = ask.corpus.pai_models.shelf(provider)
    found = await ask.corpus.pai_models.matching(provider, given, match) if given else range(len(shelf))
    places = cut(found[::-1] if descending else found, number, size)
    return {"Models": [shelf.at(place).item for place in places], "TotalCount": len(found)}


async def get_model(ask: Ask) -> Json:
    return _model(ask).detail


async def list_model_versions(ask: Ask) -> Json:
    _given, match = _tests(ask, VERSION_FILTERS)
    found = [version for version in _model(ask).versions if match(version)]
    return {"Versions": _sorted_page(ask, found, 10, "GmtCreateTime"), "TotalCount": len(found)}


async def get_model_version(ask: Ask) -> Json:
    name = ask.path["VersionName"]
    for version in _model(ask).versions:
        if version["VersionName"] == name:
            return version
    raise Refused("201600004", f"The model version {name} does not exist.", 404)


async def list_workspaces(ask: Ask) -> Json:
    _given, match = _tests(ask, WORKSPACE_FILTERS)
    found = [workspace for workspace in ask.corpus.workspaces if match(workspace)]
    page = _sorted_page(ask, found, 20, "GmtCreateTime", "GmtModifiedTime")
    return {"Workspaces": page, "TotalCount": len(found)}


async def list_algorithms(ask: Ask) -> Json:
    number, size = _page(ask)
    _given, match = _tests(ask, ALGORITHM_FILTERS)
    shelf = ask.corpus.algorithms.shelf(ask.query.get("AlgorithmProvider", ""))
    found = [algorithm.head for algorithm in shelf if match(algorithm.head)]
    items = [_without_tenant(head) for head in found[(number - 1) * size : number * size]]
    return {"Algorithms": items, "TotalCount": len(found)}


async def get_algorithm(ask: Ask) -> Json:
    return _algorithm(ask).head


async def list_algorithm_versions(ask: Ask) -> Json:
    number, size = _page(ask)
    versions = _algorithm(ask).versions
    items = [
        {name: _id_text(name, version[name]) for name in VERSION_ITEM if name in version}
        for version in versions[(number - 1) * size : number * size]
    ]
    return {"AlgorithmVersions": items, "TotalCount": len(versions)}


async def get_algorithm_version(ask: Ask) -> Json:
    name = ask.path["AlgorithmVersion"]
    for version in _algorithm(ask).versions:
        if version["AlgorithmVersion"] == name:
            return version
    raise Refused("201600014", f"The algorithm version {name} does not exist.", 404)


def _without_tenant(head: Json) -> Json:
    return {name: value for name, value in head.items() if name != "TenantId"}


def _id_text(name: str, value: Any) -> Any:
    """List items have text ids even where the detail has numbers."""
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
        silent=True,
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
