"""Baidu Qianfan's v1 read calls."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.twins import references
from gateway.twins.calls import Call, CallRequest, page_slice
from gateway.twins.qianfan_models import PRESET, USER
from gateway.twins.rows import Json, QianfanModel, folded
from gateway.twins.wire_formats import CloudError

INVALID, NOT_FOUND = "336003", "500004"
DEFAULT_PAGE, LARGEST_PAGE = 20, 100
PARAMS = {
    "chat": references.version_params(),
    "completion": {
        "input": {
            "type": "object",
            "required": ["prompt"],
            "properties": {"prompt": {"name": "prompt", "type": "string"}},
        },
        "output": {
            "type": "object",
            "required": [],
            "properties": {"result": {"name": "result", "type": "string"}},
        },
    },
}
ORDERS: Mapping[str, Callable[[QianfanModel], str]] = {
    "modify_time": lambda model: model.head["modifyTime"],
    "model_name": lambda model: model.head["modelName"],
}


def _invalid(name: str) -> CloudError:
    return CloudError(INVALID, f"invalid param: {name}")


def _key(request: CallRequest, name: str) -> str | int:
    key = request.body.get(name)
    if isinstance(key, bool) or not isinstance(key, str | int) or key == "":
        raise _invalid(name)
    return key


def _whole(request: CallRequest, name: str, default: int, largest: int) -> int:
    value = request.body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= largest:
        raise _invalid(name)
    return value


def _list(request: CallRequest, name: str, kind: type) -> tuple[Any, ...]:
    value = request.body.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
        raise _invalid(name)
    return tuple(value)


def _text(request: CallRequest, name: str, *allowed: str) -> str:
    value = request.body.get(name) or ""
    if not isinstance(value, str) or (allowed and value not in ("", *allowed)):
        raise _invalid(name)
    return value


async def model_detail(request: CallRequest) -> Json:
    key = _key(request, "modelId")
    model = request.corpus.qianfan_models.find(key)
    if model is None:
        raise CloudError(NOT_FOUND)
    return model.legacy if model.legacy and isinstance(key, int) else model.detail


async def model_version_detail(request: CallRequest) -> Json:
    key = _key(request, "modelVersionId")
    found = request.corpus.qianfan_version(key)
    if found is None:
        raise CloudError(NOT_FOUND, "model version not found")
    model, version = found
    if model.legacy and isinstance(key, int):
        version = next(legacy for legacy in model.legacy["modelVersionList"] if legacy["modelVersionId"] == key)
    return version | {"params": PARAMS.get(version.get("ioMode") or "", {"input": {}, "output": {}})}


async def user_list(request: CallRequest) -> Json:
    """List user models, newest first by default. The only list of Qianfan with search, order and a total."""
    descending = _text(request, "order", "asc", "desc") != "asc"
    return await _listed(request, USER, _user_item, descending)


async def preset_list(request: CallRequest) -> Json:
    return await _listed(request, PRESET, _preset_item, True)


async def _listed(request: CallRequest, source: str, item: Callable[[QianfanModel], Json], descending: bool) -> Json:
    number, size = _whole(request, "pageNo", 1, 2**31), _whole(request, "pageSize", DEFAULT_PAGE, LARGEST_PAGE)
    order = _text(request, "orderBy", "create_time", *ORDERS)
    filters_set, match = _filter(request, source)
    table, partition = request.corpus.qianfan_models, request.corpus.qianfan_models.partition(source)
    found: Sequence[int] = await table.matching(source, filters_set, match) if filters_set else range(len(partition))
    if order in ORDERS:
        found = sorted(found, key=lambda position: ORDERS[order](partition.at(position)))
    positions = page_slice(found[::-1] if descending else found, number, size)
    return {"total": len(found), "items": [item(partition.at(position)) for position in positions]}


def _filter(request: CallRequest, source: str) -> tuple[tuple[object, ...], Callable[[QianfanModel], bool]]:
    name = folded(_text(request, "nameFilter"))
    kinds = _list(request, "modelType", int)
    wanted = {
        property_name: set(_list(request, parameter, str)) if source == PRESET else set()
        for parameter, property_name in (
            ("modelVersionVendor", "vendors"),
            ("ctxLength", "lengths"),
            ("languageSupport", "languages"),
            ("expansion", "expansions"),
        )
    }
    filters_set = (
        name,
        *kinds,
        *((property_name, *sorted(values)) for property_name, values in wanted.items() if values),
    )

    def matches(model: QianfanModel) -> bool:
        properties = _preset_properties(model) if any(wanted.values()) else {}
        return (
            name in folded(model.head["modelName"])
            and (not kinds or model.head["modelType"] in kinds)
            and all(not values or values & properties[property_name] for property_name, values in wanted.items())
        )

    return (filters_set if any(filters_set) or kinds else ()), matches


def _preset_properties(model: QianfanModel) -> dict[str, set[str]]:
    return {
        "vendors": set(model.listed.get("modelProviders") or ()),
        "lengths": {context_length(version) for version in model.versions},
        "languages": set(model.head.get("languageSupport") or ()),
        "expansions": set(model.head.get("expansion") or ()),
    }


def context_length(version: Json) -> str:
    """Return the context length, input and output together: ``7K+1K`` is ``8k``."""
    parts = str(version.get("ioLength") or "").upper().split("+")
    sizes = [int(part[:-1]) for part in parts if part.endswith("K") and part[:-1].isdigit()]
    return f"{sum(sizes)}k" if sizes else ""


def _user_item(model: QianfanModel) -> Json:
    detail = model.legacy or model.head
    names = ("modelId", "modelIdStr", "modelName", "modelType", "tags", "createTime", "trainType")
    item = {name: detail[name] for name in names if name in detail}
    latest = (model.legacy["modelVersionList"] if model.legacy else model.versions)[-1:]
    return (
        {"tags": None}
        | item
        | {
            "versionCount": len(model.versions),
            "latestVersionInfo": _latest(latest[0]) if latest else None,
        }
    )


def _latest(version: Json) -> Json:
    names = {"modelVersionId": "versionId", "modelVersionIdStr": "versionIdStr"}
    included = ("modelVersionId", "modelVersionIdStr", "version", "state", "sourceType", "sourceExtra")
    return {names.get(name, name): version[name] for name in included if name in version}


def _preset_item(model: QianfanModel) -> Json:
    names = ("modelId", "modelIdStr", "modelName", "modelType", "description", "modifyTime")
    return {
        **{name: model.head[name] for name in names if name in model.head},
        "versionCount": len(model.versions),
        "isStarModel": model.listed.get("isStarModel", False),
        "isNewest": model.listed.get("isNewest", False),
        "modelAdvantage": model.listed.get("modelAdvantage"),
        "versionSummaries": [
            {
                "versionId": version["modelVersionId"],
                "versionIdStr": version["modelVersionIdStr"],
                "version": version["version"],
                "algorithm": version.get("algorithm"),
                "framework": version.get("framework"),
                "apiDocLink": model.listed.get("apiDocLink", ""),
                "presetService": model.head["modelName"],
                "supportOptions": version.get("supportOptions"),
            }
            for version in model.versions
        ],
    }


ROOT = "/wenxinworkshop/modelrepo"
CALLS = (
    Call("modelDetail", "v1", f"{ROOT}/modelDetail", model_detail),
    Call("modelVersionDetail", "v1", f"{ROOT}/modelVersionDetail", model_version_detail),
    Call("presetList", "v1", f"{ROOT}/model/preset/list", preset_list),
    Call("userList", "v1", f"{ROOT}/model/user/list", user_list),
)
