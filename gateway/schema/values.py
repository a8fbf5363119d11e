"""The graph's value objects: what has no id of its own."""

import strawberry

from gateway.schema.directives import NOW, VENDOR
from gateway.schema.enums import Capability, CircuitState, CoverageState, RegistryKind, RegistryState, SourceType
from gateway.schema.fields import field, volatile_field
from gateway.schema.scalars import JSON, DateTime, Long


@strawberry.type(description="A label: a key, with or without a value.")
class Label:
    key: str | None = field("The key; for registries with plain tags, the tag.")
    value: str | None = field("The value; null where the registry has plain tags.")


@strawberry.type(description="Who owns an object. Ids of people and accounts are text: they exceed 53 bits.")
class Owner:
    native_id: strawberry.ID | None = field("The user: an id of the registry's, not of this graph.")
    name: str | None = field("The user's name.")
    account_id: strawberry.ID | None = field("The main account that the user belongs to.")
    tenant_id: strawberry.ID | None = field("The tenant.")


@strawberry.type(description="Where a model version came from.")
class VersionSource:
    type: SourceType | None = field("The kind of source.")
    type_name: str | None = field("The registry's own word for the kind of source.")
    native_id: strawberry.ID | None = field("Its id in the registry; free text for versions registered by hand.")
    region: str | None = field("Region of the source.")
    workspace_id: strawberry.ID | None = field("Workspace of the source.")
    kind: str | None = field("What its id names, such as PipelineRun or ServiceJob.")
    task_id: strawberry.ID | None = field("The training task (a job, in Qianfan's newer ids).")
    task_name: str | None = field("Name of the training task.")
    run_id: strawberry.ID | None = field("The run of the training task.")
    iteration: Long | None = field("Which iteration of the task it was, from 1.")
    details: JSON | None = field("All that the registry says of the source, as it says it.", VENDOR)


@strawberry.type(description="A dataset that a version was evaluated on.")
class Dataset:
    native_id: strawberry.ID | None = field("Its id in the registry, where it is registered there.")
    uri: str | None = field("Address of the data.")


@strawberry.type(description="One measured value.")
class Metric:
    name: str = field("Name of the metric, such as cer.")
    value: float | None = field("The number; null when the registry has no number here.")


@strawberry.type(description="Metrics of a version on one dataset.")
class Evaluation:
    dataset: Dataset | None = field("What it was measured on.")
    metrics: list[Metric] | None = field("The values.")


@strawberry.type(description="What values a hyperparameter may have.")
class HyperParameterRange:
    enum: list[str] | None = field("The allowed values, as text.")
    minimum: str | None = field("The smallest value, as text, so that no digit is lost.")
    maximum: str | None = field("The largest value, as text.")
    exclusive_minimum: bool | None = field("Whether the smallest value itself is not allowed.")
    exclusive_maximum: bool | None = field("Whether the largest value itself is not allowed.")
    min_length: Long | None = field("Fewest characters.")
    max_length: Long | None = field("Most characters.")
    pattern: str | None = field("Regular expression that the text must match.")
    multiple: bool | None = field("Whether several of the allowed values may be given at once.")


@strawberry.type(description="A hyperparameter of a training algorithm.")
class HyperParameter:
    name: str | None = field("The name that the algorithm reads.")
    display_name: str | None = field("The name for people.")
    description: str | None = field("What it does.")
    type: str | None = field("Its type in the registry's words, such as Int, Float, String.")
    required: bool | None = field("Whether it must be given.")
    default_value: str | None = field("The default, as text; lists as JSON text.")
    range: HyperParameterRange | None = field("What is allowed.")


@strawberry.type(description="An input or output of a training algorithm.")
class Channel:
    name: str | None = field("Name of the channel.")
    description: str | None = field("What goes through it.")
    required: bool | None = field("Whether it must be connected.")
    properties: JSON | None = field("Further properties.")
    supported_channel_types: list[str] | None = field("What it can be connected to, such as oss.")


@strawberry.type(description="How a metric is read from a training log.")
class MetricDefinition:
    name: str | None = field("Name of the metric.")
    regex: str | None = field("Regular expression with the value as its group.")
    description: str | None = field("What it measures.")


@strawberry.type(description="How one kind of progress is read from a training log.")
class ProgressDefinition:
    description: str | None = field("What it tells.")
    regex: str | None = field("Regular expression of the value.")


@strawberry.type(description="How progress is read from a training log.")
class ProgressDefinitions:
    overall_progress: ProgressDefinition | None = field("How far the training is.")
    remaining_time: ProgressDefinition | None = field("How long it will take.")


@strawberry.type(description="How instances are shared out over the roles of a distributed training.")
class ResourcePolicy:
    version: str | None = field("Version of the policy's format.")
    value: str | None = field("The policy as the registry holds it: JSON text.")
    rules: JSON | None = field("The policy decoded: a list of rules; null when it cannot be decoded.")


@strawberry.type(description="What a training runs on.")
class ComputeResource:
    policy: ResourcePolicy | None = field("How instances are shared out over roles.")


@strawberry.type(description="A requirement on the machines of a training.")
class ResourceRequirement:
    key: str | None = field("What is required, such as SupportedMachineTypes.")
    operator: str | None = field("How the values count, such as in.")
    values: list[str] | None = field("The values.")


@strawberry.type(description="Where a training's code is.")
class CodeDir:
    location_type: str | None = field("The kind of place, such as OSS or NAS.")
    location: JSON | None = field("The place; for OSS its bucket, key and endpoint.")


@strawberry.type(description="How an algorithm is run: image, command, parameters, channels, resources.")
class AlgorithmSpec:
    image: str | None = field("Container image.")
    command: list[str] | None = field("Start command.")
    job_type: str | None = field("The kind of job, such as PyTorchJob or TFJob.")
    hyper_parameters: list[HyperParameter] | None = field("Its hyperparameters.")
    input_channels: list[Channel] | None = field("Its inputs.")
    output_channels: list[Channel] | None = field("Its outputs.")
    metric_definitions: list[MetricDefinition] | None = field("The metrics that its log tells.")
    progress_definitions: ProgressDefinitions | None = field("The progress that its log tells.")
    compute_resource: ComputeResource | None = field("What it runs on.")
    resource_requirements: list[ResourceRequirement] | None = field("What its machines must be.")
    supported_instance_types: list[str] | None = field("Machine types that it can run on.")
    supports_distributed_training: bool | None = field("Whether it can run on several machines.")
    code_dir: CodeDir | None = field("Where its code is.")
    customization: JSON | None = field("What a caller may replace.")


@strawberry.type(description="Why a registry could not do its part.")
class RegistryFailure:
    code: str = field("Stable code, as in the extensions of an error.")
    message: str = field("The failure in words.")
    retryable: bool = field("Whether the same request may succeed later.")
    retry_after: float | None = field("Seconds after which to try again, where the registry said so.")
    request_id: str | None = field("The vendor's id of the failed request, for its support.")


@strawberry.type(description="How a registry has been answering this gateway process.")
class RegistryStatus:
    state: RegistryState = field("Whether its last call succeeded.")
    circuit: CircuitState = field("Whether calls to it go through now.")
    latency: float | None = field("Seconds that its last successful call took.")
    last_success: DateTime | None = field("When it last answered.")
    error: RegistryFailure | None = field("Why its last call failed; null when it succeeded.")


@strawberry.type(description="A configured registry: one account and region of a cloud product.", directives=[NOW])
class Registry:
    name: str = field("Its configured name, the first part of every id.")
    kind: RegistryKind = field("The product.")
    region: str | None = field("The region; null for products that have one address for all.")
    status: RegistryStatus = volatile_field("How it has been answering. Asking this makes no upstream call.")
    capabilities: list[Capability] = field("What it lists.")


@strawberry.type(description="How much of one registry a list stands on, and how old that is.")
class Coverage:
    registry: Registry = field("The registry.")
    state: CoverageState = field("How much of it the list stands on.")
    total_count: int | None = field("How many objects it has for this list; null when it does not count.")
    rows_read: int = field("How many of its rows were read to make this page.")
    age: float | None = volatile_field("Seconds since the oldest answer used was received; null when nothing was.")
    error: RegistryFailure | None = field("What failed.")


@strawberry.federation.type(description="Where a page stands in its list.", shareable=True)
class PageInfo:
    has_next_page: bool = field("Whether rows follow.")
    has_previous_page: bool = field("Whether this page was reached with a cursor.")
    start_cursor: str | None = field("Cursor of the first row.")
    end_cursor: str | None = field("Cursor of the last row: `after` for the next page.")
