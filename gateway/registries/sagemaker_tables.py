"""The field tables of Amazon SageMaker: enumeration values, and the layouts of its entities.

A model package group is a model of the schema, its model packages are the versions. Lists contain summaries; framework,
files, metrics and algorithms come with the description of a package. An algorithm has no versions: it is shown with a
single one, named ``1``. Source: the service model ``sagemaker``, version 2017-07-24.
"""

import re
from typing import Any

from gateway.registries.fields import (
    ABSENT,
    EntityLayout,
    Field,
    Raw,
    Rows,
    Table,
    absent,
    as_enum,
    as_object,
    as_objects,
    as_text,
    at,
    boolean,
    computed,
    enum,
    extra,
    field,
    fixed,
    json_value,
    nested,
    nested_list,
    seconds,
    text,
    texts,
)
from gateway.registries.kind import Keys

# Enumeration values

STATES = {"pending": "CREATING", "inprogress": "CREATING", "completed": "READY", "failed": "FAILED"}
APPROVALS = {"pendingmanualapproval": "PENDING", "approved": "APPROVED", "rejected": "REJECTED"}
FRAMEWORKS = {
    "tensorflow": "TENSORFLOW",
    "pytorch": "PYTORCH",
    "keras": "KERAS",
    "xgboost": "XGBOOST",
    "tflite": "TFLITE",
}
STAGES = {"development": "DEVELOPMENT", "staging": "STAGING", "production": "PRODUCTION", "archived": "ARCHIVED"}
SOURCES = {"trainingjob": "TRAINING_SERVICE", "pipeline": "PIPELINE"}

ARN = re.compile(r"arn:[a-z-]+:[a-z-]+:(?P<region>[a-z0-9-]*):(?P<account>[0-9]*):(?P<kind>[a-z-]+)/(?P<name>.+)")
"""Matches an Amazon resource name with a path, such as that of a training job or a user."""


def arn_parts(value: Any) -> dict[str, str]:
    """Return the parts of a resource name: region, account, kind and name. Empty for other values."""
    match = ARN.fullmatch(value) if isinstance(value, str) else None
    return {} if match is None else match.groupdict()


# Users


def owner(raw: Raw) -> Raw | None:
    """Return the user in CreatedBy with the parts of the user's resource name."""
    user = as_object(raw.get("CreatedBy")) or {}
    arn = as_text(at(user, ("IamIdentity", "Arn"))) or as_text(user.get("UserProfileArn"))
    return {**user, "arn": arn, **arn_parts(arn)} if user else None


OWNER = Field(
    (),
    owner,
    {
        "native_id": text("arn"),
        "name": text("UserProfileName"),
        "account_id": text("account"),
        "tenant_id": ABSENT,
    },
)


# Versions: model packages


def container(raw: Raw, key: str) -> Any:
    """Return the value of the first container that has one under a key."""
    containers = as_objects(at(raw, ("InferenceSpecification", "Containers"))) or []
    return next((item[key] for item in containers if item.get(key) not in (None, "")), None)


def uri(raw: Raw) -> str | None:
    """Return the location of the first container's model data."""
    location = container(raw, "ModelDataUrl") or at(container(raw, "ModelDataSource"), ("S3DataSource", "S3Uri"))
    return as_text(location)


def source(raw: Raw) -> Raw | None:
    """Return the metadata of a package with the parts of the name of the resource that generated it."""
    metadata = as_object(raw.get("MetadataProperties"))
    return {**metadata, **arn_parts(metadata.get("GeneratedBy")), "details": metadata} if metadata else None


def algorithm_name(raw: Raw) -> str | None:
    """Return the name of a source algorithm of the account, None if it belongs to another account or region."""
    name, own = as_text(raw.get("AlgorithmName")), raw.get("own")
    parts = arn_parts(name)
    if not parts:
        return name if name and ":" not in name else None
    return parts["name"] if parts["kind"] == "algorithm" and (parts["region"], parts["account"]) == own else None


def trainings(raw: Raw) -> list[Raw] | None:
    """Return the source algorithms of a package, each with the region and account of the package."""
    algorithms = as_objects(at(raw, ("SourceAlgorithmSpecification", "SourceAlgorithms")))
    parts = arn_parts(raw.get("ModelPackageArn"))
    own = parts.get("region"), parts.get("account")
    return None if algorithms is None else [{**algorithm, "own": own} for algorithm in algorithms]


def algorithm_key(raw: Raw) -> Keys | None:
    """Return the keys of the algorithm lookup."""
    name = algorithm_name(raw)
    return None if name is None else (name,)


def labels(raw: Raw) -> list[Raw] | None:
    """Return the customer's metadata properties as labels."""
    properties = as_object(raw.get("CustomerMetadataProperties"))
    return None if properties is None else [{"key": key, "value": value} for key, value in properties.items()]


def stage_name(raw: Raw) -> str | None:
    """Return the stage of a package in its life cycle."""
    return as_text(at(raw, ("ModelLifeCycle", "Stage")))


def failures(raw: Raw) -> str | None:
    """Return why the validation of a package or the scan of its images failed, one reason on each line."""
    details = as_object(raw.get("ModelPackageStatusDetails")) or {}
    items = [item for key in ("ValidationStatuses", "ImageScanStatuses") for item in as_objects(details.get(key)) or []]
    return "\n".join([reason for item in items if (reason := as_text(item.get("FailureReason")))]) or None


VERSION_KEY = "ModelPackageVersion"
VERSION_KEYS = ("ModelPackageGroupName", VERSION_KEY)
SUMMARY_FIELDS: dict[str, Field] = {
    "name": text(VERSION_KEY),
    "description": text("ModelPackageDescription"),
    "readiness": enum("ModelPackageStatus", STATES),
    "approval": enum("ModelApprovalStatus", APPROVALS),
    "stage": computed(read=lambda raw: as_enum(stage_name(raw), STAGES)),
    "stage_name": computed(read=stage_name),
    "created_at": seconds("CreationTime"),
}
DESCRIPTION_FIELDS: dict[str, Field] = {
    **SUMMARY_FIELDS,
    "uri": computed(read=uri),
    "framework": computed(read=lambda raw: as_enum(container(raw, "Framework"), FRAMEWORKS)),
    "framework_name": computed(read=lambda raw: as_text(container(raw, "Framework"))),
    "base_model": computed(read=lambda raw: as_text(at(container(raw, "BaseModel"), ("HubContentName",)))),
    "status_message": computed(read=failures),
    "source": Field(
        ("MetadataProperties",),
        source,
        {
            "type": enum("kind", SOURCES),
            "type_name": text("kind"),
            "native_id": text("GeneratedBy"),
            "region": text("region"),
            "workspace_id": text("ProjectId"),
            "kind": text("kind"),
            **absent("task_id", "task_name", "run_id", "iteration"),
            "details": json_value("details"),
        },
    ),
    "trained_with": Field(
        (),
        trainings,
        {
            "name": text("AlgorithmName"),
            **absent("method", "provider", "version", "spec"),
            "algorithm": Field((), algorithm_key, lookup="algorithm"),
            "algorithm_version": Field((), algorithm_key, lookup="algorithm_version"),
        },
    ),
    "metrics": json_value("ModelMetrics"),
    "training_spec": json_value("SourceAlgorithmSpecification"),
    "inference_spec": json_value("InferenceSpecification"),
    "labels": Field(("CustomerMetadataProperties",), labels, {"key": text("key"), "value": text("value")}),
    "owner": OWNER,
    "updated_at": seconds("LastModifiedTime"),
}


def version(fields: Table) -> EntityLayout:
    """Return a layout of a version with these fields."""
    return EntityLayout(
        "ModelVersion",
        lambda raw: as_text(raw.get(VERSION_KEY)),
        {**fields, **extra(fields, *VERSION_KEYS)},
        lambda raw: as_text(raw.get("ModelPackageGroupName")),
    )


SUMMARY, VERSION = version(SUMMARY_FIELDS), version(DESCRIPTION_FIELDS)


# Models: model package groups

GROUP_KEY = "ModelPackageGroupName"
GROUP_FIELDS: dict[str, Field] = {
    "name": text(GROUP_KEY),
    "description": text("ModelPackageGroupDescription"),
    "ownership": fixed("OWN"),
    "created_at": seconds("CreationTime"),
}


def model(fields: Table) -> EntityLayout:
    """Return a layout of a model with these fields."""
    return EntityLayout("Model", lambda raw: as_text(raw.get(GROUP_KEY)), {**fields, **extra(fields)})


LISTED_MODEL, MODEL = model(GROUP_FIELDS), model({**GROUP_FIELDS, "owner": OWNER})


# Algorithms


def parameter_range(raw: Raw) -> Raw | None:
    """Return the range of a hyperparameter, of whichever type it is."""
    ranges = as_object(raw.get("Range")) or {}
    return next((found for value in ranges.values() if (found := as_object(value))), None)


SPEC: dict[str, Field] = {
    **absent("command", "job_type", "output_channels", "progress_definitions", "compute_resource"),
    **absent("resource_requirements", "code_dir", "customization"),
    "image": text("TrainingImage"),
    "hyper_parameters": nested_list(
        "SupportedHyperParameters",
        {
            "name": text("Name"),
            "display_name": ABSENT,
            "description": text("Description"),
            "type": text("Type"),
            "required": boolean("IsRequired"),
            "default_value": field("DefaultValue", lambda value: value if value == "" else as_text(value)),
            "range": Field(
                ("Range",),
                parameter_range,
                {
                    "enum": texts("Values"),
                    "minimum": text("MinValue"),
                    "maximum": text("MaxValue"),
                    **absent("exclusive_minimum", "exclusive_maximum", "multiple"),
                    **absent("min_length", "max_length", "pattern"),
                },
            ),
        },
    ),
    "input_channels": nested_list(
        "TrainingChannels",
        {
            "name": text("Name"),
            "description": text("Description"),
            "required": boolean("IsRequired"),
            "properties": computed(
                "SupportedContentTypes",
                "SupportedCompressionTypes",
                read=lambda raw: {
                    key: raw[key] for key in ("SupportedContentTypes", "SupportedCompressionTypes") if key in raw
                },
            ),
            "supported_channel_types": texts("SupportedInputModes"),
        },
    ),
    "metric_definitions": nested_list(
        "MetricDefinitions", {"name": text("Name"), "regex": text("Regex"), "description": ABSENT}
    ),
    "supported_instance_types": texts("SupportedTrainingInstanceTypes"),
    "supports_distributed_training": boolean("SupportsDistributedTraining"),
}
ONLY_VERSION = "1"
"""The key and name of the version with which an algorithm is shown."""


def algorithm_version(**fields: Field) -> EntityLayout:
    """Return a layout of the only version of an algorithm with these fields."""
    return EntityLayout(
        "AlgorithmVersion",
        lambda raw: ONLY_VERSION,
        {
            "name": fixed(ONLY_VERSION),
            "created_at": seconds("CreationTime"),
            "raw": Field((), lambda raw: raw),
            **fields,
        },
        lambda raw: as_text(raw.get("AlgorithmName")),
    )


def algorithm(only_version: EntityLayout) -> EntityLayout:
    """Return a layout of an algorithm with its only version."""
    return EntityLayout(
        "Algorithm",
        lambda raw: as_text(raw.get("AlgorithmName")),
        {
            "name": text("AlgorithmName"),
            "description": text("AlgorithmDescription"),
            "created_at": seconds("CreationTime"),
            "latest_version": Field((), lambda raw: raw, layout=only_version),
            "versions": Field((), lambda raw: Rows([raw], 1), layout=only_version),
            "raw": Field((), lambda raw: raw),
        },
    )


ALGORITHM_VERSION = algorithm_version(spec=nested("TrainingSpecification", SPEC))
LISTED_ALGORITHM, ALGORITHM = algorithm(algorithm_version()), algorithm(ALGORITHM_VERSION)

ABSENT_FIELDS = {
    "Model": "aliases documentation_url domain labels origin parameter_count provider task type updated_at visibility "
    "workspace_id",
    "ModelVersion": "aliases compression_spec copyright deploy_targets distillation_spec evaluation_spec evaluations "
    "format format_name input_schema io_length io_mode license license_id options output_schema parameters properties "
    "supported_operations",
    "Algorithm": "display_name method owner provider scale updated_at workspace_id",
    "AlgorithmVersion": "owner updated_at",
}
"""The fields of each entity that no call supplies."""
