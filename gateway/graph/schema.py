"""The published schema: the queries as they are declared, and how documents are refused."""

from collections.abc import Iterator
from operator import getitem
from typing import Annotated

import strawberry
from graphql import GraphQLError
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from gateway.catalog.readers import DEFAULT_SIZE
from gateway.graph import suppliers
from gateway.graph.faults import present
from gateway.graph.inputs import AlgorithmFilter, ModelFilter, ModelOrder
from gateway.graph.roots import MOST_IDS, answer
from gateway.graph.scalars import SCALARS
from gateway.graph.types import (
    AFTER,
    FIRST,
    Algorithm,
    AlgorithmConnection,
    AlgorithmVersion,
    Info,
    Model,
    ModelConnection,
    ModelVersion,
    Node,
)
from gateway.graph.values import Registry

ID = Annotated[strawberry.ID, strawberry.argument(description="A global id, as this graph gave it out.")]
IDS = Annotated[list[strawberry.ID], strawberry.argument(description=f"Global ids, at most {MOST_IDS}.")]


@strawberry.type(description="Everything that can be asked.")
class Query:
    @strawberry.field(description="The object of a global id; null when there is none.")
    async def node(self, info: Info, id: ID) -> Node | None:
        return await answer(info)

    @strawberry.field(description="The objects of several global ids, in their order; null where there is none.")
    async def nodes(self, info: Info, ids: IDS) -> list[Node | None]:
        return await answer(info)

    @strawberry.field(description="The model of a global id; null when there is none.")
    async def model(self, info: Info, id: ID) -> Model | None:
        return await answer(info)

    @strawberry.field(description="The model version of a global id; null when there is none.")
    async def model_version(self, info: Info, id: ID) -> ModelVersion | None:
        return await answer(info)

    @strawberry.field(description="The algorithm of a global id; null when there is none.")
    async def algorithm(self, info: Info, id: ID) -> Algorithm | None:
        return await answer(info)

    @strawberry.field(description="The algorithm version of a global id; null when there is none.")
    async def algorithm_version(self, info: Info, id: ID) -> AlgorithmVersion | None:
        return await answer(info)

    @strawberry.field(
        description="The models of all registries as one list; newest first, if no other order is asked for."
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
        description="The algorithms of all registries as one list, newest first; those without a creation time last."
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
    def registries(self, info: Info) -> list[Registry]:
        return answer(info)


class Prepared(SchemaExtension):
    """Gives the executor the document that was read before: it neither parses nor validates."""

    def on_operation(self) -> Iterator[None]:
        self.execution_context.graphql_document = self.execution_context.context.document.node
        self.execution_context.pre_execution_errors = []
        yield


class Schema(strawberry.Schema):
    """The schema, with every error either meant for the caller or masked."""

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        for error in errors:
            present(error)


suppliers.describe()

SCHEMA = Schema(
    Query,
    types=[Model, ModelVersion, Algorithm, AlgorithmVersion],
    extensions=[Prepared],
    config=StrawberryConfig(scalar_map=SCALARS, default_resolver=getitem),
)

CORE = SCHEMA._schema
"""The schema as graphql-core knows it."""


def printed() -> str:
    """The schema in SDL."""
    return SCHEMA.as_str()
