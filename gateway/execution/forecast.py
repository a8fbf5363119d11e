"""What a document costs at most, read off the document and its variables: from GraphQL to the catalog's forecast."""

import hashlib
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLObjectType,
    get_argument_values,
    get_operation_ast,
)
from graphql.execution.values import VariableValues

from gateway.catalog.bounds import Bounds
from gateway.catalog.cost import Cost
from gateway.catalog.forecast import Forecast
from gateway.catalog.ids import Ref
from gateway.catalog.registry import Registry
from gateway.catalog.selection import Selection
from gateway.errors import GatewayError
from gateway.execution.documents import Document
from gateway.execution.entity_references import admitted, reference_or_error
from gateway.execution.selection import Scope, ask, collect, fields
from gateway.schema.schema import CORE

OBJECTS = {
    "node": None,
    "model": "Model",
    "model_version": "ModelVersion",
    "model_version_changed": "ModelVersion",
    "algorithm": "Algorithm",
    "algorithm_version": "AlgorithmVersion",
}
LISTS = {"models": "Model", "algorithms": "Algorithm"}


class Forecasts:
    """The costs of the operations that were asked last, at most ``lines`` of them: clients ask the same again."""

    def __init__(self, lines: int = 50_000) -> None:
        self.room = lines
        self._kept: OrderedDict[Hashable, Cost] = OrderedDict()

    def of(
        self,
        document: Document,
        name: str | None,
        variables: VariableValues,
        registries: Mapping[str, Registry],
        bounds: Bounds,
    ) -> Cost:
        """As `forecast`; a document whose answer may come in parts costs as much as it does then."""
        question = f"{document.digest}\0{name}\0{variables.coerced}".encode(errors="backslashreplace")
        key = hashlib.blake2b(question).digest(), tuple(registries), bounds
        cost = self._kept.get(key)
        if cost is None:
            self._kept[key] = cost = forecast(
                document.incremental or document.node, name, variables, registries, bounds
            )
            self.room -= weight(cost)
            while self.room < 0:
                self.room += weight(self._kept.popitem(last=False)[1])
        else:
            self._kept.move_to_end(key)
        return cost


def weight(cost: Cost) -> int:
    return 1 + sum(1 for _ in cost)


def forecast(
    document: DocumentNode,
    name: str | None,
    variables: VariableValues,
    registries: Mapping[str, Registry],
    bounds: Bounds,
) -> Cost:
    """The cost of one operation of a valid document (without a name, of the only one), with its coerced variables.
    What its execution will refuse costs nothing."""
    operation = get_operation_ast(document, name)
    assert operation is not None
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    scope = Scope(CORE, fragments, variables)
    root = CORE.get_root_type(operation.operation)
    assert root is not None
    asked: dict[str, list[FieldNode]] = {}
    with suppress(GraphQLError):
        for node, _ in fields(scope, root, operation.selection_set):
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
    arguments = get_argument_values(root.fields[name], nodes[0], scope.variables)
    selections: dict[str, Selection] = {}
    for ref in references(found.registries, found.bounds, one.field, arguments):
        if ref.entity not in selections:
            entity = scope.schema.type_map[ref.entity]
            assert isinstance(entity, GraphQLObjectType)
            selections[ref.entity] = collect(scope, entity, below)
        found.entity(key, ref, selections[ref.entity])


def references(
    registries: Mapping[str, Registry], bounds: Bounds, field: str, arguments: Mapping[str, Any]
) -> Iterator[Ref]:
    """The objects that a root field names; what cannot name one is passed over."""
    if field == "entities":
        representations = arguments["representations"]
        meant = representations if len(representations) <= bounds.references else ()
        yield from (one for said in meant if isinstance(one := reference_or_error(registries, said), Ref))
        return
    texts = arguments["ids"] if field == "nodes" else [arguments["id"]] if field in OBJECTS else []
    for text in texts if len(texts) <= bounds.ids else ():
        with suppress(GatewayError):
            yield admitted(registries, text, OBJECTS.get(field))
