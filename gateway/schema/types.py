"""The entities of the schema and their connections.

The classes only declare the schema. At run time, a value is a record, from which fields are read by name. Reading a
field that was not fetched raises KeyError, so that a missing value never appears as null.
"""

from typing import Annotated, Any, ClassVar

import strawberry

from gateway.catalog.lists import DEFAULT_SIZE
from gateway.execution.entity_references import ENTITY_KEYS
from gateway.execution.projection import is_of_named_type
from gateway.schema.directives import CALL, LIST, OBJECT, PAGE, VENDOR
from gateway.schema.enums import (
    AlgorithmFacetField,
    Approval,
    ModelFacetField,
    ModelFormat,
    ModelFramework,
    ModelStage,
    Ownership,
    Readiness,
    Visibility,
)
from gateway.schema.fields import field, field_with_arguments, resolve_from_record, rows_field, volatile_field
from gateway.schema.inputs import ModelVersionFilter
from gateway.schema.scalars import JSON, DateTime, Long
from gateway.schema.values import (
    AlgorithmFacet,
    AlgorithmSpec,
    Coverage,
    Evaluation,
    Facet,
    Label,
    Owner,
    PageInfo,
    Parameter,
    Registry,
    Total,
    VersionSource,
)

Info = strawberry.Info[Any, Any]

# Descriptions that several types share

GLOBAL_ID = "The global id: the name of the registry, the type, and the native ids. Unique in this graph."
REGISTRY = "The registry that contains the object."
REGISTRY_NAME = "The configured name of the registry that contains the object."
CREATED_AT = "The time at which the object was created."
UPDATED_AT = "The time at which the object was last changed."
RAW = (
    "The object exactly as the registry sent it, from the call that this query needed. "
    "A list may send fewer properties than a call for a single object. Requires the role `raw`. "
    "Values that JSON cannot carry are replaced by text; the member `$replaced` then lists the members that have them."
)
RAW_ENTRY = f"{RAW} Qianfan has no such object: the gateway combines the parts of the catalog that belong to one entry."
EXTRA = "Properties that the registry sent and that no other field represents, under the registry's own names."
BOM = (
    "The bill of materials of the version (ML-BOM), as a document of CycloneDX 1.6. Its properties `gateway:notSaid` "
    "list what the registry does not say. An error if one of its calls fails. Needs upstream calls for each version."
)
LATEST_VERSION = "The newest version. Null if there are no versions. May need an upstream call for each object."
VERSION = "The version with this name. Null if there is none. May need an upstream call for each object."
VERSION_OR_ALIAS = (
    "The version with this name, or the one that this alias points to; exactly one of them is needed. Null if there is "
    "none. May need an upstream call for each object."
)
VERSIONS = (
    "The versions, newest first. If the registry does not list creation times, the versions are sorted by id. "
    "May need an upstream call for each object."
)
NODE = "The object."
CURSOR = "The cursor of this edge. Pass it as `after` to continue behind the object."
EDGES = "The objects of this page with their cursors."
NODES = "The objects of this page."
PAGE_INFO = "Whether further pages exist, and the cursors to reach them."
TOTAL_COUNT = (
    "The number of objects on all pages. Null unless every registry counts them exactly, or the gateway can read them "
    "all within its limits. The same for every page size."
)
TOTAL = (
    "The number of objects on all pages, exactly or at least. Null after a cursor if the registries do not count the "
    "objects."
)
FACETS = (
    "The values of fields with their counts, over the filter without its conditions on the field itself. Reads the "
    "lists of the registries up to a limit, and makes no call for a row."
)
FIRST_VALUES = Annotated[
    int | None, strawberry.argument(description="The number of values to return for each field. Null for all of them.")
]
COVERAGE = "How complete and how fresh the list is, for each registry."

ID = Annotated[strawberry.ID, strawberry.argument(description="A global id from this graph.")]
FIRST = Annotated[int, strawberry.argument(description="The number of objects to return, from 1 to 100.")]
AFTER = Annotated[
    str | None,
    strawberry.argument(
        description="The cursor to continue after, such as the `endCursor` of the previous page. "
        "Valid only with the same filter and order. Empty text is the first page."
    ),
]
NAME = Annotated[str, strawberry.argument(description="The exact name of the version.")]
OPTIONAL_NAME = Annotated[str | None, strawberry.argument(description="The exact name of the version.")]
ALIAS = Annotated[
    str | None, strawberry.argument(description="The exact alias, such as `champion`. See `Model.aliases`.")
]


@strawberry.interface(description="An object with a global id.")
class Node:
    id: strawberry.ID = field(GLOBAL_ID)

    is_type_of: ClassVar[Any] = classmethod(is_of_named_type)


@strawberry.federation.type(
    description="A trained model under one name, with its versions.", keys=ENTITY_KEYS["Model"], directives=[OBJECT]
)
class Model(Node):
    registry: Registry = field(REGISTRY)
    registry_name: str = field(REGISTRY_NAME)
    native_id: strawberry.ID = field("The id of the model in its registry.")
    name: str | None = field("The name of the model.")
    description: str | None = field("A description of the model.")
    documentation_url: str | None = field("The URL of the model's documentation.")
    ownership: Ownership | None = field("Whether the model belongs to your account or to the cloud platform.")
    provider: str | None = field("The provider of a platform model, such as `pai` or `huggingface`.")
    origin: str | None = field("The community that first published the model, such as `ModelScope` or `HuggingFace`.")
    type: str | None = field(
        "The type of the model, in the registry's own words: for example `Checkpoint` or `LoRA` in PAI, "
        "`Text2Text` or `Text2Image` in Qianfan."
    )
    domain: str | None = field("The domain of the model, such as `nlp` or `cv`.")
    task: str | None = field("The task of the model, such as `text-classification`.")
    visibility: Visibility | None = field("Who can see the model.")
    labels: list[Label] | None = field("The labels or tags of the model.")
    aliases: "list[ModelAlias] | None" = field("The aliases of the model, each of which points to one version.")
    owner: Owner | None = field("The owner of the model.")
    workspace_id: strawberry.ID | None = field("The id of the workspace that the model belongs to.")
    parameter_count: Long | None = field("The number of parameters of the model.")
    created_at: DateTime | None = field(
        f"{CREATED_AT} In lists of Qianfan platform models, needs an upstream call for each object."
    )
    updated_at: DateTime | None = field(UPDATED_AT)
    latest_version: "ModelVersion | None" = field(LATEST_VERSION, CALL)
    extra: JSON | None = field(EXTRA, VENDOR)
    raw: JSON | None = field(RAW, VENDOR)

    @field_with_arguments(VERSION_OR_ALIAS, CALL)
    def version(self, info: Info, name: OPTIONAL_NAME = None, alias: ALIAS = None) -> "ModelVersion | None":
        return resolve_from_record(self, info)

    @field_with_arguments(VERSIONS, CALL, PAGE)
    def versions(
        self,
        info: Info,
        first: FIRST = DEFAULT_SIZE,
        after: AFTER = None,
        filter: Annotated[
            ModelVersionFilter | None, strawberry.argument(description="Return only the versions that match.")
        ] = None,
    ) -> "ModelVersionConnection | None":
        return resolve_from_record(self, info)


@strawberry.type(description="A name for one version of a model. It can be moved to another version.")
class ModelAlias:
    name: str | None = field("The alias, such as `champion`.")
    version: "ModelVersion | None" = field(
        "The version that the alias points to. Needs an upstream call for most of its fields.", CALL
    )


@strawberry.type(description="The use of an algorithm to train a model version.")
class Training:
    method: str | None = field("The training method. Null if the version has a single one.")
    name: str | None = field("The name of the algorithm, as stored with the version.")
    provider: str | None = field("The provider of the algorithm, such as `pai`.")
    version: str | None = field("The version of the algorithm, as stored with the model version.")
    spec: AlgorithmSpec | None = field(
        "The specification of the algorithm. Null unless it is stored with the model version."
    )
    algorithm: "Algorithm | None" = field(
        "The algorithm in its registry. Null if the registry does not have it. Needs an upstream call to find it.", CALL
    )
    algorithm_version: "AlgorithmVersion | None" = field(
        "The version of the algorithm in its registry. Null if the registry does not have it. "
        "Needs an upstream call to find it.",
        CALL,
    )


@strawberry.federation.type(
    description="One version of a model, with the location and the properties of its files.",
    keys=ENTITY_KEYS["ModelVersion"],
    directives=[OBJECT],
)
class ModelVersion(Node):
    registry: Registry = field(REGISTRY)
    registry_name: str = field(REGISTRY_NAME)
    native_id: strawberry.ID = field(
        "The id of the version in its registry. In registries that identify versions by name, the name."
    )
    name: str | None = field("The name of the version, such as `0.1.0`.")
    model: Model | None = field("The model that the version belongs to.")
    description: str | None = field("A description of the version.")
    uri: str | None = field("The location of the files, such as an `oss://`, `s3://` or `https://` address.")
    format: ModelFormat | None = field("The format of the files.")
    format_name: str | None = field("The registry's own name for the format.")
    framework: ModelFramework | None = field("The framework of the version.")
    framework_name: str | None = field("The registry's own name for the framework.")
    readiness: Readiness | None = field("Whether the version is ready for use.")
    status_message: str | None = field("The registry's explanation of `readiness`, such as why the version failed.")
    aliases: list[str] | None = field("The aliases of the model that point to this version, sorted by name.")
    stage: ModelStage | None = field("The stage in the life cycle. Null if the version is in none.")
    stage_name: str | None = field("The registry's own name for the stage.")
    approval: Approval | None = field("The result of the review of the version.")
    source: VersionSource | None = field("How and where the version was created.")
    trained_with: list[Training] | None = field("The algorithms that the version was trained with.")
    base_model: str | None = field("The name of the model that the version was trained from.")
    io_mode: str | None = field("The mode of interaction: chat or completion.")
    io_length: str | None = field("The limits of input and output in thousands of tokens, such as `7K+1K`.")
    input_schema: JSON | None = field("The JSON schema of the input. Needs an upstream call for each version.", CALL)
    output_schema: JSON | None = field("The JSON schema of the output. Needs an upstream call for each version.", CALL)
    license: str | None = field("The license of the version.")
    license_id: str | None = field(
        "The license as an SPDX license expression, such as `Apache-2.0`. Null if `license` is not one."
    )
    copyright: str | None = field("The copyright notice of the version.")
    deploy_targets: list[str] | None = field("The resource pools to deploy to, such as `Public` or `Private`.")
    supported_operations: list[str] | None = field("The supported operations, such as `Deploy` or `Evaluation`.")
    parameters: list[Parameter] | None = field(
        "The parameters of the run that produced the version. May need an upstream call for each version.", CALL
    )
    metrics: JSON | None = field(
        "The metrics in the registry's own format. May need an upstream call for each version.", CALL
    )
    evaluations: list[Evaluation] | None = field(
        "The metrics by dataset, in the same form for all registries. A flat object of metrics is one evaluation "
        "without a dataset. May need an upstream call for each version.",
        CALL,
    )
    options: JSON | None = field("Further options, in the registry's own format.")
    training_spec: JSON | None = field("How the version was trained and can be trained further.")
    inference_spec: JSON | None = field("The configuration to serve the version.")
    evaluation_spec: JSON | None = field("The configuration to evaluate the version.")
    compression_spec: JSON | None = field("The configuration to compress the version.")
    distillation_spec: JSON | None = field("The configuration to distill the version.")
    properties: JSON | None = field("Further properties, in the registry's own format.")
    labels: list[Label] | None = field("The labels of the version.")
    owner: Owner | None = field("The owner of the version.")
    created_at: DateTime | None = field(CREATED_AT)
    updated_at: DateTime | None = field(UPDATED_AT)
    bom: JSON | None = volatile_field(BOM, CALL)
    extra: JSON | None = field(EXTRA, VENDOR)
    raw: JSON | None = field(RAW, VENDOR)


@strawberry.federation.type(
    description="A training algorithm, with its versions.", keys=ENTITY_KEYS["Algorithm"], directives=[OBJECT]
)
class Algorithm(Node):
    registry: Registry = field(REGISTRY)
    registry_name: str = field(REGISTRY_NAME)
    native_id: strawberry.ID = field("The id of the algorithm in its registry.")
    name: str | None = field(
        "The name of the algorithm. In Qianfan, the base model, training mode and parameter scale, joined by `/`."
    )
    display_name: str | None = field("The name to display to users.")
    method: str | None = field("The training method, such as `SFT` or `DPO`.")
    scale: str | None = field("Which parameters are trained, such as `FullFineTuning` or `LoRA`.")
    description: str | None = field("A description of the algorithm.")
    provider: str | None = field("The provider of the algorithm, such as `pai`. Null for algorithms of your account.")
    workspace_id: strawberry.ID | None = field("The id of the workspace that the algorithm belongs to.")
    owner: Owner | None = field("The owner of the algorithm.")
    created_at: DateTime | None = field(CREATED_AT)
    updated_at: DateTime | None = field(UPDATED_AT)
    latest_version: "AlgorithmVersion | None" = field(LATEST_VERSION, CALL)
    raw: JSON | None = field(RAW_ENTRY, VENDOR)

    @field_with_arguments(VERSION, CALL)
    def version(self, info: Info, name: NAME) -> "AlgorithmVersion | None":
        return resolve_from_record(self, info)

    @field_with_arguments(VERSIONS, CALL, PAGE)
    def versions(
        self, info: Info, first: FIRST = DEFAULT_SIZE, after: AFTER = None
    ) -> "AlgorithmVersionConnection | None":
        return resolve_from_record(self, info)


@strawberry.federation.type(
    description="One version of an algorithm.", keys=ENTITY_KEYS["AlgorithmVersion"], directives=[OBJECT]
)
class AlgorithmVersion(Node):
    registry: Registry = field(REGISTRY)
    registry_name: str = field(REGISTRY_NAME)
    native_id: strawberry.ID = field("The id of the version in its registry.")
    name: str | None = field("The name of the version, such as `v0.0.1`.")
    algorithm: Algorithm | None = field("The algorithm that the version belongs to.")
    spec: AlgorithmSpec | None = field("How the algorithm runs. In PAI, needs an upstream call for each version.", CALL)
    owner: Owner | None = field("The owner of the version.")
    created_at: DateTime | None = field(CREATED_AT)
    updated_at: DateTime | None = field(UPDATED_AT)
    raw: JSON | None = field(RAW_ENTRY, VENDOR)


@strawberry.type(description="A model in a list, with its cursor.")
class ModelEdge:
    node: Model = field(NODE)
    cursor: str = field(CURSOR)


@strawberry.type(description="A page of models.", directives=[LIST])
class ModelConnection:
    edges: list[ModelEdge] = rows_field(EDGES)
    nodes: list[Model] = rows_field(NODES)
    page_info: PageInfo = field(PAGE_INFO)
    total_count: int | None = field(TOTAL_COUNT)
    total: Total | None = field(TOTAL)
    coverage: list[Coverage] = field(COVERAGE)

    @field_with_arguments(FACETS, CALL)
    def facets(
        self,
        info: Info,
        fields: Annotated[list[ModelFacetField], strawberry.argument(description="The fields.")],
        first: FIRST_VALUES = None,
    ) -> list[Facet] | None:
        return resolve_from_record(self, info)


@strawberry.type(description="A model version in a list, with its cursor.")
class ModelVersionEdge:
    node: ModelVersion = field(NODE)
    cursor: str = field(CURSOR)


@strawberry.type(description="A page of model versions.", directives=[LIST])
class ModelVersionConnection:
    edges: list[ModelVersionEdge] = rows_field(EDGES)
    nodes: list[ModelVersion] = rows_field(NODES)
    page_info: PageInfo = field(PAGE_INFO)
    total_count: int | None = field(TOTAL_COUNT)
    total: Total | None = field(TOTAL)
    coverage: list[Coverage] = field(COVERAGE)


@strawberry.type(description="An algorithm in a list, with its cursor.")
class AlgorithmEdge:
    node: Algorithm = field(NODE)
    cursor: str = field(CURSOR)


@strawberry.type(description="A page of algorithms.", directives=[LIST])
class AlgorithmConnection:
    edges: list[AlgorithmEdge] = rows_field(EDGES)
    nodes: list[Algorithm] = rows_field(NODES)
    page_info: PageInfo = field(PAGE_INFO)
    total_count: int | None = field(TOTAL_COUNT)
    total: Total | None = field(TOTAL)
    coverage: list[Coverage] = field(COVERAGE)

    @field_with_arguments(FACETS, CALL)
    def facets(
        self,
        info: Info,
        fields: Annotated[list[AlgorithmFacetField], strawberry.argument(description="The fields.")],
        first: FIRST_VALUES = None,
    ) -> list[AlgorithmFacet] | None:
        return resolve_from_record(self, info)


@strawberry.type(description="An algorithm version in a list, with its cursor.")
class AlgorithmVersionEdge:
    node: AlgorithmVersion = field(NODE)
    cursor: str = field(CURSOR)


@strawberry.type(description="A page of algorithm versions.", directives=[LIST])
class AlgorithmVersionConnection:
    edges: list[AlgorithmVersionEdge] = rows_field(EDGES)
    nodes: list[AlgorithmVersion] = rows_field(NODES)
    page_info: PageInfo = field(PAGE_INFO)
    total_count: int | None = field(TOTAL_COUNT)
    total: Total | None = field(TOTAL)
    coverage: list[Coverage] = field(COVERAGE)


Entity = Annotated[
    Model | ModelVersion | Algorithm | AlgorithmVersion,
    strawberry.union("_Entity", description="The types that other subgraphs can refer to."),
]


@strawberry.type(name="_Service", description="This graph as a subgraph of a supergraph.")
class Service:
    sdl: str = field("The schema in SDL, with the directives of Apollo Federation.")
