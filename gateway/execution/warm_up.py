"""Cache warm-up: runs the named operations of a document once at start-up."""

import logging

import orjson
from graphql import GraphQLError, OperationDefinitionNode, parse

from gateway.execution.pipeline import Pipeline
from gateway.execution.request import GraphQLRequest
from gateway.execution.request_context import RequestContext

logger = logging.getLogger("gateway.execution")


def operation_names(document: str) -> list[str]:
    """Return the names of a document's operations. Raises ValueError for invalid GraphQL or an anonymous operation."""
    try:
        operations = [node for node in parse(document).definitions if isinstance(node, OperationDefinitionNode)]
    except GraphQLError as error:
        raise ValueError(error.message) from None
    if not operations or any(node.name is None for node in operations):
        raise ValueError("every operation must have a name")
    return [node.name.value for node in operations if node.name is not None]


async def warm_up(pipeline: Pipeline, context: RequestContext, document: str, name: str) -> None:
    """Run one operation without variables, and log its errors."""
    result = await pipeline.run(GraphQLRequest(document, operation_name=name, is_own=True), context)
    for error in orjson.loads(result.body).get("errors", ()):
        logger.warning("Warm-up operation %s failed: %s", name, error["message"])
