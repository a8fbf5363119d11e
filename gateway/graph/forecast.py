"""What a document costs at most, read off the document and its variables: from GraphQL to `gateway.catalog.cost`."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLObjectType,
    OperationDefinitionNode,
    get_variable_values,
)

from gateway.catalog.cost import Cost, Forecast
from gateway.catalog.operation import Bounds
from gateway.catalog.registry import Registry
from gateway.errors import GatewayError
from gateway.graph.schema import MOST_IDS, SCHEMA, admitted
from gateway.graph.selected import Scope, ask, collect, fields

OBJECTS = {
    "node": None,
    "model": "Model",
    "model_version": "ModelVersion",
    "algorithm": "Algorithm",
    "algorithm_version": "AlgorithmVersion",
}
LISTS = {"models": "Model", "algorithms": "Algorithm"}


def forecast(
    document: DocumentNode,
    operation: OperationDefinitionNode,
    variables: Mapping[str, Any] | None,
    registries: Mapping[str, Registry],
    bounds: Bounds,
) -> Cost:
    """The cost of one operation of a valid document. What its execution will refuse costs nothing."""
    schema = SCHEMA._schema
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    values = get_variable_values(schema, operation.variable_definitions or (), dict(variables or {}))
    root = schema.get_root_type(operation.operation)
    if isinstance(values, list) or root is None:
        return Cost()
    scope = Scope(schema, fragments, values)
    asked: dict[str, list[FieldNode]] = {}
    with suppress(GraphQLError):
        for node in fields(scope, root, operation.selection_set):
            asked.setdefault((node.alias or node.name).value, []).append(node)
    found = Forecast(registries, bounds)
    for key, nodes in asked.items():
        with suppress(GraphQLError):
            add(found, scope, root, key, nodes)
    return found.cost


def add(found: Forecast, scope: Scope, root: GraphQLObjectType, key: str, nodes: list[FieldNode]) -> None:
    """Add what one root field costs. Raises GraphQLError for arguments that its execution will refuse."""
    name = nodes[0].name.value
    if name.startswith("__"):
        return
    below = [node.selection_set for node in nodes]
    one = ask(scope, root, nodes[0])
    if one.field in LISTS:
        connection = scope.schema.type_map[f"{LISTS[one.field]}Connection"]
        assert isinstance(connection, GraphQLObjectType)
        found.listing(key, LISTS[one.field], one, collect(scope, connection, below))
        return
    texts = one.argument("ids") if one.field == "nodes" else (one.argument("id"),) if one.field in OBJECTS else ()
    for text in texts if len(texts) <= MOST_IDS else ():
        with suppress(GatewayError):
            ref = admitted(found.registries, text, OBJECTS.get(one.field))
            entity = scope.schema.type_map[ref.entity]
            assert isinstance(entity, GraphQLObjectType)
            found.entity(key, ref, collect(scope, entity, below))
