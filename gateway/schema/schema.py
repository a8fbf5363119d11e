"""The published schema: the queries as they are declared."""

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any

import strawberry
from graphql import GraphQLError
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from gateway.catalog.list_readers import DEFAULT_SIZE
from gateway.execution.error_codes import assign_error_code
from gateway.execution.root_fields import answer
from gateway.schema import field_sources as suppliers
from gateway.schema.directives import CALL, FEDERATION, PAGE, defined
from gateway.schema.fields import read
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

IDS = Annotated[list[strawberry.ID], strawberry.argument(description="Global ids, at most 100.")]
REPRESENTATIONS = Annotated[
    list[FederationAny],
    strawberry.argument(description="References by type and key, at most 2000; each fails or succeeds alone."),
]


@strawberry.type(description="Everything that can be asked.")
class Query:
    @strawberry.field(description="The object of a global id; null when there is none.", directives=[CALL])
    async def node(self, info: Info, id: ID) -> Node | None:
        return await answer(info)

    @strawberry.field(description="The objects of several global ids, in their order; null where there is none.")
    async def nodes(self, info: Info, ids: IDS) -> list[Node | None]:
        return await answer(info)

    @strawberry.field(description="The model of a global id; null when there is none.", directives=[CALL])
    async def model(self, info: Info, id: ID) -> Model | None:
        return await answer(info)

    @strawberry.field(description="The model version of a global id; null when there is none.", directives=[CALL])
    async def model_version(self, info: Info, id: ID) -> ModelVersion | None:
        return await answer(info)

    @strawberry.field(description="The algorithm of a global id; null when there is none.", directives=[CALL])
    async def algorithm(self, info: Info, id: ID) -> Algorithm | None:
        return await answer(info)

    @strawberry.field(description="The algorithm version of a global id; null when there is none.", directives=[CALL])
    async def algorithm_version(self, info: Info, id: ID) -> AlgorithmVersion | None:
        return await answer(info)

    @strawberry.field(
        description="The models of all registries as one list; newest first, if no other order is asked for.",
        directives=[CALL, PAGE],
    )
    async def models(
        self,
        info: Info,
        first: FIRST = DEFAULT_SIZE,
        after: AFTER = None,
        filter: Annotated[ModelFilter | None, strawberry.argument(description="Which models.")] = None,
        order_by: Annotated[ModelOrder | None, strawberry.argument(description="In what order.")] = None,
    ) -> ModelConnection | None:
        return await answer(info)

    @strawberry.field(
        description="The algorithms of all registries as one list, newest first; those without a creation time last.",
        directives=[CALL, PAGE],
    )
    async def algorithms(
        self,
        info: Info,
        first: FIRST = DEFAULT_SIZE,
        after: AFTER = None,
        filter: Annotated[AlgorithmFilter | None, strawberry.argument(description="Which algorithms.")] = None,
    ) -> AlgorithmConnection | None:
        return await answer(info)

    @strawberry.field(description="The configured registries. Asking them makes no upstream call.")
    async def registries(self, info: Info) -> list[Registry]:
        return await answer(info)

    @strawberry.field(name="_service", description="This graph as a part of a supergraph. Asking it makes no call.")
    def service(self) -> Service:
        said: Any = {"sdl": printed()}
        return said

    @strawberry.field(
        name="_entities",
        description="The objects that other subgraphs refer to, in their order; null where there is none.",
    )
    async def entities(self, info: Info, representations: REPRESENTATIONS) -> list[Entity | None]:
        return await answer(info)


class Prepared(SchemaExtension):
    """Hands Strawberry the document that the pipeline has parsed and validated."""

    def on_operation(self) -> Iterator[None]:
        self.execution_context.graphql_document = self.execution_context.context.document
        self.execution_context.pre_execution_errors = []
        yield


class Schema(strawberry.federation.Schema):
    """The schema, with every error either meant for the caller or masked."""

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        for error in errors:
            assign_error_code(error)


suppliers.describe()

SCHEMA = Schema(
    Query,
    subscription=Subscription,
    types=[Model, ModelVersion, Algorithm, AlgorithmVersion],
    extensions=[Prepared],
    config=StrawberryConfig(scalar_map=SCALARS, default_resolver=read, enable_experimental_incremental_execution=True),
    scalar_overrides=FEDERATION_SCALARS,
    federation_version=FEDERATION,
)

CORE = SCHEMA._schema
"""The schema as graphql-core knows it."""


@cache
def printed() -> str:
    """The schema in SDL, for composers of supergraphs as well as for tools that know nothing of Federation."""
    return defined(SCHEMA.as_str(), CORE)
