"""Named queries asked once at the start, so that the first clients find answers kept."""

import logging

from graphql import GraphQLError, OperationDefinitionNode, parse

from gateway.catalog.operation import Operation
from gateway.graph.schema import SCHEMA
from gateway.web.graphql import Context

logger = logging.getLogger("gateway.web")


def names(document: str) -> list[str]:
    """The names of a document's operations. Raises ValueError for one that is no GraphQL or has nameless ones."""
    try:
        operations = [node for node in parse(document).definitions if isinstance(node, OperationDefinitionNode)]
    except GraphQLError as error:
        raise ValueError(error.message) from None
    if not operations or any(node.name is None for node in operations):
        raise ValueError("every operation must have a name")
    return [node.name.value for node in operations if node.name is not None]


async def warm(document: str, operation: Operation, name: str) -> None:
    """Ask one of a document's operations, without variables; a failure is logged and harms nobody."""
    result = await SCHEMA.execute(document, context_value=Context(operation, name), operation_name=name)
    for error in result.errors or ():
        logger.warning("Warming up with %s: %s", name, error.message)
