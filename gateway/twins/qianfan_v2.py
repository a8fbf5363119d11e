"""Baidu Qianfan's v2 read calls: the models of v1 under other names, in pages by marker."""

from collections.abc import Callable
from typing import Any

import orjson

from gateway.twins.calls import Call, CallRequest
from gateway.twins.qianfan_models import PRESET, USER
from gateway.twins.rows import Json, QianfanModel
from gateway.twins.seeded_random import ABSENT, present_fields
from gateway.twins.wire_formats import V2_CODES, CloudError

DEFAULT_KEYS, MOST_KEYS = 10, 100
MODEL_TYPES = {
    USER: ("Text2Text", "Text2Image", "Text2Text", "TextRepresentation", "TextRepresentation", "ImageUnderstanding"),
    PRESET: ("Text2Text", "Text2Image", "", "", "TextRepresentation", "ImageUnderstanding", "Industry"),
}
APPLICATIONS = {
    "Text2Image": "Text-to-Image",
    "TextRepresentation": "embedding",
    "ImageUnderstanding": "Image-to-Text",
}
STATUSES = {"Failed": "Fail"}


def _invalid(name: str) -> CloudError:
    return CloudError("InappropriateJSON", f"{V2_CODES['InappropriateJSON'][1]} param[{name}] invalid.")


def _text(request: CallRequest, name: str) -> str:
    """Return a text parameter, empty if absent. Numbers are refused, also for ids."""
    value = request.body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _invalid(name)
    return value


def _set(request: CallRequest, source: str | None = None) -> QianfanModel:
    key = _text(request, "modelSetId")
    if not key:
        raise _invalid("modelSetId")
    model = request.corpus.qianfan_models.find(key)
    if model is None or source not in (None, model.partition):
        raise CloudError("NoSuchKey")
    return model


def _version(request: CallRequest, source: str | None = None) -> tuple[QianfanModel, Json]:
    key = _text(request, "modelId")
    if not key:
        raise _invalid("modelId")
    found = request.corpus.qianfan_version(key)
    if found is None or source not in (None, found[0].partition):
        raise CloudError("NoSuchKey")
    return found


async def describe_custom_model_sets(request: CallRequest) -> Json:
    return _walk(
        request, USER, "customModelSetList", lambda model: _counted(model, "labels", "createTime", "modifyTime")
    )


async def describe_system_model_sets(request: CallRequest) -> Json:
    return _walk(request, PRESET, "systemModelSetList", lambda model: _counted(model, "description", "modifyTime"))


def _walk(request: CallRequest, source: str, name: str, item: Callable[[QianfanModel], Json]) -> Json:
    """Return a page from the marker on: newest first, or oldest first with ``pageReverse``."""
    table, partition = request.corpus.qianfan_models, request.corpus.qianfan_models.partition(source)
    marker, reverse = _text(request, "marker"), request.body.get("pageReverse", False)
    size = request.body.get("maxKeys", DEFAULT_KEYS)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise _invalid("maxKeys")
    if not isinstance(reverse, bool):
        raise _invalid("pageReverse")
    size = min(size, MOST_KEYS)
    positions = range(len(partition)) if reverse else range(len(partition))[::-1]
    start = 0
    if marker:
        model = table.find(marker)
        if model is None or model.partition != source:
            raise _invalid("marker")
        start = positions.index(partition.position(model))
    following = positions[start + size : start + size + 1]
    more: Json = {"nextMarker": partition.at(following[0]).id} if following else {}
    return {
        name: [item(partition.at(position)) for position in positions[start : start + size]],
        "pageInfo": {"marker": marker, "maxKeys": size, "isTruncated": bool(following), **more},
    }


async def describe_model_set(request: CallRequest) -> Json:
    key, name = _text(request, "modelSetId"), _text(request, "modelSetName")
    if bool(key) == bool(name):
        raise _invalid("modelSetId")
    if key:
        return _described(_set(request), "source", "labels", "createTime", "modifyTime", "description")
    table = request.corpus.qianfan_models
    for source in (USER, PRESET):
        found = await table.matching(source, ("named", name), lambda model: model.head["modelName"] == name)
        if found:
            model = table.partition(source).at(found[-1])
            return _described(model, "source", "labels", "createTime", "modifyTime", "description")
    raise CloudError("NoSuchKey")


async def describe_system_model_set(request: CallRequest) -> Json:
    return _described(_set(request, PRESET), "createTime", "modifyTime", "description")


async def describe_model(request: CallRequest) -> Json:
    model, version = _version(request)
    return _model(model, version)


async def describe_system_model(request: CallRequest) -> Json:
    model, version = _version(request, PRESET)
    return _model(model, version)


async def describe_fine_tuning_support_models(request: CallRequest) -> list[Json]:
    return request.corpus.catalogue


async def describe_fine_tuning_task(request: CallRequest) -> Json:
    task_id = _text(request, "taskId")
    if not task_id:
        raise _invalid("taskId")
    task = request.corpus.task(task_id)
    if task is None:
        raise CloudError("NoSuchKey")
    return task


def _described(model: QianfanModel, *names: str) -> Json:
    preset = model.partition == PRESET
    properties: Json = {
        "source": "System" if preset else "UserCreate",
        "labels": model.head.get("tags") or [],
        "createTime": model.head["createTime"],
        "modifyTime": model.head["modifyTime"],
        "description": (model.head.get("description") or "") if preset else ABSENT,
    }
    return present_fields(
        modelSetId=model.id,
        modelSetName=model.head["modelName"],
        modelType=_type(model),
        **{name: properties[name] for name in names},
        modelIds=[version["modelVersionIdStr"] for version in model.versions],
        modelNames=[version["version"] for version in model.versions],
    )


def _counted(model: QianfanModel, *names: str) -> Json:
    return _described(model, *names) | {"modelCount": len(model.versions)}


def _type(model: QianfanModel) -> str:
    names = MODEL_TYPES[model.partition]
    kind = model.head["modelType"]
    return names[kind] if kind < len(names) else ""


def _model(model: QianfanModel, version: Json) -> Json:
    preset = model.partition == PRESET
    options = version.get("supportOptions") or ()
    application = APPLICATIONS.get(_type(model)) or version.get("ioMode") or "chat"
    return present_fields(
        modelSetId=model.id,
        modelId=version["modelVersionIdStr"],
        status=STATUSES.get(version["state"], version["state"]),
        modelName=version["version"],
        model=ABSENT if preset else version.get("trainType") or ABSENT,
        sourceInfo=ABSENT if preset else _source_info(version),
        description=version.get("description") or ABSENT,
        createTime=version["createTime"],
        modifyTime=version["modifyTime"],
        modelApplicationType=application,
        tokenLimitations=_limits(version),
        isSupportDeploy="Deploy" in options,
        isSupportModelComp="Acceleration" in options,
        isSupportEvaluation="Evaluation" in options,
        capabilities=["function_call"] if preset and application == "chat" else ABSENT,
        modelProviders=model.listed.get("modelProviders", ["Baidu"]) if preset else ABSENT,
    )


def _source_info(version: Json) -> Json:
    extra = version.get("sourceExtra")
    parsed: Any = orjson.loads(extra) if isinstance(extra, str) and extra else extra
    run = (parsed or {}).get("trainSourceExtra", {}).get("runIdStr")
    return {"sourceType": version["sourceType"], **({"trainTaskId": run} if run else {})}


def _limits(version: Json) -> object:
    first = str(version.get("ioLength") or "").upper().split("+")[0]
    return {"trivial": {"inputTokens": int(first[:-1]) * 1024}} if first[:-1].isdigit() else ABSENT


HANDLERS = {
    "/v2/finetuning": (describe_fine_tuning_support_models, describe_fine_tuning_task),
    "/v2/model": (
        describe_custom_model_sets,
        describe_model,
        describe_model_set,
        describe_system_model,
        describe_system_model_set,
        describe_system_model_sets,
    ),
}


def _action(function: str) -> str:
    return "".join(word.title() for word in function.split("_"))


CALLS = tuple(
    Call(_action(handler.__name__), "v2", path, handler, action=_action(handler.__name__))
    for path, handlers in HANDLERS.items()
    for handler in handlers
)
