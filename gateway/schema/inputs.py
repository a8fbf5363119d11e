"""The input types of lists: filters and orders."""

from enum import Enum

import strawberry

from gateway.schema.enums import (
    Approval,
    ModelFormat,
    ModelFramework,
    Ownership,
    Readiness,
    RegistryKind,
    SourceType,
    value,
)
from gateway.schema.fields import field, input_field
from gateway.schema.scalars import DateTime

REGISTRIES = "Only objects of the registries with these configured names."
KINDS = "Only objects of registries of these kinds."
NAME_CONTAINS = "The name contains this text. Ignores case and Unicode composition."
SEARCH = (
    "Words, separated by white space: each of them must occur in {}. Ignores case, Unicode composition and compatible "
    "forms, such as full-width letters. An empty text is no condition."
)
NAME_EQUALS = "The name is exactly this text. Case-sensitive; ignores Unicode composition."


@strawberry.input(description="A label that an object must have.")
class LabelFilter:
    key: str = field("The key of the label. In registries that have tags instead of labels, the tag.")
    value: str | None = input_field("The value of the label. Omit it to match any value.")


@strawberry.input(description="Labels that an object must have. An object must match both lists, if both are set.")
class LabelsFilter:
    all_of: list[LabelFilter] | None = input_field("The object has all of these labels.")
    any_of: list[LabelFilter] | None = input_field("The object has at least one of these labels.")


@strawberry.input(description="A range of time. Omit one end to leave the range open.")
class TimeRange:
    from_: DateTime | None = input_field("The start of the range, inclusive.", name="from")
    to: DateTime | None = input_field("The end of the range, exclusive.")


@strawberry.input(description="Filters for models. A model must match all filters that are set.")
class ModelFilter:
    registries: list[str] | None = input_field(REGISTRIES)
    kinds: list[RegistryKind] | None = input_field(KINDS)
    ownership: Ownership | None = input_field(
        "The model has this ownership. The gateway reads only the lists that can contain such models."
    )
    search: str | None = input_field(
        SEARCH.format("the name, the description, the id in its registry, or a key or value of a label")
    )
    name_contains: str | None = input_field(NAME_CONTAINS)
    name_equals: str | None = input_field(NAME_EQUALS)
    type: str | None = input_field("The type is this word, in any case.")
    types: list[str] | None = input_field("The type is one of these words, in any case.")
    domain: str | None = input_field("The domain is this word, in any case.")
    domains: list[str] | None = input_field("The domain is one of these words, in any case.")
    task: str | None = input_field("The task is this word, in any case.")
    tasks: list[str] | None = input_field("The task is one of these words, in any case.")
    origin: str | None = input_field("The origin is this word, in any case.")
    origins: list[str] | None = input_field("The origin is one of these words, in any case.")
    provider: str | None = input_field("The provider is this word, in any case, such as `pai` or `huggingface`.")
    providers: list[str] | None = input_field("The provider is one of these words, in any case.")
    workspace_id: strawberry.ID | None = input_field("The model belongs to the workspace with this id.")
    label: LabelFilter | None = input_field("The model has this label.")
    labels: LabelsFilter | None = input_field("The model has these labels.")
    owner: strawberry.ID | None = input_field("The model belongs to the user with this id.")
    created_at: TimeRange | None = input_field(
        "The model was created in this range. "
        "In lists sorted by creation time, the gateway stops reading at the end of the range."
    )
    updated_at: TimeRange | None = input_field("The model was last changed in this range.")
    latest_version_created_at: TimeRange | None = input_field("The latest version was created in this range.")
    framework: ModelFramework | None = input_field("The latest version has this framework.")
    frameworks: list[ModelFramework] | None = input_field("The latest version has one of these frameworks.")
    format: ModelFormat | None = input_field("The latest version has this format.")
    formats: list[ModelFormat] | None = input_field("The latest version has one of these formats.")
    readiness: Readiness | None = input_field("The latest version has this readiness.")
    readinesses: list[Readiness] | None = input_field("The latest version has one of these readinesses.")
    approval: Approval | None = input_field("The latest version has this approval.")
    approvals: list[Approval] | None = input_field("The latest version has one of these approvals.")


@strawberry.input(description="Filters for model versions. A version must match all filters that are set.")
class ModelVersionFilter:
    format: ModelFormat | None = input_field("The version has this format.")
    formats: list[ModelFormat] | None = input_field("The version has one of these formats.")
    framework: ModelFramework | None = input_field("The version has this framework.")
    frameworks: list[ModelFramework] | None = input_field("The version has one of these frameworks.")
    source_type: SourceType | None = input_field("The version has this type of source.")
    source_types: list[SourceType] | None = input_field("The version has one of these types of source.")
    approval: Approval | None = input_field("The version has this approval.")
    approvals: list[Approval] | None = input_field("The version has one of these approvals.")
    readiness: Readiness | None = input_field("The version has this readiness.")
    readinesses: list[Readiness] | None = input_field("The version has one of these readinesses.")
    label: LabelFilter | None = input_field("The version has this label.")
    labels: LabelsFilter | None = input_field("The version has these labels.")


@strawberry.input(description="Filters for algorithms. An algorithm must match all filters that are set.")
class AlgorithmFilter:
    registries: list[str] | None = input_field(REGISTRIES)
    kinds: list[RegistryKind] | None = input_field(KINDS)
    search: str | None = input_field(
        SEARCH.format("the name, the display name, the description or the id in its registry")
    )
    name_contains: str | None = input_field(NAME_CONTAINS)
    name_equals: str | None = input_field(NAME_EQUALS)
    provider: str | None = input_field("The provider is this word, in any case, such as `pai`.")
    providers: list[str] | None = input_field("The provider is one of these words, in any case.")
    workspace_id: strawberry.ID | None = input_field("The algorithm belongs to the workspace with this id.")


@strawberry.enum(
    description="The field to sort models by. Models without a value come last, or keep the place that their registry "
    "gives them. Models with the same value are sorted by id."
)
class ModelOrderField(Enum):
    CREATED_AT = value("CREATED_AT", "The creation time. The Qianfan list of platform models does not contain it.")
    UPDATED_AT = value(
        "UPDATED_AT", "The time of the last change. The Qianfan v1 list of your own models does not contain it."
    )
    LATEST_VERSION_CREATED_AT = value(
        "LATEST_VERSION_CREATED_AT",
        "The creation time of the newest version. PAI and MLflow list it. The lists of Qianfan and SageMaker do not: "
        "each of their rows needs an upstream call.",
    )
    NAME = value("NAME", "The name, compared by Unicode code points.")


@strawberry.enum(description="The direction of a sort order.")
class OrderDirection(Enum):
    ASC = value("ASC", "Ascending: oldest first, A to Z.")
    DESC = value("DESC", "Descending: newest first, Z to A.")


@strawberry.input(
    description="How to sort models. PAI can sort by creation time only, MLflow by the time of the last change. For "
    "other fields, and for lists that a registry returns unsorted, the gateway reads rows up to a limit and sorts them "
    "itself."
)
class ModelOrder:
    field: ModelOrderField = strawberry.field(description="The field to sort by.")
    direction: OrderDirection = strawberry.field(description="The direction to sort in.")
