"""What a document costs at most, read off the document and its variables: from GraphQL to `gateway.catalog.cost`."""

from collections.abc import Mapping
from contextlib import suppress

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLObjectType,
    OperationDefinitionNode,
)
from graphql.execution.values import VariableValues

from gateway.catalog.cost import Cost, Forecast
from gateway.catalog.operation import Bounds
from gateway.catalog.registry import Registry
from gateway.errors import GatewayError
from gateway.graph.schema import CORE, MOST_IDS, admitted
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
    variables: VariableValues,
    registries: Mapping[str, Registry],
    bounds: Bounds,
) -> Cost:
    """The cost of one operation of a valid document, with its coerced variables. What its execution will refuse costs
    nothing."""
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    scope = Scope(CORE, fragments, variables)
    root = CORE.get_root_type(operation.operation)
    assert root is not None
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
