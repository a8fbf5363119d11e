"""What lists can be asked for: filters and orders. Each filter's description says where it is applied."""

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
    word,
)
from gateway.schema.fields import field, input_field
from gateway.schema.scalars import DateTime


@strawberry.input(description="A label to look for.")
class LabelFilter:
    key: str = field("Exactly this key; for registries with plain tags, the tag.")
    value: str | None = input_field("Exactly this value; any, if it is left out.")


@strawberry.input(description="A range of time.")
class TimeRange:
    from_: DateTime | None = input_field("The first moment of it.", name="from")
    to: DateTime | None = input_field("The first moment after it.")


@strawberry.input(description="Which models to list: those that pass every filter that is given.")
class ModelFilter:
    registries: list[str] | None = input_field("Only these registries, by their configured names.")
    kinds: list[RegistryKind] | None = input_field("Only registries of these kinds.")
    ownership: Ownership | None = input_field("Whose they are: decides which lists are read.")
    search: str | None = input_field(
        "Text that is part of the name, domain, task, or a label's key or value, in any case."
    )
    name_contains: str | None = input_field("Text that is part of the name, in any case.")
    name_equals: str | None = input_field("Exactly this name.")
    type: str | None = input_field("Exactly this type.")
    domain: str | None = input_field("Exactly this domain.")
    task: str | None = input_field("Exactly this task.")
    origin: str | None = input_field("Exactly this origin.")
    provider: str | None = input_field("Exactly this provider, such as pai or huggingface.")
    workspace_id: strawberry.ID | None = input_field("In this workspace.")
    label: LabelFilter | None = input_field("With this label.")
    owner: strawberry.ID | None = input_field("Owned by the user of this id.")
    created_at: TimeRange | None = input_field(
        "Created in this range. In the order of creation, lists that come sorted are read no further than it reaches."
    )
    updated_at: TimeRange | None = input_field("Last changed in this range.")
    framework: ModelFramework | None = input_field("Whose latest version has this framework.")
    format: ModelFormat | None = input_field("Whose latest version has this format.")
    readiness: Readiness | None = input_field("Whose latest version is this ready.")
    approval: Approval | None = input_field("Whose latest version is approved or not.")


@strawberry.input(description="Which versions to list: those that pass every filter that is given.")
class ModelVersionFilter:
    format: ModelFormat | None = input_field("With this format.")
    framework: ModelFramework | None = input_field("With this framework.")
    source_type: SourceType | None = input_field("From this kind of source.")
    approval: Approval | None = input_field("Approved or not.")
    readiness: Readiness | None = input_field("This ready.")
    label: LabelFilter | None = input_field("With this label.")


@strawberry.input(description="Which algorithms to list: those that pass every filter that is given.")
class AlgorithmFilter:
    registries: list[str] | None = input_field("Only these registries, by their configured names.")
    kinds: list[RegistryKind] | None = input_field("Only registries of these kinds.")
    name_contains: str | None = input_field("Text that is part of the name, in any case.")
    name_equals: str | None = input_field("Exactly this name.")
    provider: str | None = input_field("Exactly this provider, such as pai.")
    workspace_id: strawberry.ID | None = input_field("In this workspace.")


@strawberry.enum(description="What models are sorted by. Rows without a value stand last; ties are sorted by id.")
class ModelOrderField(Enum):
    CREATED_AT = word("CREATED_AT", "When they were created. Qianfan's list of platform models does not tell.")
    UPDATED_AT = word("UPDATED_AT", "When they were last changed. Qianfan's list of own models (v1) does not tell.")
    NAME = word("NAME", "Their name, by code points.")


@strawberry.enum(description="Rising or falling.")
class OrderDirection(Enum):
    ASC = word("ASC", "Rising: oldest first, A to Z.")
    DESC = word("DESC", "Falling: newest first, Z to A.")


@strawberry.input(
    description="In what order to list. Only the order of creation is known to registries; for others, and for lists "
    "that come in no order, rows are read up to a bound and sorted by the gateway."
)
class ModelOrder:
    field: ModelOrderField = strawberry.field(description="What to sort by.")
    direction: OrderDirection = strawberry.field(description="Rising or falling.")
