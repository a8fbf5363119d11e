"""The field tables of Baidu Qianfan: enumeration values, and the layouts of its entities.

Sources: the model repository's API pages (v1), the fine-tuning API pages (v2) and the official SDK.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.registries.fields import (
    ABSENT,
    NOT_PROVIDED,
    EntityLayout,
    Field,
    Raw,
    Rows,
    absent,
    as_enum,
    as_integer,
    as_list,
    as_moment,
    as_object,
    as_objects,
    as_spdx,
    as_text,
    at,
    computed,
    enum,
    extra,
    field,
    fixed,
    gathered,
    integer,
    json_value,
    nested_list,
    text,
    texts,
    time,
)
from gateway.registries.kind import Keys

FRAMEWORKS = {"pytorch": "PYTORCH", "paddle": "PADDLE", "paddlepaddle": "PADDLE", "tensorflow": "TENSORFLOW"}
OWNERSHIPS = {"usercreate": "OWN", "platformpreset": "PLATFORM", "system": "PLATFORM"}
STATES = {"ready": "READY", "creating": "CREATING", "fail": "FAILED", "failed": "FAILED"}
SOURCES = {
    "train": "TRAINING",
    "acceleration": "ACCELERATION",
    "platformpreset": "PLATFORM",
    "import": "IMPORT",
}
PRESET_TYPES = {
    0: "Text2Text",
    1: "Text2Image",
    4: "TextRepresentation",
    5: "ImageUnderstanding",
    6: "Industry",
}
USER_TYPES = {
    0: "Text2Text",
    1: "Text2Image",
    2: "IndustrySearch",
    3: "TextRepresentation",
    4: "TextRepresentation",
    5: "ImageUnderstanding",
}
"""The names of the numeric model types. Numbers mean different types in the two lists. The names are those of v2."""


def first_set(*keys: str) -> Callable[[Raw], str | None]:
    """Return a reader of the first key that is set, as text. For ids: the text id, then the numeric id."""
    return lambda raw: next((value for key in keys if (value := as_text(raw.get(key)))), None)


def model_type(names: Mapping[int, str]) -> Field:
    """The type of a model: its name, or the number if it has no name."""

    def read(raw: Raw) -> str | None:
        number = as_integer(raw.get("modelType"))
        return as_text(raw.get("modelType")) if number is None else names.get(number, str(number))

    return computed("modelType", read=read)


def model_type_by_source(raw: Raw) -> str | None:
    """Return the type of a model from its details, whose source determines the meaning of the number."""
    names = PRESET_TYPES if as_enum(raw.get("source"), OWNERSHIPS) == "PLATFORM" else USER_TYPES
    value: str | None = model_type(names).read(raw)
    return value


TAGS = Field(
    ("tags",),
    lambda raw: None if (tags := as_list(raw.get("tags"))) is None else [{"tag": tag} for tag in tags],
    {"key": text("tag"), "value": ABSENT},
)


# Versions


def training(raw: Raw) -> Raw:
    """Return the training run that produced a version, empty if there is none."""
    return as_object(at(as_object(raw.get("sourceExtra")), ("trainSourceExtra",))) or {}


def version_source(raw: Raw) -> Raw | None:
    """Combine the source type with the properties of the training run."""
    source_type = as_text(raw.get("sourceType"))
    if source_type is None and not raw.get("sourceExtra"):
        return None
    return {**training(raw), "sourceType": source_type, "sourceExtra": raw.get("sourceExtra")}


def trainings(raw: Raw) -> list[Raw] | None:
    """Return the use of an algorithm, None if the version was not trained."""
    if as_enum(raw.get("sourceType"), SOURCES) != "TRAINING":
        return None
    return [{"algorithm": raw.get("algorithm"), "task": training(raw).get("runIdStr")}]


def task_keys(raw: Raw) -> Keys | None:
    """Return the key of the algorithm lookups: the id of the training task."""
    task = as_text(raw.get("task"))
    return None if task is None else (task,)


SOURCE = Field(
    ("sourceType", "sourceExtra"),
    version_source,
    {
        "type": enum("sourceType", SOURCES),
        "type_name": text("sourceType"),
        **absent("native_id", "region", "workspace_id", "kind"),
        "task_id": computed(read=first_set("taskIdStr", "taskId")),
        "task_name": text("taskName"),
        "run_id": computed(read=first_set("runIdStr", "runId")),
        "iteration": integer("iterationVersion"),
        "details": json_value("sourceExtra"),
    },
)
TRAINED_WITH = Field(
    (),
    trainings,
    {
        "method": ABSENT,
        "name": text("algorithm"),
        **absent("provider", "version", "spec"),
        "algorithm": Field((), task_keys, lookup="algorithm"),
        "algorithm_version": Field((), task_keys, lookup="algorithm_version"),
    },
)
MODEL_KEYS = ("modelIdStr", "modelId")
VERSION_KEYS = ("modelVersionIdStr", "modelVersionId")
SUMMARY_KEYS = ("versionIdStr", "versionId")
VERSION_FIELDS = {
    "name": text("version"),
    "description": text("description"),
    "framework": enum("framework", FRAMEWORKS),
    "framework_name": text("framework"),
    "readiness": enum("state", STATES),
    "source": SOURCE,
    "trained_with": TRAINED_WITH,
    "base_model": computed(read=first_set("trainType", "modelNet")),
    "io_mode": text("ioMode"),
    "io_length": text("ioLength"),
    "license": text("license"),
    "license_id": field("license", as_spdx),
    "copyright": text("copyright"),
    "deploy_targets": texts("deployResource"),
    "supported_operations": texts("supportOptions"),
    "properties": json_value("property"),
    "created_at": time("createTime"),
    "updated_at": time("modifyTime"),
}
VERSION = EntityLayout(
    "ModelVersion",
    first_set(*VERSION_KEYS),
    {**VERSION_FIELDS, **extra(VERSION_FIELDS, *MODEL_KEYS, "modelName", *VERSION_KEYS)},
    first_set(*MODEL_KEYS),
)
DETAIL_FIELDS = {
    **VERSION_FIELDS,
    "input_schema": Field((), lambda raw: at(as_object(raw.get("params")), ("input",))),
    "output_schema": Field((), lambda raw: at(as_object(raw.get("params")), ("output",))),
}
VERSION_DETAIL = EntityLayout(
    "ModelVersion",
    VERSION.key,
    {**DETAIL_FIELDS, **extra(DETAIL_FIELDS, *MODEL_KEYS, "modelName", *VERSION_KEYS, "params")},
    VERSION.parent,
)
LATEST_VERSION = EntityLayout(
    "ModelVersion",
    first_set(*SUMMARY_KEYS),
    {"name": text("version"), "readiness": enum("state", STATES), "source": SOURCE},
)
VERSION_SUMMARY = EntityLayout(
    "ModelVersion",
    first_set(*SUMMARY_KEYS),
    {
        "name": text("version"),
        "framework": enum("framework", FRAMEWORKS),
        "framework_name": text("framework"),
        "supported_operations": texts("supportOptions"),
    },
)


# Models


def versions(raw: Raw) -> Rows:
    """Return the versions in the details of a model."""
    return Rows.all_of(raw.get("modelVersionList"), raw.get("versionCount"))


def newest_version(raw: Raw) -> Raw | Rows | None:
    """Return the newest version in the details of a model, by creation time and then numeric id.

    All rows if versions are missing among them.
    """
    rows = versions(raw)
    if not rows.is_whole:
        return rows
    return max(
        rows.items,
        key=lambda version: (
            as_moment(version.get("createTime")),
            as_integer(version.get("modelVersionId")) or 0,
        ),
        default=None,
    )


def no_versions(raw: Raw) -> Any:
    """Return no rows for a list item without versions, else NOT_PROVIDED: the item only counts its versions."""
    return Rows([], 0) if raw.get("versionCount") == 0 else NOT_PROVIDED


def single_version(raw: Raw) -> Any:
    """Return the only version of a list item.

    NOT_PROVIDED if it has several, since their order is not documented, or if not all of them are readable.
    """
    rows = summaries(raw)
    return next(iter(rows.items), None) if rows.is_whole and len(rows.items) <= 1 else NOT_PROVIDED


def summaries(raw: Raw) -> Rows:
    """Return the versions in a list item of a platform model."""
    return Rows.all_of(raw.get("versionSummaries"), raw.get("versionCount"))


MODEL_FIELDS = {
    "name": text("modelName"),
    "description": text("description"),
    "ownership": enum("source", OWNERSHIPS),
    "type": computed("modelType", read=model_type_by_source),
    "labels": TAGS,
    "owner": gathered(
        "createUserId",
        "createUser",
        table={
            "native_id": text("createUserId"),
            "name": text("createUser"),
            **absent("account_id", "tenant_id"),
        },
    ),
    "created_at": time("createTime"),
    "updated_at": time("modifyTime"),
    "latest_version": Field((), newest_version, layout=VERSION, fallback=Rows),
    "versions": Field(("modelVersionList",), versions, layout=VERSION),
}
MODEL = EntityLayout("Model", first_set(*MODEL_KEYS), {**MODEL_FIELDS, **extra(MODEL_FIELDS, *MODEL_KEYS)})
USER_FIELDS = {
    "name": text("modelName"),
    "ownership": fixed("OWN"),
    "type": model_type(USER_TYPES),
    "labels": TAGS,
    "created_at": time("createTime"),
    "latest_version": Field(
        ("latestVersionInfo",), lambda raw: as_object(raw.get("latestVersionInfo")), layout=LATEST_VERSION
    ),
    "versions": Field((), no_versions, layout=VERSION, fallback=NOT_PROVIDED),
}
USER_MODEL = EntityLayout("Model", MODEL.key, {**USER_FIELDS, **extra(USER_FIELDS, *MODEL_KEYS)})
PRESET_FIELDS = {
    "name": text("modelName"),
    "description": text("description"),
    "ownership": fixed("PLATFORM"),
    "type": model_type(PRESET_TYPES),
    "updated_at": time("modifyTime"),
    "latest_version": Field((), single_version, layout=VERSION_SUMMARY, fallback=NOT_PROVIDED),
    "versions": Field((), summaries, layout=VERSION_SUMMARY),
}
PRESET_MODEL = EntityLayout("Model", MODEL.key, {**PRESET_FIELDS, **extra(PRESET_FIELDS, *MODEL_KEYS)})


# Algorithms: one for each model, training mode and parameter scale in the fine-tuning catalog


def range_end(index: int) -> Field:
    """The minimum (``index`` 0) or maximum (1) of a hyperparameter with a ``range`` check."""

    def read(raw: Raw) -> str | None:
        ends = as_list(raw.get("checkValue"))
        return as_text(ends[index]) if raw.get("checkType") == "range" and ends and len(ends) == 2 else None

    return computed(read=read)


def choices(raw: Raw) -> list[str] | None:
    """Return the allowed values of a hyperparameter with a ``choice`` or ``mult_choice`` check."""
    options = as_list(raw.get("checkValue"))
    if raw.get("checkType") not in ("choice", "mult_choice") or options is None:
        return None
    return [as_text(option) or "" for option in options]


def entry_key(raw: Raw) -> str | None:
    """Return the key of an entry: model, training mode and parameter scale, joined. None if one of them is missing."""
    parts = [as_text(raw.get(part)) for part in ("model", "trainMode", "parameterScale")]
    return None if None in parts else ":".join(part for part in parts if part is not None)


def catalog_entries(document: Any) -> list[Raw]:
    """Flatten the catalog: one raw object for each model, training mode and parameter scale."""
    return [
        {
            **{key: model.get(key) for key in ("model", "baseModel", "modelType")},
            "trainMode": mode.get("trainMode"),
            **scale,
        }
        for model in as_objects(at(document, ("result",))) or []
        for mode in as_objects(model.get("supportTrainMode")) or []
        for scale in as_objects(mode.get("supportParameterScale")) or []
    ]


def catalog_rows(document: Any) -> Rows:
    """Return the entries of the catalog. Models, modes and scales that are not objects are rows that are left out."""
    items = catalog_entries(document)
    models = Rows.all_of(at(document, ("result",)))
    modes = [Rows.all_of(model.get("supportTrainMode")) for model in models.items]
    scales = [Rows.all_of(mode.get("supportParameterScale")) for rows in modes for mode in rows.items]
    left_out = sum(rows.left_out for rows in (models, *modes, *scales))
    return Rows(items, len(items) + left_out, left_out=left_out)


def find_entry(document: Any, keys: Keys) -> Raw | None:
    """Return the entry with this key."""
    return next((raw for raw in catalog_entries(document) if entry_key(raw) == keys[0]), None)


def find_entry_version(document: Any, keys: Keys) -> Raw | None:
    """Return the only version of the entry with this key: the entry itself, under the name "1"."""
    return find_entry(document, keys) if keys[1] == "1" else None


SPEC: dict[str, Field] = dict.fromkeys(
    (
        "image",
        "command",
        "job_type",
        "input_channels",
        "output_channels",
        "metric_definitions",
        "progress_definitions",
        "compute_resource",
        "resource_requirements",
        "supported_instance_types",
        "supports_distributed_training",
        "code_dir",
        "customization",
    ),
    ABSENT,
) | {
    "hyper_parameters": nested_list(
        "supportHyperParameterConfig",
        {
            "name": text("key"),
            "display_name": text("name"),
            "description": text("description"),
            "type": text("type"),
            "required": ABSENT,
            "default_value": field("default", lambda value: value if value == "" else as_text(value)),
            "range": Field(
                (),
                lambda raw: raw if raw.get("checkType") else None,
                {
                    "enum": computed(read=choices),
                    "minimum": range_end(0),
                    "maximum": range_end(1),
                    **absent("exclusive_minimum", "exclusive_maximum", "min_length", "max_length", "pattern"),
                    "multiple": computed(read=lambda raw: raw.get("checkType") == "mult_choice"),
                },
            ),
        },
    )
}
ALGORITHM_VERSION = EntityLayout(
    "AlgorithmVersion",
    lambda raw: "1",
    {
        "name": fixed("1"),
        "spec": Field((), lambda raw: raw, SPEC),
        "raw": Field((), lambda raw: raw),
    },
    entry_key,
)
ALGORITHM = EntityLayout(
    "Algorithm",
    entry_key,
    {
        "name": computed(read=lambda raw: (entry_key(raw) or "").replace(":", "/") or None),
        "method": text("trainMode"),
        "scale": text("parameterScale"),
        "versions": Field((), lambda raw: Rows([raw], 1), layout=ALGORITHM_VERSION),
        "latest_version": Field((), lambda raw: raw, layout=ALGORITHM_VERSION),
        "raw": Field((), lambda raw: raw),
    },
)
