"""The graph's entities and their connections.

The classes only declare the schema: at run time a value is a record (`gateway.catalog.operation.Record`), from which
fields are read by name. Reading what was not fetched raises, so that no field can lie.
"""

from typing import Annotated, Any

import strawberry

from gateway.catalog.readers import DEFAULT_SIZE
from gateway.graph.described import argued, described, held
from gateway.graph.directives import CALL, KEYS, LIST, OBJECT, PAGE, VENDOR
from gateway.graph.enums import Approval, ModelFormat, ModelFramework, Ownership, Readiness, Visibility
from gateway.graph.inputs import ModelVersionFilter
from gateway.graph.scalars import JSON, DateTime, Long
from gateway.graph.values import AlgorithmSpec, Coverage, Evaluation, Label, Owner, PageInfo, Registry, VersionSource

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
    id: strawberry.ID = described("Global id: the registry's name, the type, and the native keys.")

    @classmethod
    def is_type_of(cls, record: Any, info: Any) -> bool:
        """Whether a record is of this type."""
        return bool(record["__typename"] == cls.__name__)


@strawberry.federation.type(
    description="A family of trained models under one name, in versions.", keys=KEYS["Model"], directives=[OBJECT]
)
class Model(Node):
    registry: Registry = described("The registry that holds it.")
    registry_name: str = described("The configured name of that registry.")
    native_id: strawberry.ID = described("Its id in the registry.")
    name: str | None = described("Its name.")
    description: str | None = described("What it is.")
    documentation_url: str | None = described("Address of its documentation.")
    ownership: Ownership | None = described("Whether it is the account's own or the platform's.")
    provider: str | None = described("Who offers a platform model, such as pai or huggingface.")
    origin: str | None = described("Where it was first published, such as ModelScope or HuggingFace.")
    type: str | None = described("The kind of model: Checkpoint, LoRA, Endpoint; Text2Text, Text2Image and such.")
    domain: str | None = described("Its field, such as nlp or cv.")
    task: str | None = described("What it is for, such as text-classification.")
    visibility: Visibility | None = described("Who may see it.")
    labels: list[Label] | None = described("Its labels or tags.")
    owner: Owner | None = described("Who owns it.")
    workspace_id: strawberry.ID | None = described("The workspace that it is in.")
    parameter_count: Long | None = described("How many parameters it has.")
    created_at: DateTime | None = described("When it was created. Qianfan's list of platform models does not tell.")
    updated_at: DateTime | None = described("When it was last changed.")
    latest_version: "ModelVersion | None" = described("Its newest version; null when it has none.", CALL)
    extra: JSON | None = described(EXTRA, VENDOR)
    raw: JSON | None = described(RAW, VENDOR)

    @argued("The version of this name; null when there is none.", CALL)
    def version(self, info: Info, name: NAME) -> "ModelVersion | None":
        return held(self, info)

    @argued("Its versions, newest first; those whose list tells no time by id.", CALL, PAGE)
    def versions(
        self,
        info: Info,
        first: FIRST = DEFAULT_SIZE,
        after: AFTER = None,
        filter: Annotated[ModelVersionFilter | None, strawberry.argument(description="Which versions.")] = None,
    ) -> "ModelVersionConnection | None":
        return held(self, info)


@strawberry.type(description="An algorithm that a version was trained with.")
class Training:
    method: str | None = described("Name of the training method, where the version has several.")
    name: str | None = described("Name of the algorithm, as the version says it.")
    provider: str | None = described("Who provides the algorithm, such as pai.")
    version: str | None = described("Version of the algorithm, as the version says it.")
    spec: AlgorithmSpec | None = described("The algorithm itself, where the version holds it inline.")
    algorithm: "Algorithm | None" = described(
        "The algorithm in its registry; null when none of that name is there. Costs a call to find it.", CALL
    )
    algorithm_version: "AlgorithmVersion | None" = described("That version of the algorithm in its registry.", CALL)


@strawberry.federation.type(
    description="One version of a model: the files, and all that is known of them.",
    keys=KEYS["ModelVersion"],
    directives=[OBJECT],
)
class ModelVersion(Node):
    registry: Registry = described("The registry that holds it.")
    registry_name: str = described("The configured name of that registry.")
    native_id: strawberry.ID = described("Its id in the registry; its name where names are ids.")
    name: str | None = described("Its name, such as 0.1.0.")
    model: Model | None = described("The model that it is a version of.")
    description: str | None = described("What is special about it.")
    uri: str | None = described("Where its files are: an oss:// or http(s):// address.")
    format: ModelFormat | None = described("The format of its files.")
    format_name: str | None = described("The format in the registry's own word.")
    framework: ModelFramework | None = described("The framework that it was made with.")
    framework_name: str | None = described("The framework in the registry's own word.")
    readiness: Readiness | None = described("Whether its files can be used.")
    approval: Approval | None = described("Whether people approved it.")
    source: VersionSource | None = described("Where it came from.")
    trained_with: list[Training] | None = described("The algorithms that it was trained with.")
    base_model: str | None = described("The model that it was made from.")
    io_mode: str | None = described("How it is talked to: chat or completion.")
    io_length: str | None = described("How much it takes and gives, in thousands of tokens, such as 7K+1K.")
    input_schema: JSON | None = described("JSON schema of its input. Costs a call for each version.", CALL)
    output_schema: JSON | None = described("JSON schema of its output. Costs a call for each version.", CALL)
    license: str | None = described("Its license.")
    copyright: str | None = described("Its copyright notice.")
    deploy_targets: list[str] | None = described("Where it can be deployed, such as Public or Private.")
    supported_operations: list[str] | None = described("What can be done with it, such as Deploy or Evaluation.")
    metrics: JSON | None = described("Its metrics as the registry holds them.")
    evaluations: list[Evaluation] | None = described("Its metrics by dataset, where they have the usual shape.")
    options: JSON | None = described("Further options.")
    training_spec: JSON | None = described("How it was trained, and can be trained further.")
    inference_spec: JSON | None = described("How it is served.")
    evaluation_spec: JSON | None = described("How it is evaluated.")
    compression_spec: JSON | None = described("How it is compressed.")
    distillation_spec: JSON | None = described("How it is distilled.")
    properties: JSON | None = described("Further properties.")
    labels: list[Label] | None = described("Its labels.")
    owner: Owner | None = described("Who owns it.")
    created_at: DateTime | None = described("When it was created.")
    updated_at: DateTime | None = described("When it was last changed.")
    extra: JSON | None = described(EXTRA, VENDOR)
    raw: JSON | None = described(RAW, VENDOR)


@strawberry.federation.type(
    description="A training algorithm that models are made with.", keys=KEYS["Algorithm"], directives=[OBJECT]
)
class Algorithm(Node):
    registry: Registry = described("The registry that holds it.")
    registry_name: str = described("The configured name of that registry.")
    native_id: strawberry.ID = described("Its id in the registry.")
    name: str | None = described("Its name; for Qianfan base model, train mode and parameter scale.")
    display_name: str | None = described("Its name for people.")
    description: str | None = described("What it does.")
    provider: str | None = described("Who provides it, such as pai; null for the account's own.")
    workspace_id: strawberry.ID | None = described("The workspace that it is in.")
    owner: Owner | None = described("Who owns it.")
    created_at: DateTime | None = described("When it was created.")
    updated_at: DateTime | None = described("When it was last changed.")
    latest_version: "AlgorithmVersion | None" = described("Its newest version; null when it has none.", CALL)
    raw: JSON | None = described(f"{RAW} {ENTRY}", VENDOR)

    @argued("The version of this name; null when there is none.", CALL)
    def version(self, info: Info, name: NAME) -> "AlgorithmVersion | None":
        return held(self, info)

    @argued("Its versions, newest first; those whose list tells no time by id.", CALL, PAGE)
    def versions(
        self, info: Info, first: FIRST = DEFAULT_SIZE, after: AFTER = None
    ) -> "AlgorithmVersionConnection | None":
        return held(self, info)


@strawberry.federation.type(
    description="One version of an algorithm.", keys=KEYS["AlgorithmVersion"], directives=[OBJECT]
)
class AlgorithmVersion(Node):
    registry: Registry = described("The registry that holds it.")
    registry_name: str = described("The configured name of that registry.")
    native_id: strawberry.ID = described("Its id in the registry.")
    name: str | None = described("Its name, such as v0.0.1.")
    algorithm: Algorithm | None = described("The algorithm that it is a version of.")
    spec: AlgorithmSpec | None = described("How it is run. Costs a call for each version in PAI.", CALL)
    owner: Owner | None = described("Who owns it.")
    created_at: DateTime | None = described("When it was created.")
    updated_at: DateTime | None = described("When it was last changed.")
    raw: JSON | None = described(f"{RAW} {ENTRY}", VENDOR)


@strawberry.type(description="A row of a page of models.")
class ModelEdge:
    node: Model = described("The object.")
    cursor: str = described("Where the row stands in the list.")


@strawberry.type(description="A page of models, and how complete it is.", directives=[LIST])
class ModelConnection:
    edges: list[ModelEdge] = described("The rows with their cursors.")
    nodes: list[Model] = described("The rows.")
    page_info: PageInfo = described("Where the page stands.")
    total_count: int | None = described("How many rows all pages have; null unless every registry counts exactly.")
    coverage: list[Coverage] = described("How complete and how fresh each registry's share is.")


@strawberry.type(description="A row of a page of versions.")
class ModelVersionEdge:
    node: ModelVersion = described("The object.")
    cursor: str = described("Where the row stands in the list.")


@strawberry.type(description="A page of versions, and how complete it is.", directives=[LIST])
class ModelVersionConnection:
    edges: list[ModelVersionEdge] = described("The rows with their cursors.")
    nodes: list[ModelVersion] = described("The rows.")
    page_info: PageInfo = described("Where the page stands.")
    total_count: int | None = described("How many rows all pages have; null unless every registry counts exactly.")
    coverage: list[Coverage] = described("How complete and how fresh each registry's share is.")


@strawberry.type(description="A row of a page of algorithms.")
class AlgorithmEdge:
    node: Algorithm = described("The object.")
    cursor: str = described("Where the row stands in the list.")


@strawberry.type(description="A page of algorithms, and how complete it is.", directives=[LIST])
class AlgorithmConnection:
    edges: list[AlgorithmEdge] = described("The rows with their cursors.")
    nodes: list[Algorithm] = described("The rows.")
    page_info: PageInfo = described("Where the page stands.")
    total_count: int | None = described("How many rows all pages have; null unless every registry counts exactly.")
    coverage: list[Coverage] = described("How complete and how fresh each registry's share is.")


@strawberry.type(description="A row of a page of versions.")
class AlgorithmVersionEdge:
    node: AlgorithmVersion = described("The object.")
    cursor: str = described("Where the row stands in the list.")


@strawberry.type(description="A page of versions, and how complete it is.", directives=[LIST])
class AlgorithmVersionConnection:
    edges: list[AlgorithmVersionEdge] = described("The rows with their cursors.")
    nodes: list[AlgorithmVersion] = described("The rows.")
    page_info: PageInfo = described("Where the page stands.")
    total_count: int | None = described("How many rows all pages have; null unless every registry counts exactly.")
    coverage: list[Coverage] = described("How complete and how fresh each registry's share is.")


Entity = Annotated[
    Model | ModelVersion | Algorithm | AlgorithmVersion,
    strawberry.union("_Entity", description="Whatever other subgraphs can refer to."),
]


@strawberry.type(name="_Service", description="What composers of supergraphs want to know of this graph.")
class Service:
    sdl: str = described("The schema, with the directives of Federation.")
