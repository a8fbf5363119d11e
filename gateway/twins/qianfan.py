"""Baidu Qianfan's v1 read calls over the corpus."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.twins import references
from gateway.twins.calls import Ask, Call, cut
from gateway.twins.qianfan_models import PRESET, USER
from gateway.twins.rows import Json, QianfanModel
from gateway.twins.wire_formats import Refused

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


def _invalid(name: str) -> Refused:
    return Refused(INVALID, f"invalid param: {name}")


def _key(ask: Ask, name: str) -> str | int:
    key = ask.body.get(name)
    if isinstance(key, bool) or not isinstance(key, str | int) or key == "":
        raise _invalid(name)
    return key


def _whole(ask: Ask, name: str, default: int, largest: int) -> int:
    value = ask.body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= largest:
        raise _invalid(name)
    return value


def _list(ask: Ask, name: str, kind: type) -> tuple[Any, ...]:
    value = ask.body.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
        raise _invalid(name)
    return tuple(value)


def _text(ask: Ask, name: str, *allowed: str) -> str:
    value = ask.body.get(name) or ""
    if not isinstance(value, str) or (allowed and value not in ("", *allowed)):
        raise _invalid(name)
    return value


async def model_detail(ask: Ask) -> Json:
    key = _key(ask, "modelId")
    model = ask.corpus.qianfan_models.find(key)
    if model is None:
        raise Refused(NOT_FOUND)
    return model.early if model.early and isinstance(key, int) else model.detail


async def model_version_detail(ask: Ask) -> Json:
    key = _key(ask, "modelVersionId")
    found = ask.corpus.qianfan_version(key)
    if found is None:
        raise Refused(NOT_FOUND, "model version not found")
    model, version = found
    if model.early and isinstance(key, int):
        version = next(early for early in model.early["modelVersionList"] if early["modelVersionId"] == key)
    return version | {"params": PARAMS.get(version.get("ioMode") or "", {"input": {}, "output": {}})}


async def user_list(ask: Ask) -> Json:
    """Newest first unless asked otherwise; the only list of Qianfan with search, order and a total together."""
    descending = _text(ask, "order", "asc", "desc") != "asc"
    return await _listed(ask, USER, _user_item, descending)


async def preset_list(ask: Ask) -> Json:
    return await _listed(ask, PRESET, _preset_item, True)


async def _listed(ask: Ask, source: str, item: Callable[[QianfanModel], Json], descending: bool) -> Json:
    number, size = _whole(ask, "pageNo", 1, 2**31), _whole(ask, "pageSize", DEFAULT_PAGE, LARGEST_PAGE)
    order = _text(ask, "orderBy", "create_time", *ORDERS)
    given, match = _filter(ask, source)
    table, shelf = ask.corpus.qianfan_models, ask.corpus.qianfan_models.shelf(source)
    found: Sequence[int] = await table.matching(source, given, match) if given else range(len(shelf))
    if order in ORDERS:
        found = sorted(found, key=lambda place: ORDERS[order](shelf.at(place)))
    places = cut(found[::-1] if descending else found, number, size)
    return {"total": len(found), "items": [item(shelf.at(place)) for place in places]}


def _filter(ask: Ask, source: str) -> tuple[tuple[object, ...], Callable[[QianfanModel], bool]]:
    name = _text(ask, "nameFilter").casefold()
    kinds = _list(ask, "modelType", int)
    wanted = {
        fact: set(_list(ask, parameter, str)) if source == PRESET else set()
        for parameter, fact in (
            ("modelVersionVendor", "vendors"),
            ("ctxLength", "lengths"),
            ("languageSupport", "languages"),
            ("expansion", "expansions"),
        )
    }
    given = (name, *kinds, *((fact, *sorted(values)) for fact, values in wanted.items() if values))

    def matches(model: QianfanModel) -> bool:
        facts = _preset_facts(model) if any(wanted.values()) else {}
        return (
            name in model.head["modelName"].casefold()
            and (not kinds or model.head["modelType"] in kinds)
            and all(not values or values & facts[fact] for fact, values in wanted.items())
        )

    return (given if any(given) or kinds else ()), matches


def _preset_facts(model: QianfanModel) -> dict[str, set[str]]:
    return {
        "vendors": set(model.listed.get("modelProviders") or ()),
        "lengths": {context_length(version) for version in model.versions},
        "languages": set(model.head.get("languageSupport") or ()),
        "expansions": set(model.head.get("expansion") or ()),
    }


def context_length(version: Json) -> str:
    """The window of ``7K+1K`` as ``8k``."""
    parts = str(version.get("ioLength") or "").upper().split("+")
    sizes = [int(part[:-1]) for part in parts if part.endswith("K") and part[:-1].isdigit()]
    return f"{sum(sizes)}k" if sizes else ""


def _user_item(model: QianfanModel) -> Json:
    detail = model.early or model.head
    names = ("modelId", "modelIdStr", "modelName", "modelType", "tags", "createTime", "trainType")
    item = {name: detail[name] for name in names if name in detail}
    latest = (model.early["modelVersionList"] if model.early else model.versions)[-1:]
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
    kept = ("modelVersionId", "modelVersionIdStr", "version", "state", "sourceType", "sourceExtra")
    return {names.get(name, name): version[name] for name in kept if name in version}


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
