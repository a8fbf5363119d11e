"""Conversion of fields in GraphQL documents to requests of the catalog: names, arguments, and templates."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Final, cast

import strawberry
from graphql import (
    FieldNode,
    GraphQLField,
    ListValueNode,
    ObjectValueNode,
    ValueNode,
    VariableNode,
    Visitor,
    get_argument_values,
    print_ast,
    visit,
)
from graphql.execution.values import VariableValues
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from gateway.catalog.selection import TEMPLATE, FieldRequest

PLANNED_ARGUMENTS: Final = ("alias", "filter")
"""The arguments on which a query plan depends. The values of all others are bound for each execution."""

CACHED_PATTERNS: Final = 16
"""The number of combinations of absent and null variables for which a field's request is cached."""


def bound_request(definition: GraphQLField, node: FieldNode, variables: VariableValues) -> FieldRequest:
    """Return the request of a field with the values of its arguments.

    Raises `GraphQLError` for an argument with an invalid variable.
    """
    arguments = get_argument_values(definition, node, variables) if definition.args else {}
    frozen = ((to_snake_case(name), freeze(value)) for name, value in arguments.items())
    return FieldRequest(python_name(definition), tuple(sorted(frozen)))


class RequestTemplate:
    """The request of a field, computed once for all values of its variables.

    A value of a variable does not change how the others are coerced, except when it is absent or null.
    """

    def __init__(self, definition: GraphQLField, node: FieldNode) -> None:
        self.definition, self.node = definition, node
        self._names = sorted(variable_names(node))
        self._requests: dict[tuple[bool | None, ...], Callable[[Mapping[str, Any]], FieldRequest]] = {}

    def bound(self, variables: VariableValues) -> FieldRequest:
        """Return what `bound_request` returns. Raises its errors."""
        coerced = variables.coerced
        present = tuple([coerced[name] is not None if name in coerced else None for name in self._names])
        fill = self._requests.get(present)
        if fill is None:
            if len(self._requests) == CACHED_PATTERNS:
                self._requests.clear()
            values = {name: Placeholder(name) if coerced[name] is not None else None for name in coerced}
            request = bound_request(self.definition, self.node, VariableValues(variables.sources, values))
            fill = self._requests[present] = partial(filled_request, request, filler(request.arguments))
        return fill(coerced)


@dataclass(frozen=True, slots=True)
class Placeholder:
    """Stands for the value of a variable in a template."""

    name: str


Fill = Callable[[Mapping[str, Any]], Any]
"""Returns a frozen value with the values of variables in place of their placeholders."""


def filler(frozen: Any) -> Fill | None:
    """Return how to fill a frozen value, None if it has no placeholder."""
    if type(frozen) is Placeholder:
        name = frozen.name
        return lambda values: freeze(values[name])
    fills = [*map(filler, frozen)] if type(frozen) is tuple else []
    parts = [*zip(frozen, fills, strict=True)] if any(fills) else []
    return (lambda values: tuple([item if fill is None else fill(values) for item, fill in parts])) if parts else None


def filled_request(request: FieldRequest, fill: Fill | None, values: Mapping[str, Any]) -> FieldRequest:
    """Return a request with the values of variables in its arguments."""
    return request if fill is None else FieldRequest(request.field, fill(values))


def variable_names(node: FieldNode) -> set[str]:
    """Return the names of the variables in the arguments of a field."""
    variables = Variables()
    for argument in node.arguments or ():
        visit(argument.value, variables)
    return variables.names


class Variables(Visitor):
    """The names of variables in a value."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_variable(self, node: VariableNode, *_: Any) -> None:
        self.names.add(node.name.value)


def field_request(definition: GraphQLField, node: FieldNode, variables: VariableValues) -> FieldRequest:
    """Return the request of a field, a template if its arguments depend on variables.

    Raises the errors of `bound_request`.
    """
    if not is_varying(node):
        return bound_request(definition, node, variables)
    arguments = node.arguments or ()
    others = sorted(print_ast(argument) for argument in arguments if argument.name.value not in PLANNED_ARGUMENTS)
    frozen = [(TEMPLATE, ", ".join(others))]
    names = [name for name in PLANNED_ARGUMENTS if name in definition.args]
    if names:
        planned = tuple(argument for argument in arguments if argument.name.value in names)
        values = get_argument_values(definition, FieldNode(name=node.name, arguments=planned), variables)
        frozen += [(name, freeze(values.get(name))) for name in names]
    return FieldRequest(python_name(definition), tuple(frozen))


def is_varying(node: FieldNode) -> bool:
    """Whether arguments other than the planned ones depend on variables."""
    others = (argument for argument in node.arguments or () if argument.name.value not in PLANNED_ARGUMENTS)
    return any(names_variable(argument.value) for argument in others)


def current_request(info: strawberry.Info[Any, Any]) -> FieldRequest:
    """Return the request of the field that Strawberry is resolving."""
    raw = info._raw_info
    coerced = cast(dict[str, Any], raw.variable_values)  # Strawberry passes only the coerced values on
    definition = raw.parent_type.fields[raw.field_name]
    return field_request(definition, raw.field_nodes[0], VariableValues(sources={}, coerced=coerced))


def freeze(value: Any) -> Any:
    """Convert an argument value to a hashable, normalized one: objects to sorted pairs without nulls, enums to text."""
    if isinstance(value, Mapping):
        return tuple(sorted((to_snake_case(name), freeze(item)) for name, item in value.items() if item is not None))
    if isinstance(value, list):
        return tuple(freeze(item) for item in value)
    return value.value if isinstance(value, Enum) else value


def names_variable(node: ValueNode) -> bool:
    """Whether a value in a document contains a variable."""
    if isinstance(node, ListValueNode):
        return any(names_variable(item) for item in node.values)
    if isinstance(node, ObjectValueNode):
        return any(names_variable(item.value) for item in node.fields)
    return isinstance(node, VariableNode)


def to_snake_case(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


def python_name(field: GraphQLField) -> str:
    return declaration(field).python_name


def declaration(field: GraphQLField) -> StrawberryField:
    """Return the Strawberry declaration of a field."""
    declared: StrawberryField = field.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
    return declared
