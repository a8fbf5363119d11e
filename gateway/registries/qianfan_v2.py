"""Version 2 of Baidu Qianfan's model repository API: field tables, calls and lists.

A "model set" of this API is a model of the schema, a "model" is a version. Lists are paged by marker. Their order is
not documented, and they have no total count. Each version needs a call of its own. Sources: the API pages of version
2, and the official SDK.
"""

from collections.abc import Mapping
from typing import Any

from gateway.registries.fields import (
    ABSENT,
    EntityLayout,
    Field,
    Raw,
    Rows,
    absent,
    as_enum,
    as_list,
    as_object,
    as_text,
    at,
    computed,
    enum,
    extra,
    fixed,
    json_value,
    text,
    time,
)
from gateway.registries.kind import Call, EntityInAnswer, Keys, Paging, Stream, holds_list, holds_object, object_at
from gateway.registries.qianfan_tables import OWNERSHIPS, SOURCES, STATES, task_keys

OPERATIONS = {"isSupportDeploy": "Deploy", "isSupportEvaluation": "Evaluation", "isSupportModelComp": "Acceleration"}
"""The flags of supported operations, with the names that v1 uses."""

LABELS = Field(
    ("labels",),
    lambda raw: None if (labels := as_list(raw.get("labels"))) is None else [{"label": label} for label in labels],
    {"key": text("label"), "value": ABSENT},
)


# Versions


def version_source(raw: Raw) -> Raw | None:
    """Return the source of a version, together with its complete ``sourceInfo``."""
    info = as_object(raw.get("sourceInfo"))
    return None if not info else {**info, "sourceInfo": info}


def trainings(raw: Raw) -> list[Raw] | None:
    """Return the training task of a version, None if the version was not trained."""
    info = as_object(raw.get("sourceInfo")) or {}
    return [{"task": info.get("trainTaskId")}] if as_enum(info.get("sourceType"), SOURCES) == "TRAINING" else None


def operations(raw: Raw) -> list[str]:
    """Return the supported operations of a version."""
    return [operation for flag, operation in OPERATIONS.items() if raw.get(flag) is True]


VERSION_FIELDS = {
    "name": text("modelName"),
    "description": text("description"),
    "readiness": enum("status", STATES),
    "base_model": text("model"),
    "source": Field(
        ("sourceInfo",),
        version_source,
        {
            "type": enum("sourceType", SOURCES),
            "type_name": text("sourceType"),
            **absent("native_id", "region", "workspace_id", "kind", "task_id", "task_name"),
            "run_id": text("trainTaskId"),
            "iteration": ABSENT,
            "details": json_value("sourceInfo"),
        },
    ),
    "trained_with": Field(
        (),
        trainings,
        {
            **absent("method", "name", "provider", "version", "spec"),
            "algorithm": Field((), task_keys, lookup="algorithm"),
            "algorithm_version": Field((), task_keys, lookup="algorithm_version"),
        },
    ),
    "io_mode": text("modelApplicationType"),
    "supported_operations": computed(*OPERATIONS, read=operations),
    "created_at": time("createTime"),
    "updated_at": time("modifyTime"),
}
VERSION = EntityLayout(
    "ModelVersion",
    lambda raw: as_text(raw.get("modelId")),
    {**VERSION_FIELDS, **extra(VERSION_FIELDS, "modelId", "modelSetId")},
    lambda raw: as_text(raw.get("modelSetId")),
)
LISTED_VERSION = EntityLayout("ModelVersion", VERSION.key, {"name": text("modelName")})


# Models


def versions(raw: Raw) -> Rows:
    """Return the versions of a model, whose ids and names are two parallel lists."""
    ids, names = as_list(raw.get("modelIds")), as_list(raw.get("modelNames")) or []
    if ids is None:
        return Rows.all_of(raw.get("modelIds"), len(names))
    items = [
        {"modelId": key, "modelName": names[i] if i < len(names) else None} if as_text(key) else None
        for i, key in enumerate(ids)
    ]
    return Rows.all_of(items, len(names))


def newest_version(raw: Raw) -> Raw | Rows | None:
    """Return the only version, or all rows if there are several or some are missing: their order is not documented."""
    rows = versions(raw)
    return next(iter(rows.items), None) if rows.is_whole and len(rows.items) <= 1 else rows


LIST_FIELDS = {
    "name": text("modelSetName"),
    "type": text("modelType"),
    "updated_at": time("modifyTime"),
    "latest_version": Field((), newest_version, layout=LISTED_VERSION, fallback=Rows),
    "versions": Field(("modelIds", "modelNames"), versions, layout=LISTED_VERSION),
}


def model(fields: dict[str, Field]) -> EntityLayout:
    """Return a layout of a model with these fields in addition to those of every list item."""
    merged = {**LIST_FIELDS, **fields}
    return EntityLayout("Model", lambda raw: as_text(raw.get("modelSetId")), {**merged, **extra(merged, "modelSetId")})


CUSTOM_MODEL = model({"ownership": fixed("OWN"), "labels": LABELS, "created_at": time("createTime")})
SYSTEM_MODEL = model({"ownership": fixed("PLATFORM"), "description": text("description")})
MODEL = model(
    {
        "ownership": enum("source", OWNERSHIPS),
        "labels": LABELS,
        "created_at": time("createTime"),
        "description": text("description"),
    }
)


# Calls


def following(result: Raw) -> tuple[str | None, bool]:
    """Return the marker of the next page, and whether rows may follow without one.

    Only ``isTruncated: false`` reports the last page, or a ``pageInfo`` with neither a marker nor that member.
    """
    info = result.get("pageInfo", {})
    if not isinstance(info, Mapping):
        return None, True
    if as_enum(info.get("isTruncated"), {"false": "END", "0": "END"}) == "END":
        return None, False
    sent = info.get("nextMarker")
    marker = as_text(sent) if isinstance(sent, (str, int)) and not isinstance(sent, bool) else None
    return marker, marker is None and ("isTruncated" in info or sent not in (None, ""))


def rows(key: str, layout: EntityLayout) -> Field:
    """The rows of a list response, with the marker of the next page."""

    def read(document: Any) -> Rows:
        result = as_object(at(document, ("result",))) or {}
        return Rows.of(result.get(key), None, *following(result))

    return Field((), read, layout=layout)


def action_call(name: str, **options: Any) -> Call:
    """Return a call of this API, which selects operations by the query parameter ``Action``."""
    return Call(name=name, service="console", method="POST", path="/v2/model", query={"Action": name}, **options)


def find_version(document: Any, keys: Keys) -> Raw | None:
    """Return the version, None if it belongs to another model than its key."""
    raw = as_object(at(document, ("result",)))
    return raw if raw is not None and raw.get("modelSetId") == keys[0] else None


BY_MARKER = Paging("marker", "maxKeys", rows=100, by_marker=True)

DESCRIBE_MODEL_SET = action_call(
    "DescribeModelSet",
    key_positions=(0,),
    parameters=lambda keys: {"modelSetId": keys[0]},
    entities=(object_at(MODEL, "result"),),
    is_complete=holds_object("result", key="modelSetId"),
)
DESCRIBE_MODEL = action_call(
    "DescribeModel",
    key_positions=(1,),
    parameters=lambda keys: {"modelId": keys[0]},
    entities=(EntityInAnswer(VERSION, find_version),),
    is_complete=holds_object("result", key="modelId"),
)
CUSTOM_MODEL_SETS = action_call(
    "DescribeCustomModelSets",
    rows=rows("customModelSetList", CUSTOM_MODEL),
    is_complete=holds_list("result", "customModelSetList"),
    paging=BY_MARKER,
)
SYSTEM_MODEL_SETS = action_call(
    "DescribeSystemModelSets",
    rows=rows("systemModelSetList", SYSTEM_MODEL),
    is_complete=holds_list("result", "systemModelSetList"),
    paging=BY_MARKER,
)
STREAMS = (
    Stream("user", "Model", CUSTOM_MODEL_SETS, constants={"ownership": "OWN"}),
    Stream("preset", "Model", SYSTEM_MODEL_SETS, constants={"ownership": "PLATFORM"}),
)

MODEL_ABSENT = frozenset({"owner"})
VERSION_ABSENT = frozenset(
    {
        "framework",
        "framework_name",
        "io_length",
        "license",
        "license_id",
        "copyright",
        "deploy_targets",
        "properties",
        "input_schema",
        "output_schema",
    }
)
"""The fields that v1 supplies and v2 does not."""
