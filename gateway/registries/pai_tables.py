"""The field tables of Alibaba PAI: enumeration values, and the layouts of its entities.

Sources: the API references of AIWorkSpace 2021-02-04 and PaiStudio 2022-01-12, and the official SDKs' models.
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
    as_integer,
    as_json,
    as_moment,
    as_object,
    as_objects,
    as_text,
    as_texts,
    boolean,
    computed,
    enum,
    extra,
    field,
    gathered,
    integer,
    json_value,
    metric,
    nested,
    nested_list,
    text,
    texts,
    time,
)
from gateway.registries.kind import Keys
from gateway.upstream.json_documents import REPLACED

# Enumeration values

FORMATS = {
    "offlinemodel": "OFFLINE_MODEL",
    "savedmodel": "SAVED_MODEL",
    "kerash5": "KERAS_H5",
    "frozenpb": "FROZEN_PB",
    "caffeprototxt": "CAFFE_PROTOTXT",
    "caffe": "CAFFE_PROTOTXT",
    "torchscript": "TORCH_SCRIPT",
    "xgboost": "XGBOOST",
    "pmml": "PMML",
    "alinkmodel": "ALINK_MODEL",
    "onnx": "ONNX",
    "blademodel": "BLADE_MODEL",
    "tflite": "TFLITE",
}
FRAMEWORKS = {
    "pytorch": "PYTORCH",
    "xgboost": "XGBOOST",
    "keras": "KERAS",
    "caffe": "CAFFE",
    "alink": "ALINK",
    "xflow": "XFLOW",
    "tensorflow": "TENSORFLOW",
    "tflite": "TFLITE",
    "blade": "BLADE",
}
APPROVALS = {"pending": "PENDING", "approved": "APPROVED", "rejected": "REJECTED"}
SOURCES = {"custom": "CUSTOM", "paiflow": "PIPELINE", "trainingservice": "TRAINING_SERVICE"}
VISIBILITIES = {"private": "PRIVATE", "public": "WORKSPACE"}


def native_values(values: Mapping[str, str], *spellings: str) -> Mapping[str, str]:
    """Return the native values by the schema's. Pass only spellings that are unique for their schema value."""
    return {values[spelling.lower()]: spelling for spelling in spellings}


# Models


MAX_INT64 = 2**63 - 1


def parameter_count(raw: Raw) -> int | None:
    """Return the number of parameters. ParameterSize is in millions."""
    millions = as_integer(raw.get("ParameterSize"))
    return None if millions is None or abs(millions) > MAX_INT64 // 1_000_000 else millions * 1_000_000


def source(raw: Raw) -> Raw | None:
    """Combine SourceType with the parts of SourceId.

    A SourceId is ``region=…,workspaceId=…,kind=…,id=…`` or free text, which then is the id.
    """
    source_type, source_id = as_text(raw.get("SourceType")), as_text(raw.get("SourceId"))
    if source_type is None and source_id is None:
        return None
    parts = dict(part.strip().split("=", 1) for part in (source_id or "").split(",") if "=" in part)
    if not {"kind", "id"} <= parts.keys():
        parts = {"id": source_id} if source_id else {}
    return {**parts, "SourceType": source_type}


def evaluations(raw: Raw) -> list[Raw] | None:
    """Return the evaluations in Metrics, None if it is not a filled object.

    Metrics has a list of evaluations under Results, or is a flat object of metrics: one evaluation without a dataset.
    """
    metrics = as_object(raw.get("Metrics"))
    if not metrics:
        return None
    results = as_objects(metrics.get("Results"))
    flat = {name: value for name, value in metrics.items() if results is None or name != "Results"}
    return [*(results or ()), *([{"Metrics": flat}] if flat.keys() - {REPLACED} else ())]


def metric_values(raw: Raw) -> list[Raw] | None:
    """Return the metrics of one evaluation as objects with name and value."""
    metrics = as_object(raw.get("Metrics"))
    if metrics is None:
        return None
    return [{"name": name, "value": value} for name, value in metrics.items() if name != REPLACED]


def trainings(raw: Raw) -> list[Raw] | None:
    """Return the uses of algorithms in TrainingSpec.

    TrainingSpec names an algorithm, contains one, or is an object of training methods that each do one of both.
    """
    spec = as_object(raw.get("TrainingSpec"))
    if spec is None:
        return None
    if "AlgorithmName" in spec or "AlgorithmSpec" in spec:
        return [spec]
    return [
        {**use, "method": method}
        for method, use in spec.items()
        if isinstance(use, Mapping) and ("AlgorithmName" in use or "AlgorithmSpec" in use)
    ]


def policy_rules(raw: Raw) -> Any:
    """Return the rules in the text of a policy, also if it is escaped twice. None if the text is not a list."""
    rules = as_json(raw.get("Value"))
    return rules if isinstance(rules, list) else None


def algorithm_key(raw: Raw) -> Keys | None:
    """Return the keys of the algorithm lookup: name and provider. The provider is empty if it is not set."""
    name = as_text(raw.get("AlgorithmName"))
    return None if name is None else (name, as_text(raw.get("AlgorithmProvider")) or "")


def algorithm_version_key(raw: Raw) -> Keys | None:
    """Return the keys of the algorithm version lookup: name, provider and version."""
    algorithm, version = algorithm_key(raw), as_text(raw.get("AlgorithmVersion"))
    return None if algorithm is None or version is None else (*algorithm, version)


LABEL = {"key": text("Key"), "value": text("Value")}
OWNER = {"native_id": text("UserId"), "name": ABSENT, "account_id": text("OwnerId"), "tenant_id": ABSENT}
CHANNEL = {
    "name": text("Name"),
    "description": text("Description"),
    "required": boolean("Required"),
    "properties": json_value("Properties"),
    "supported_channel_types": texts("SupportedChannelTypes"),
}
PROGRESS = {"description": text("Description"), "regex": text("Regex")}
ALGORITHM_SPEC = {
    "image": text("Image"),
    "command": field("Command", lambda value: [value] if isinstance(value, str) else as_texts(value)),
    "job_type": text("JobType"),
    "hyper_parameters": nested_list(
        "HyperParameters",
        {
            "name": text("Name"),
            "display_name": text("DisplayName"),
            "description": text("Description"),
            "type": text("Type"),
            "required": boolean("Required"),
            "default_value": field("DefaultValue", lambda value: value if value == "" else as_text(value)),
            "range": nested(
                "Range",
                {
                    "enum": texts("Enum"),
                    "minimum": text("Minimum"),
                    "maximum": text("Maximum"),
                    "exclusive_minimum": boolean("ExclusiveMinimum"),
                    "exclusive_maximum": boolean("ExclusiveMaximum"),
                    "min_length": integer("MinLength"),
                    "max_length": integer("MaxLength"),
                    "pattern": text("Pattern"),
                    "multiple": ABSENT,
                },
            ),
        },
    ),
    "input_channels": nested_list("InputChannels", CHANNEL),
    "output_channels": nested_list("OutputChannels", CHANNEL),
    "metric_definitions": nested_list(
        "MetricDefinitions",
        {"name": text("Name"), "regex": text("Regex"), "description": text("Description")},
    ),
    "progress_definitions": nested(
        "ProgressDefinitions",
        {
            "overall_progress": nested("OverallProgress", PROGRESS),
            "remaining_time": nested("RemainingTime", PROGRESS),
        },
    ),
    "compute_resource": nested(
        "ComputeResource",
        {
            "policy": nested(
                "Policy",
                {
                    "version": text("Version"),
                    "value": text("Value"),
                    "rules": computed("Value", read=policy_rules),
                },
            )
        },
    ),
    "resource_requirements": nested_list(
        "ResourceRequirements",
        {"key": text("Key"), "operator": text("Operator"), "values": texts("Values")},
    ),
    "supported_instance_types": texts("SupportedInstanceTypes"),
    "supports_distributed_training": boolean("SupportsDistributedTraining"),
    "code_dir": nested("CodeDir", {"location_type": text("LocationType"), "location": json_value("LocationValue")}),
    "customization": json_value("Customization"),
}
VERSION_FIELDS = {
    "name": text("VersionName"),
    "description": text("VersionDescription"),
    "uri": text("Uri"),
    "format": enum("FormatType", FORMATS),
    "format_name": text("FormatType"),
    "framework": enum("FrameworkType", FRAMEWORKS),
    "framework_name": text("FrameworkType"),
    "approval": enum("ApprovalStatus", APPROVALS),
    "source": Field(
        ("SourceType", "SourceId"),
        source,
        {
            "type": enum("SourceType", SOURCES),
            "type_name": text("SourceType"),
            "native_id": text("id"),
            "region": text("region"),
            "workspace_id": text("workspaceId"),
            "kind": text("kind"),
            **absent("task_id", "task_name", "run_id", "iteration", "details"),
        },
    ),
    "trained_with": Field(
        (),
        trainings,
        {
            "method": text("method"),
            "name": text("AlgorithmName"),
            "provider": text("AlgorithmProvider"),
            "version": text("AlgorithmVersion"),
            "spec": nested("AlgorithmSpec", ALGORITHM_SPEC),
            "algorithm": Field((), algorithm_key, lookup="algorithm"),
            "algorithm_version": Field((), algorithm_version_key, lookup="algorithm_version"),
        },
    ),
    "metrics": json_value("Metrics"),
    "evaluations": Field(
        (),
        evaluations,
        {
            "dataset": nested(
                "Dataset", {"native_id": text("DatasetId"), "uri": text("Uri"), "name": ABSENT, "digest": ABSENT}
            ),
            "metrics": Field(
                (),
                metric_values,
                metric(field("name", str), "value"),
            ),
        },
    ),
    "options": json_value("Options"),
    "training_spec": json_value("TrainingSpec"),
    "inference_spec": json_value("InferenceSpec"),
    "evaluation_spec": json_value("EvaluationSpec"),
    "compression_spec": json_value("CompressionSpec"),
    "distillation_spec": json_value("DistillationSpec"),
    "labels": nested_list("Labels", LABEL),
    "owner": gathered("UserId", "OwnerId", table=OWNER),
    "created_at": time("GmtCreateTime"),
    "updated_at": time("GmtModifiedTime"),
}
VERSION = EntityLayout(
    "ModelVersion",
    lambda raw: as_text(raw.get("VersionName")),
    {**VERSION_FIELDS, **extra(VERSION_FIELDS, "RequestId")},
)
MODEL_FIELDS = {
    "name": text("ModelName"),
    "description": text("ModelDescription"),
    "documentation_url": text("ModelDoc"),
    "ownership": computed(read=lambda raw: "PLATFORM" if raw.get("Provider") else "OWN"),
    "provider": text("Provider"),
    "origin": text("Origin"),
    "type": text("ModelType"),
    "domain": text("Domain"),
    "task": text("Task"),
    "visibility": enum("Accessibility", VISIBILITIES),
    "labels": nested_list("Labels", LABEL),
    "owner": gathered("UserId", "OwnerId", table=OWNER),
    "workspace_id": text("WorkspaceId"),
    "parameter_count": Field(("ParameterSize",), parameter_count, is_number=True),
    "created_at": time("GmtCreateTime"),
    "updated_at": time("GmtModifiedTime"),
    "latest_version": Field(
        ("LatestVersion",), lambda raw: as_object(raw.get("LatestVersion")) or None, layout=VERSION
    ),
}
MODEL = EntityLayout(
    "Model",
    lambda raw: as_text(raw.get("ModelId")),
    {**MODEL_FIELDS, **extra(MODEL_FIELDS, "RequestId", "ModelId")},
)


# Algorithms

LISTED_ALGORITHM_VERSION_FIELDS = {
    "name": text("AlgorithmVersion"),
    "owner": gathered(
        "UserId",
        "TenantId",
        table={**OWNER, "account_id": ABSENT, "tenant_id": text("TenantId")},
    ),
    "created_at": time("GmtCreateTime"),
    "updated_at": time("GmtModifiedTime"),
}
PARENT_ALGORITHM = EntityLayout(
    "Algorithm",
    lambda raw: as_text(raw.get("AlgorithmId")),
    {"name": text("AlgorithmName"), "provider": text("AlgorithmProvider")},
)
LISTED_ALGORITHM_VERSION = EntityLayout(
    "AlgorithmVersion",
    lambda raw: as_text(raw.get("AlgorithmVersion")),
    LISTED_ALGORITHM_VERSION_FIELDS,
    owner=PARENT_ALGORITHM,
)
ALGORITHM_VERSION = EntityLayout(
    "AlgorithmVersion",
    LISTED_ALGORITHM_VERSION.key,
    {
        **LISTED_ALGORITHM_VERSION_FIELDS,
        "spec": nested("AlgorithmSpec", ALGORITHM_SPEC),
        "raw": Field((), lambda raw: raw),
    },
    owner=PARENT_ALGORITHM,
)
LISTED_ALGORITHM_FIELDS = {
    "name": text("AlgorithmName"),
    "display_name": text("DisplayName"),
    "description": text("AlgorithmDescription"),
    "provider": text("AlgorithmProvider"),
    "workspace_id": text("WorkspaceId"),
    "owner": gathered("UserId", table={"native_id": text("UserId"), "name": ABSENT, "account_id": ABSENT}),
    "created_at": time("GmtCreateTime"),
    "updated_at": time("GmtModifiedTime"),
    "raw": Field((), lambda raw: raw),
}
LISTED_ALGORITHM = EntityLayout("Algorithm", lambda raw: as_text(raw.get("AlgorithmId")), LISTED_ALGORITHM_FIELDS)
ALGORITHM = EntityLayout(
    "Algorithm",
    LISTED_ALGORITHM.key,
    {**LISTED_ALGORITHM_FIELDS, "owner": LISTED_ALGORITHM_VERSION_FIELDS["owner"]},
)


# Lists


def rows(key: str, layout: EntityLayout) -> Field:
    """The rows of a list response."""
    return Field(
        (key,),
        lambda raw: Rows.of(raw.get(key), as_integer(raw.get("TotalCount"))),
        layout=layout,
    )


def newest_version(raw: Raw) -> Any:
    """Return the newest version in a list without a documented order, all rows if the list may have further pages."""
    listed = Rows.of(raw.get("AlgorithmVersions"), as_integer(raw.get("TotalCount")))
    versions = listed.items
    if not listed.is_whole:
        return listed
    latest_last = sorted(versions, key=lambda version: as_moment(version.get("GmtCreateTime")))
    return next(reversed(latest_last), None)


def version_list(entity: str, *fields: tuple[str, Field]) -> EntityLayout:
    """Return the layout of a list of versions, as fields of the model or algorithm that they belong to."""
    return EntityLayout(entity, lambda raw: None, dict(fields), is_entity=False)
