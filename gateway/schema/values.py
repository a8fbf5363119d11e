"""The value types of the schema: objects without an id of their own."""

import strawberry

from gateway.schema.directives import NOW, VENDOR
from gateway.schema.enums import (
    AlgorithmFacetField,
    Capability,
    CircuitState,
    CoverageState,
    ModelFacetField,
    RegistryKind,
    RegistryState,
    SourceType,
    TotalRelation,
)
from gateway.schema.fields import field, volatile_field
from gateway.schema.fields import field as described
from gateway.schema.scalars import JSON, DateTime, Long


@strawberry.type(description="A label: a key and, in some registries, a value.")
class Label:
    key: str | None = field("The key of the label. In registries that have tags instead of labels, the tag.")
    value: str | None = field("The value of the label. Null in registries that have tags instead of labels.")


@strawberry.type(description="The user or account that owns an object. All ids are the registry's own.")
class Owner:
    native_id: strawberry.ID | None = field("The id of the user.")
    name: str | None = field("The name of the user.")
    account_id: strawberry.ID | None = field("The id of the main account that the user belongs to.")
    tenant_id: strawberry.ID | None = field("The id of the tenant.")


@strawberry.type(description="How and where a model version was created. All ids are the registry's own.")
class VersionSource:
    type: SourceType | None = field("The type of the source.")
    type_name: str | None = field("The registry's own name for the type of the source.")
    native_id: strawberry.ID | None = field(
        "The id of the source. Free text for versions that a user registered manually."
    )
    region: str | None = field("The region of the source.")
    workspace_id: strawberry.ID | None = field("The id of the workspace of the source.")
    kind: str | None = field("The kind of object that `nativeId` identifies, such as `PipelineRun` or `ServiceJob`.")
    task_id: strawberry.ID | None = field("The id of the training task. Newer Qianfan ids call it a job.")
    task_name: str | None = field("The name of the training task.")
    run_id: strawberry.ID | None = field("The id of the run of the training task.")
    iteration: Long | None = field("The number of the iteration of the training task, from 1.")
    details: JSON | None = field("All properties of the source, in the registry's own format.", VENDOR)


@strawberry.type(description="A dataset that a model version was evaluated on.")
class Dataset:
    native_id: strawberry.ID | None = field("The id of the dataset. Null if it is not registered in the registry.")
    uri: str | None = field("The location of the data.")
    name: str | None = field("The name of the dataset.")
    digest: str | None = field("The checksum of the data, in the registry's own format.")


@strawberry.type(description="A parameter of the run that produced a model version.")
class Parameter:
    name: str | None = field("The name of the parameter, such as `learning_rate`.")
    value: str | None = field("The value, as text.")


@strawberry.type(description="A measured value.")
class Metric:
    name: str = field("The name of the metric, such as `cer`.")
    value: float | None = field(
        "The value. A number that the registry sent as text is a number. Null for other values."
    )
    text: str | None = field("The value as text if it is no finite number. Null for numbers.")


@strawberry.type(description="The metrics of a model version on one dataset.")
class Evaluation:
    dataset: Dataset | None = field("The dataset of the evaluation.")
    metrics: list[Metric] | None = field("The measured values.")


@strawberry.type(description="The values that a hyperparameter can have. Fields without a limit are null.")
class HyperParameterRange:
    enum: list[str] | None = field("The allowed values, as text.")
    minimum: str | None = field("The minimum, as text to preserve all digits.")
    maximum: str | None = field("The maximum, as text to preserve all digits.")
    exclusive_minimum: bool | None = field("Whether the minimum itself is not allowed.")
    exclusive_maximum: bool | None = field("Whether the maximum itself is not allowed.")
    min_length: Long | None = field("The minimum number of characters.")
    max_length: Long | None = field("The maximum number of characters.")
    pattern: str | None = field("The regular expression that the value must match.")
    multiple: bool | None = field("Whether you can choose several of the allowed values.")


@strawberry.type(description="A hyperparameter of a training algorithm.")
class HyperParameter:
    name: str | None = field("The name that the algorithm reads.")
    display_name: str | None = field("The name to display to users.")
    description: str | None = field("A description of the hyperparameter.")
    type: str | None = field("The type, in the registry's own words, such as `Int`, `Float` or `String`.")
    required: bool | None = field("Whether the hyperparameter must be set.")
    default_value: str | None = field("The default value, as text. Lists are JSON text.")
    range: HyperParameterRange | None = field("The allowed values.")


@strawberry.type(description="An input or output of a training algorithm.")
class Channel:
    name: str | None = field("The name of the channel.")
    description: str | None = field("A description of the data in the channel.")
    required: bool | None = field("Whether the channel must be connected.")
    properties: JSON | None = field("Further properties, in the registry's own format.")
    supported_channel_types: list[str] | None = field("The types of storage that can be connected, such as `oss`.")


@strawberry.type(description="How to extract a metric from a training log.")
class MetricDefinition:
    name: str | None = field("The name of the metric.")
    regex: str | None = field("The regular expression that finds the metric. Its group is the value.")
    description: str | None = field("A description of the metric.")


@strawberry.type(description="How to extract one measure of progress from a training log.")
class ProgressDefinition:
    description: str | None = field("A description of the measure.")
    regex: str | None = field("The regular expression that finds the measure.")


@strawberry.type(description="How to extract the progress of a training from its log.")
class ProgressDefinitions:
    overall_progress: ProgressDefinition | None = field("How to find the share of the training that is done.")
    remaining_time: ProgressDefinition | None = field("How to find the remaining time of the training.")


@strawberry.type(description="How to distribute instances over the roles of a distributed training.")
class ResourcePolicy:
    version: str | None = field("The version of the format of the policy.")
    value: str | None = field("The policy as the registry stores it, as JSON text.")
    rules: JSON | None = field("The rules of the policy, decoded from `value`. Null if `value` is not a list.")


@strawberry.type(description="The compute resources of a training.")
class ComputeResource:
    policy: ResourcePolicy | None = field("How to distribute instances over roles.")


@strawberry.type(description="A requirement on the machines of a training.")
class ResourceRequirement:
    key: str | None = field("The required property, such as `SupportedMachineTypes`.")
    operator: str | None = field("How to compare the property with the values, such as `in`.")
    values: list[str] | None = field("The values to compare with.")


@strawberry.type(description="The location of the code of a training.")
class CodeDir:
    location_type: str | None = field("The type of storage, such as `OSS` or `NAS`.")
    location: JSON | None = field("The location in the storage. For OSS: bucket, key and endpoint.")


@strawberry.type(description="How an algorithm runs: image, command, hyperparameters, channels and resources.")
class AlgorithmSpec:
    image: str | None = field("The container image.")
    command: list[str] | None = field("The start command.")
    job_type: str | None = field("The type of job, such as `PyTorchJob` or `TFJob`.")
    hyper_parameters: list[HyperParameter] | None = field("The hyperparameters.")
    input_channels: list[Channel] | None = field("The input channels.")
    output_channels: list[Channel] | None = field("The output channels.")
    metric_definitions: list[MetricDefinition] | None = field("How to extract metrics from the training log.")
    progress_definitions: ProgressDefinitions | None = field("How to extract the progress from the training log.")
    compute_resource: ComputeResource | None = field("The compute resources.")
    resource_requirements: list[ResourceRequirement] | None = field("The requirements on the machines.")
    supported_instance_types: list[str] | None = field("The supported types of machine.")
    supports_distributed_training: bool | None = field("Whether the algorithm can run on several machines.")
    code_dir: CodeDir | None = field("The location of the code.")
    customization: JSON | None = field("The parts of the specification that users can change.")


@strawberry.type(description="A failed call to a registry.")
class RegistryFailure:
    code: str = field("The error code, the same as in the `extensions` of an error. Stable across releases.")
    message: str = field("The message for people. May change at any time.")
    retryable: bool = field("Whether the same request can succeed later.")
    retry_after: float | None = field(
        "The number of seconds to wait before the next request. Null if the registry did not supply it."
    )
    request_id: str | None = field("The registry's own id of the failed request. Quote it to the vendor's support.")


@strawberry.type(description="The health of a registry, as seen by this gateway process.")
class RegistryStatus:
    state: RegistryState = field("Whether the last call succeeded.")
    circuit: CircuitState = field("The state of the circuit breaker.")
    latency: float | None = field("The duration of the last successful call, in seconds. Null before the first one.")
    last_success: DateTime | None = field("The time of the last successful call. Null before the first one.")
    error: RegistryFailure | None = field("Why the last call failed. Null if it did not fail.")


@strawberry.type(description="A configured registry: one account and region of a cloud product.", directives=[NOW])
class Registry:
    name: str = field("The configured name. Every global id of the registry's objects starts with it.")
    kind: RegistryKind = field("The product that the registry belongs to.")
    region: str | None = field("The region. Null for products without regional endpoints.")
    status: RegistryStatus = volatile_field("The health of the registry. Reading it needs no upstream call.")
    capabilities: list[Capability] = field("The types of object that the registry can list.")


@strawberry.type(description="The number of objects on all pages of a list. The same for every page size.")
class Total:
    count: int = field("The number of objects.")
    relation: TotalRelation = field("Whether there are exactly as many objects, or possibly more.")


@strawberry.type(description="A value of a field, with its number of objects.")
class FacetValue:
    value: str = field("The value, in the spelling that most objects have.")
    count: int = field("The number of objects with this value that match the other conditions of the filter.")


EXACT = (
    "Whether the counts are exact: every list that contributes was read to its end, its rows contain all values that "
    "the field and the filter need, and its registry does not list only one value of the field at a time."
)
FACET_VALUES = "The values, the most frequent ones first. Objects without a value are not counted."


@strawberry.type(
    description="The values of a field of models, counted over the filter without its conditions on the field."
)
class Facet:
    field: ModelFacetField = described("The field.")
    exact: bool = described(EXACT)
    values: list[FacetValue] = described(FACET_VALUES)


@strawberry.type(
    description="The values of a field of algorithms, counted over the filter without its conditions on the field."
)
class AlgorithmFacet:
    field: AlgorithmFacetField = described("The field.")
    exact: bool = described(EXACT)
    values: list[FacetValue] = described(FACET_VALUES)


@strawberry.type(description="How complete and how fresh a list is for one registry.")
class Coverage:
    registry: Registry = field("The registry.")
    state: CoverageState = field("How much of the registry the list covers.")
    total_count: int | None = field(
        "The number of objects in this registry that match. Null if the registry does not supply an exact count."
    )
    rows_read: int = field("The number of rows that the gateway read from this registry for this page.")
    age: float | None = volatile_field(
        "The age of the oldest response in use, in seconds. Null if the registry supplied no response."
    )
    error: RegistryFailure | None = field(
        "Why rows may be missing: the first failed call, or `LIST_INCOMPLETE`. Null if the list is complete."
    )


@strawberry.federation.type(description="The position of a page in its list.", shareable=True)
class PageInfo:
    has_next_page: bool = field("Whether the list continues after this page.")
    has_previous_page: bool = field("Whether this page was requested with `after`.")
    start_cursor: str | None = field("The cursor of the first object. Null if the page is empty.")
    end_cursor: str | None = field(
        "The cursor of the last object, or of the position where an empty page stopped. Pass it as `after` to get the "
        "next page. Null if the page is empty and none follows."
    )
