"""The published schema: the query root type, and the executable schema with its SDL."""

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any

import strawberry
from graphql import GraphQLError
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from gateway.catalog.lists import DEFAULT_SIZE
from gateway.execution.error_codes import assign_error_code
from gateway.execution.field_metadata import read_record
from gateway.execution.operation_plan import resolve_root_field
from gateway.schema import field_sources
from gateway.schema.directives import CALL, FEDERATION, PAGE, with_definitions
from gateway.schema.inputs import AlgorithmFilter, ModelFilter, ModelOrder
from gateway.schema.scalars import FEDERATION_SCALARS, SCALARS, FederationAny
from gateway.schema.subscription import Subscription
from gateway.schema.types import (
    AFTER,
    FIRST,
    ID,
    Algorithm,
    AlgorithmConnection,
    AlgorithmVersion,
    Entity,
    Info,
    Model,
    ModelConnection,
    ModelVersion,
    Node,
    Service,
)
from gateway.schema.values import Registry

IDS = Annotated[list[strawberry.ID], strawberry.argument(description="At most 100 global ids.")]
REPRESENTATIONS = Annotated[
    list[FederationAny],
    strawberry.argument(description="At most 2,000 references by type and key. Each one succeeds or fails on its own."),
]

NULL = "Null if it does not exist, or with an error if its registry fails."


@strawberry.type(description="The root of all queries.")
class Query:
    @strawberry.field(description=f"The object with a global id. {NULL}", directives=[CALL])
    async def node(self, info: Info, id: ID) -> Node | None:
        return await resolve_root_field(info)

    @strawberry.field(
        description="The objects with several global ids, in the order of the ids. Null for ids without an object."
    )
    async def nodes(self, info: Info, ids: IDS) -> list[Node | None]:
        return await resolve_root_field(info)

    @strawberry.field(description=f"The model with a global id. {NULL}", directives=[CALL])
    async def model(self, info: Info, id: ID) -> Model | None:
        return await resolve_root_field(info)

    @strawberry.field(description=f"The model version with a global id. {NULL}", directives=[CALL])
    async def model_version(self, info: Info, id: ID) -> ModelVersion | None:
        return await resolve_root_field(info)

    @strawberry.field(description=f"The algorithm with a global id. {NULL}", directives=[CALL])
    async def algorithm(self, info: Info, id: ID) -> Algorithm | None:
        return await resolve_root_field(info)

    @strawberry.field(description=f"The algorithm version with a global id. {NULL}", directives=[CALL])
    async def algorithm_version(self, info: Info, id: ID) -> AlgorithmVersion | None:
        return await resolve_root_field(info)

    @strawberry.field(
        description="The models of all registries, merged into one list. Newest first by default.",
        directives=[CALL, PAGE],
    )
    async def models(
        self,
        info: Info,
        first: FIRST = DEFAULT_SIZE,
        after: AFTER = None,
        filter: Annotated[
            ModelFilter | None, strawberry.argument(description="Return only the models that match.")
        ] = None,
        order_by: Annotated[ModelOrder | None, strawberry.argument(description="How to sort the models.")] = None,
    ) -> ModelConnection | None:
        return await resolve_root_field(info)

    @strawberry.field(
        description="The algorithms of all registries, merged into one list. Newest first, those without a creation "
        "time last.",
        directives=[CALL, PAGE],
    )
    async def algorithms(
        self,
        info: Info,
        first: FIRST = DEFAULT_SIZE,
        after: AFTER = None,
        filter: Annotated[
            AlgorithmFilter | None, strawberry.argument(description="Return only the algorithms that match.")
        ] = None,
    ) -> AlgorithmConnection | None:
        return await resolve_root_field(info)

    @strawberry.field(description="The configured registries. Needs no upstream call.")
    async def registries(self, info: Info) -> list[Registry]:
        return await resolve_root_field(info)

    @strawberry.field(name="_service", description="This graph as a subgraph of a supergraph. Needs no upstream call.")
    def service(self) -> Service:
        record: Any = {"sdl": print_sdl()}
        return record

    @strawberry.field(
        name="_entities",
        description="The objects that other subgraphs refer to, in the order of the references. Null for references "
        "without an object.",
    )
    async def entities(self, info: Info, representations: REPRESENTATIONS) -> list[Entity | None]:
        return await resolve_root_field(info)


class ParsedDocument(SchemaExtension):
    """Supplies the document that the pipeline has already parsed and validated."""

    def on_operation(self) -> Iterator[None]:
        self.execution_context.graphql_document = self.execution_context.context.document
        self.execution_context.pre_execution_errors = []
        yield


class Schema(strawberry.federation.Schema):
    """The schema. Every error in a result has a code and either a message for the caller or a masked one."""

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        for error in errors:
            assign_error_code(error)


field_sources.add_to_descriptions()

SCHEMA = Schema(
    Query,
    subscription=Subscription,
    types=[Model, ModelVersion, Algorithm, AlgorithmVersion],
    extensions=[ParsedDocument],
    config=StrawberryConfig(
        scalar_map=SCALARS, default_resolver=read_record, enable_experimental_incremental_execution=True
    ),
    scalar_overrides=FEDERATION_SCALARS,
    federation_version=FEDERATION,
)

GRAPHQL_SCHEMA = SCHEMA._schema
"""The schema as a graphql-core object."""

GRAPHQL_SCHEMA.description = (
    "Models, their versions, and training algorithms of several registries as one graph. Lists are merged over all "
    "registries, and `coverage` says how complete and how fresh the part of each of them is. An `id` names an object "
    "of any registry. A field that a registry does not have is null; a failure is an error."
)


@cache
def print_sdl() -> str:
    """Return the schema in SDL, complete for composers and for tools without support for Federation."""
    return with_definitions(SCHEMA.as_str(), GRAPHQL_SCHEMA)
