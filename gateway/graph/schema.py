"""The published schema: the queries, and how each one asks the catalog."""

import asyncio
import logging
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any
from uuid import uuid4

import strawberry
from graphql import GraphQLError
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from gateway.catalog.connections import listing
from gateway.catalog.operation import Operation
from gateway.catalog.readers import DEFAULT_SIZE
from gateway.catalog.selection import Ask, Selection, under
from gateway.errors import BadInput, GatewayError
from gateway.graph import suppliers
from gateway.graph.described import read
from gateway.graph.directives import CALL, FEDERATION, KEYS, PAGE, defined
from gateway.graph.entities import MOST_REFERENCES, admitted, entities
from gateway.graph.inputs import AlgorithmFilter, ModelFilter, ModelOrder
from gateway.graph.scalars import FEDERATION_SCALARS, SCALARS, FederationAny
from gateway.graph.selected import asked, selection
from gateway.graph.subscription import Subscription
from gateway.graph.types import (
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
from gateway.graph.values import Registry

logger = logging.getLogger("gateway.graph")

MOST_IDS = 100

IDS = Annotated[list[strawberry.ID], strawberry.argument(description=f"Global ids, at most {MOST_IDS}.")]
REPRESENTATIONS = Annotated[
    list[FederationAny],
    strawberry.argument(
        description=f"References by type and key, at most {MOST_REFERENCES}; each fails or succeeds alone."
    ),
]


async def one(info: Info, text: str, entity: str | None = None) -> Any:
    """The object of a global id, null when there is none."""
    operation: Operation = info.context.operation
    ref = admitted(operation.registries, text, entity)
    return await operation.entity(ref, selection(info, ref.entity))


async def one_or_error(info: Info, text: str) -> Any:
    """As `one`, with the error as the value: in a list it takes the place of its own object only."""
    try:
        return await one(info, text)
    except GatewayError as error:
        return error


async def many(info: Info, entity: str) -> Any:
    """A merged page of all registries. A failure that the client cannot see in its coverage becomes an error."""
    wanted = selection(info)
    record, failures = await listing(info.context.operation, entity, asked(info), wanted)
    if not shows_state(wanted):
        info.context.failures += [(info.path, failure) for failure in failures]
    return record


def shows_state(wanted: Selection) -> bool:
    """Whether the client sees which registries a connection stands on."""
    return not wanted or Ask("state") in under(wanted, "coverage")


@strawberry.type(description="Everything that can be asked.")
class Query:
    @strawberry.field(description="The object of a global id; null when there is none.", directives=[CALL])
    async def node(self, info: Info, id: ID) -> Node | None:
        return await one(info, id)

    @strawberry.field(description="The objects of several global ids, in their order; null where there is none.")
    async def nodes(self, info: Info, ids: IDS) -> list[Node | None]:
        if len(ids) > MOST_IDS:
            raise BadInput(f"`ids` may hold at most {MOST_IDS} ids, not {len(ids)}.")
        return await asyncio.gather(*(one_or_error(info, id) for id in ids))

    @strawberry.field(description="The model of a global id; null when there is none.", directives=[CALL])
    async def model(self, info: Info, id: ID) -> Model | None:
        return await one(info, id, "Model")

    @strawberry.field(description="The model version of a global id; null when there is none.", directives=[CALL])
    async def model_version(self, info: Info, id: ID) -> ModelVersion | None:
        return await one(info, id, "ModelVersion")

    @strawberry.field(description="The algorithm of a global id; null when there is none.", directives=[CALL])
    async def algorithm(self, info: Info, id: ID) -> Algorithm | None:
        return await one(info, id, "Algorithm")

    @strawberry.field(description="The algorithm version of a global id; null when there is none.", directives=[CALL])
    async def algorithm_version(self, info: Info, id: ID) -> AlgorithmVersion | None:
        return await one(info, id, "AlgorithmVersion")

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
        return await many(info, "Model")

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
        return await many(info, "Algorithm")

    @strawberry.field(description="The configured registries. Asking them makes no upstream call.")
    def registries(self, info: Info) -> list[Registry]:
        records: Any = [registry.record() for registry in info.context.operation.registries.values()]
        return records

    @strawberry.field(name="_service", description="This graph as a part of a supergraph. Asking it makes no call.")
    def service(self) -> Service:
        said: Any = {"sdl": printed()}
        return said

    @strawberry.field(
        name="_entities",
        description="The objects that other subgraphs refer to, in their order; null where there is none.",
    )
    async def entities(self, info: Info, representations: REPRESENTATIONS) -> list[Entity | None]:
        selections = {name: selection(info, name) for name in KEYS}
        found: Any = await entities(info.context.operation, representations, selections)
        return found


class Prepared(SchemaExtension):
    """Gives the executor the document that was read before: it neither parses nor validates."""

    def on_operation(self) -> Iterator[None]:
        self.execution_context.graphql_document = self.execution_context.context.document
        self.execution_context.pre_execution_errors = []
        yield


class Schema(strawberry.federation.Schema):
    """The schema, with every error either meant for the caller or masked."""

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        for error in errors:
            present(error)


def present(error: GraphQLError) -> None:
    """Give an error its stable code; one that was not foreseen goes to the log and only its id to the client."""
    cause = error.original_error
    if isinstance(cause, GatewayError) or "code" in (error.extensions or {}):
        return
    if cause is None or isinstance(cause, GraphQLError):
        error.extensions = {"code": "BAD_USER_INPUT"}
        return
    error_id = uuid4().hex
    logger.error("Unexpected error %s at %s", error_id, error.path, exc_info=cause)
    error.message = f"Something went wrong in the gateway; its log knows this as {error_id}."
    error.extensions = {"code": "INTERNAL_SERVER_ERROR", "errorId": error_id}


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
