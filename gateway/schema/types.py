"""The graph's entities and their connections.

The classes only declare the schema: at run time a value is a record (`gateway.catalog.operation.Record`), from which
fields are read by name. Reading what was not fetched raises, so that no field can lie.
"""

from typing import Annotated, Any, ClassVar

import strawberry

from gateway.catalog.lists import DEFAULT_SIZE
from gateway.execution.entity_references import ENTITY_KEYS
from gateway.execution.projection import is_of_named_type
from gateway.schema.directives import CALL, LIST, OBJECT, PAGE, VENDOR
from gateway.schema.enums import Approval, ModelFormat, ModelFramework, Ownership, Readiness, Visibility
from gateway.schema.fields import field, field_with_arguments, resolve_from_record
from gateway.schema.inputs import ModelVersionFilter
from gateway.schema.scalars import JSON, DateTime, Long
from gateway.schema.values import AlgorithmSpec, Coverage, Evaluation, Label, Owner, PageInfo, Registry, VersionSource

Info = strawberry.Info[Any, Any]

RAW = "The object as the registry sent it, verbatim, in the call that this query needed; lists may hold less of it."
EXTRA = "What the registry says of it beyond the fields of this graph, under the registry's own names."
ENTRY = "Qianfan has no such object: it is put together from the parts of the catalogue that make one entry."
ID = Annotated[strawberry.ID, strawberry.argument(description="A global id, as this graph gave it out.")]
FIRST = Annotated[int, strawberry.argument(description="How many rows, 1 to 100.")]
AFTER = Annotated[str | None, strawberry.argument(description="The cursor after which to go on.")]
NAME = Annotated[str, strawberry.argument(description="Exactly this name.")]


@strawberry.interface(description="An object with an id that `node` finds again.")
class Node:
    id: strawberry.ID = field("Global id: the registry's name, the type, and the native keys.")

    is_type_of: ClassVar[Any] = classmethod(is_of_named_type)


@strawberry.federation.type(
    description="A family of trained models under one name, in versions.",
    keys=ENTITY_KEYS["Model"],
    directives=[OBJECT],
)
class Model(Node):
    registry: Registry = field("The registry that holds it.")
    registry_name: str = field("The configured name of that registry.")
    native_id: strawberry.ID = field("Its id in the registry.")
    name: str | None = field("Its name.")
    description: str | None = field("What it is.")
    documentation_url: str | None = field("Address of its documentation.")
    ownership: Ownership | None = field("Whether it is the account's own or the platform's.")
    provider: str | None = field("Who offers a platform model, such as pai or huggingface.")
    origin: str | None = field("Where it was first published, such as ModelScope or HuggingFace.")
    type: str | None = field("The kind of model: Checkpoint, LoRA, Endpoint; Text2Text, Text2Image and such.")
    domain: str | None = field("Its field, such as nlp or cv.")
    task: str | None = field("What it is for, such as text-classification.")
    visibility: Visibility | None = field("Who may see it.")
    labels: list[Label] | None = field("Its labels or tags.")
    owner: Owner | None = field("Who owns it.")
    workspace_id: strawberry.ID | None = field("The workspace that it is in.")
    parameter_count: Long | None = field("How many parameters it has.")
    created_at: DateTime | None = field("When it was created. Qianfan's list of platform models does not tell.")
    updated_at: DateTime | None = field("When it was last changed.")
    latest_version: "ModelVersion | None" = field("Its newest version; null when it has none.", CALL)
    extra: JSON | None = field(EXTRA, VENDOR)
    raw: JSON | None = field(RAW, VENDOR)

    @field_with_arguments("The version of this name; null when there is none.", CALL)
    def version(self, info: Info, name: NAME) -> "ModelVersion | None":
        return resolve_from_record(self, info)

    @field_with_arguments("Its versions, newest first; those whose list tells no time by id.", CALL, PAGE)
    def versions(
        self,
        info: Info,
        first: FIRST = DEFAULT_SIZE,
        after: AFTER = None,
        filter: Annotated[ModelVersionFilter | None, strawberry.argument(description="Which versions.")] = None,
    ) -> "ModelVersionConnection | None":
        return resolve_from_record(self, info)


@strawberry.type(description="An algorithm that a version was trained with.")
class Training:
    method: str | None = field("Name of the training method, where the version has several.")
    name: str | None = field("Name of the algorithm, as the version says it.")
    provider: str | None = field("Who provides the algorithm, such as pai.")
    version: str | None = field("Version of the algorithm, as the version says it.")
    spec: AlgorithmSpec | None = field("The algorithm itself, where the version holds it inline.")
    algorithm: "Algorithm | None" = field(
        "The algorithm in its registry; null when none of that name is there. Costs a call to find it.", CALL
    )
    algorithm_version: "AlgorithmVersion | None" = field("That version of the algorithm in its registry.", CALL)


@strawberry.federation.type(
    description="One version of a model: the files, and all that is known of them.",
    keys=ENTITY_KEYS["ModelVersion"],
    directives=[OBJECT],
)
class ModelVersion(Node):
    registry: Registry = field("The registry that holds it.")
    registry_name: str = field("The configured name of that registry.")
    native_id: strawberry.ID = field("Its id in the registry; its name where names are ids.")
    name: str | None = field("Its name, such as 0.1.0.")
    model: Model | None = field("The model that it is a version of.")
    description: str | None = field("What is special about it.")
    uri: str | None = field("Where its files are: an oss:// or http(s):// address.")
    format: ModelFormat | None = field("The format of its files.")
    format_name: str | None = field("The format in the registry's own word.")
    framework: ModelFramework | None = field("The framework that it was made with.")
    framework_name: str | None = field("The framework in the registry's own word.")
    readiness: Readiness | None = field("Whether its files can be used.")
    approval: Approval | None = field("Whether people approved it.")
    source: VersionSource | None = field("Where it came from.")
    trained_with: list[Training] | None = field("The algorithms that it was trained with.")
    base_model: str | None = field("The model that it was made from.")
    io_mode: str | None = field("How it is talked to: chat or completion.")
    io_length: str | None = field("How much it takes and gives, in thousands of tokens, such as 7K+1K.")
    input_schema: JSON | None = field("JSON schema of its input. Costs a call for each version.", CALL)
    output_schema: JSON | None = field("JSON schema of its output. Costs a call for each version.", CALL)
    license: str | None = field("Its license.")
    copyright: str | None = field("Its copyright notice.")
    deploy_targets: list[str] | None = field("Where it can be deployed, such as Public or Private.")
    supported_operations: list[str] | None = field("What can be done with it, such as Deploy or Evaluation.")
    metrics: JSON | None = field("Its metrics as the registry holds them.")
    evaluations: list[Evaluation] | None = field("Its metrics by dataset, where they have the usual shape.")
    options: JSON | None = field("Further options.")
    training_spec: JSON | None = field("How it was trained, and can be trained further.")
    inference_spec: JSON | None = field("How it is served.")
    evaluation_spec: JSON | None = field("How it is evaluated.")
    compression_spec: JSON | None = field("How it is compressed.")
    distillation_spec: JSON | None = field("How it is distilled.")
    properties: JSON | None = field("Further properties.")
    labels: list[Label] | None = field("Its labels.")
    owner: Owner | None = field("Who owns it.")
    created_at: DateTime | None = field("When it was created.")
    updated_at: DateTime | None = field("When it was last changed.")
    extra: JSON | None = field(EXTRA, VENDOR)
    raw: JSON | None = field(RAW, VENDOR)


@strawberry.federation.type(
    description="A training algorithm that models are made with.", keys=ENTITY_KEYS["Algorithm"], directives=[OBJECT]
)
class Algorithm(Node):
    registry: Registry = field("The registry that holds it.")
    registry_name: str = field("The configured name of that registry.")
    native_id: strawberry.ID = field("Its id in the registry.")
    name: str | None = field("Its name; for Qianfan base model, train mode and parameter scale.")
    display_name: str | None = field("Its name for people.")
    description: str | None = field("What it does.")
    provider: str | None = field("Who provides it, such as pai; null for the account's own.")
    workspace_id: strawberry.ID | None = field("The workspace that it is in.")
    owner: Owner | None = field("Who owns it.")
    created_at: DateTime | None = field("When it was created.")
    updated_at: DateTime | None = field("When it was last changed.")
    latest_version: "AlgorithmVersion | None" = field("Its newest version; null when it has none.", CALL)
    raw: JSON | None = field(f"{RAW} {ENTRY}", VENDOR)

    @field_with_arguments("The version of this name; null when there is none.", CALL)
    def version(self, info: Info, name: NAME) -> "AlgorithmVersion | None":
        return resolve_from_record(self, info)

    @field_with_arguments("Its versions, newest first; those whose list tells no time by id.", CALL, PAGE)
    def versions(
        self, info: Info, first: FIRST = DEFAULT_SIZE, after: AFTER = None
    ) -> "AlgorithmVersionConnection | None":
        return resolve_from_record(self, info)


@strawberry.federation.type(
    description="One version of an algorithm.", keys=ENTITY_KEYS["AlgorithmVersion"], directives=[OBJECT]
)
class AlgorithmVersion(Node):
    registry: Registry = field("The registry that holds it.")
    registry_name: str = field("The configured name of that registry.")
    native_id: strawberry.ID = field("Its id in the registry.")
    name: str | None = field("Its name, such as v0.0.1.")
    algorithm: Algorithm | None = field("The algorithm that it is a version of.")
    spec: AlgorithmSpec | None = field("How it is run. Costs a call for each version in PAI.", CALL)
    owner: Owner | None = field("Who owns it.")
    created_at: DateTime | None = field("When it was created.")
    updated_at: DateTime | None = field("When it was last changed.")
    raw: JSON | None = field(f"{RAW} {ENTRY}", VENDOR)


@strawberry.type(description="A row of a page of models.")
class ModelEdge:
    node: Model = field("The object.")
    cursor: str = field("Where the row stands in the list.")


@strawberry.type(description="A page of models, and how complete it is.", directives=[LIST])
class ModelConnection:
    edges: list[ModelEdge] = field("The rows with their cursors.")
    nodes: list[Model] = field("The rows.")
    page_info: PageInfo = field("Where the page stands.")
    total_count: int | None = field("How many rows all pages have; null unless every registry counts exactly.")
    coverage: list[Coverage] = field("How complete and how fresh each registry's share is.")


@strawberry.type(description="A row of a page of versions.")
class ModelVersionEdge:
    node: ModelVersion = field("The object.")
    cursor: str = field("Where the row stands in the list.")


@strawberry.type(description="A page of versions, and how complete it is.", directives=[LIST])
class ModelVersionConnection:
    edges: list[ModelVersionEdge] = field("The rows with their cursors.")
    nodes: list[ModelVersion] = field("The rows.")
    page_info: PageInfo = field("Where the page stands.")
    total_count: int | None = field("How many rows all pages have; null unless every registry counts exactly.")
    coverage: list[Coverage] = field("How complete and how fresh each registry's share is.")


@strawberry.type(description="A row of a page of algorithms.")
class AlgorithmEdge:
    node: Algorithm = field("The object.")
    cursor: str = field("Where the row stands in the list.")


@strawberry.type(description="A page of algorithms, and how complete it is.", directives=[LIST])
class AlgorithmConnection:
    edges: list[AlgorithmEdge] = field("The rows with their cursors.")
    nodes: list[Algorithm] = field("The rows.")
    page_info: PageInfo = field("Where the page stands.")
    total_count: int | None = field("How many rows all pages have; null unless every registry counts exactly.")
    coverage: list[Coverage] = field("How complete and how fresh each registry's share is.")


@strawberry.type(description="A row of a page of versions.")
class AlgorithmVersionEdge:
    node: AlgorithmVersion = field("The object.")
    cursor: str = field("Where the row stands in the list.")


@strawberry.type(description="A page of versions, and how complete it is.", directives=[LIST])
class AlgorithmVersionConnection:
    edges: list[AlgorithmVersionEdge] = field("The rows with their cursors.")
    nodes: list[AlgorithmVersion] = field("The rows.")
    page_info: PageInfo = field("Where the page stands.")
    total_count: int | None = field("How many rows all pages have; null unless every registry counts exactly.")
    coverage: list[Coverage] = field("How complete and how fresh each registry's share is.")


Entity = Annotated[
    Model | ModelVersion | Algorithm | AlgorithmVersion,
    strawberry.union("_Entity", description="Whatever other subgraphs can refer to."),
]


@strawberry.type(name="_Service", description="What composers of supergraphs want to know of this graph.")
class Service:
    sdl: str = field("The schema, with the directives of Federation.")
