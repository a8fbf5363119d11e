"""Named queries asked once at the start, so that the first clients find answers kept."""

import logging

import orjson
from graphql import GraphQLError, OperationDefinitionNode, parse

from gateway.execution.pipeline import Pipeline
from gateway.execution.prepared import Prepared
from gateway.execution.request_context import RequestContext
from gateway.http.requests import GraphQLRequest

logger = logging.getLogger("gateway.http")


def names(document: str) -> list[str]:
    """The names of a document's operations. Raises ValueError for one that is no GraphQL or has nameless ones."""
    try:
        operations = [node for node in parse(document).definitions if isinstance(node, OperationDefinitionNode)]
    except GraphQLError as error:
        raise ValueError(error.message) from None
    if not operations or any(node.name is None for node in operations):
        raise ValueError("every operation must have a name")
    return [node.name.value for node in operations if node.name is not None]


async def warm(executor: Pipeline, scene: RequestContext, document: str, name: str) -> None:
    """Ask one of a document's operations, without variables; a failure is logged and harms nobody."""
    prepared = executor.prepare(GraphQLRequest(document, operation_name=name), scene)
    result = await executor.answer(prepared, scene) if isinstance(prepared, Prepared) else prepared
    for error in orjson.loads(result.body).get("errors", ()):
        logger.warning("Warming up with %s: %s", name, error["message"])
