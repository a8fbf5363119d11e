"""From a GraphQL operation to what it asks: aliases, fragments, ``@skip`` and ``@include`` resolved."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import chain, repeat
from typing import Any, NamedTuple, cast

import strawberry
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLDeferDirective,
    GraphQLDirective,
    GraphQLIncludeDirective,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSkipDirective,
    GraphQLStreamDirective,
    InlineFragmentNode,
    SelectionSetNode,
    get_argument_values,
    get_directive_values,
    get_named_type,
    is_abstract_type,
)
from graphql.execution.values import VariableValues
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from gateway.catalog.selection import DEFERRED, NO_FIELDS, STREAMED_ROWS, FieldRequest, Selection


@dataclass(frozen=True, slots=True)
class Scope:
    """What gives the nodes of a document their meaning: the schema, the document's fragments and the operation's
    coerced variables."""

    schema: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]
    variables: VariableValues


def selection(info: strawberry.Info[Any, Any], type_name: str | None = None) -> Selection:
    """What the current field asks of its value; of an interface's value, as far as it concerns one type."""
    raw = info._raw_info
    named = raw.schema.type_map[type_name] if type_name else get_named_type(raw.return_type)
    assert isinstance(named, GraphQLObjectType)
    return collect(scope(info), named, (node.selection_set for node in raw.field_nodes))


def asked(info: strawberry.Info[Any, Any]) -> FieldRequest:
    """The current field with its arguments."""
    raw = info._raw_info
    return ask(scope(info), raw.parent_type, raw.field_nodes[0])


def arguments(info: strawberry.Info[Any, Any]) -> Mapping[str, Any]:
    """The current field's arguments as they were sent."""
    raw = info._raw_info
    return get_argument_values(raw.parent_type.fields[raw.field_name], raw.field_nodes[0], scope(info).variables)


def scope(info: strawberry.Info[Any, Any]) -> Scope:
    """The scope of the current field; Strawberry hands resolvers only the variables' coerced values."""
    raw = info._raw_info
    coerced = cast(dict[str, Any], raw.variable_values)
    return Scope(raw.schema, raw.fragments, VariableValues(sources={}, coerced=coerced))


def collect(
    scope: Scope,
    parent: GraphQLObjectType,
    selection_sets: Iterable[SelectionSetNode | None],
    deferred: Iterable[SelectionSetNode | None] = (),
) -> Selection:
    """Merge the selection sets of one object; the spec's CollectFields, with arguments in place of aliases.

    What only deferred fragments ask of an object with an id stands apart, below `DEFERRED`.
    """
    found: dict[FieldRequest, Found] = {}
    for apart, selection_set in chain(zip(repeat(False), selection_sets), zip(repeat(True), deferred)):
        for node, deferring in fields(scope, parent, selection_set, apart):
            if node.name.value != "__typename":
                value_type = get_named_type(parent.fields[node.name.value].type)
                one = found.setdefault(ask(scope, parent, node), Found(value_type, [], []))
                (one.deferred if deferring else one.now).append(node)
    has_id = applies(scope, parent, "Node")
    now = {key: below(scope, one) for key, one in found.items() if one.now or not has_id}
    later = {key: below(scope, one) for key, one in found.items() if not one.now and has_id}
    return Selection({**now, DEFERRED: Selection(later)} if later else now)


class Found(NamedTuple):
    """The nodes of one field, which are merged."""

    type: GraphQLNamedType
    now: list[FieldNode]
    deferred: list[FieldNode]


def below(scope: Scope, found: Found) -> Selection:
    """What is asked of the value of a field."""
    if not isinstance(found.type, GraphQLObjectType):
        return NO_FIELDS
    now, deferred = ([node.selection_set for node in nodes] for nodes in (found.now, found.deferred))
    selection = collect(scope, found.type, now, deferred) if now else collect(scope, found.type, deferred)
    for node in chain(found.now, found.deferred):
        streamed = stage(scope, GraphQLStreamDirective, node)
        if streamed is not None:
            return Selection(
                {**selection, FieldRequest(STREAMED_ROWS, (("first", streamed["initialCount"]),)): NO_FIELDS}
            )
    return selection


def fields(
    scope: Scope, parent: GraphQLObjectType, selection_set: SelectionSetNode | None, deferred: bool = False
) -> Iterator[tuple[FieldNode, bool]]:
    """The fields that apply to a type, fragments opened, and whether they may come later."""
    for node in selection_set.selections if selection_set else ():
        if not included(scope, node):
            continue
        if isinstance(node, FieldNode):
            yield node, deferred
            continue
        fragment = scope.fragments[node.name.value] if isinstance(node, FragmentSpreadNode) else node
        assert isinstance(fragment, FragmentDefinitionNode | InlineFragmentNode)
        condition = fragment.type_condition
        if condition is None or applies(scope, parent, condition.name.value):
            apart = deferred or stage(scope, GraphQLDeferDirective, node) is not None
            yield from fields(scope, parent, fragment.selection_set, apart)


def stage(scope: Scope, directive: GraphQLDirective, node: Any) -> Mapping[str, Any] | None:
    """The arguments of a directive that lets something come later, None where it is not there or says no."""
    values = get_directive_values(directive, node, scope.variables) if node.directives else None
    return values if values and values["if"] else None


def applies(scope: Scope, parent: GraphQLObjectType, name: str) -> bool:
    named = scope.schema.type_map.get(name)
    return named is parent or (is_abstract_type(named) and scope.schema.is_sub_type(named, parent))


def included(scope: Scope, node: Any) -> bool:
    if not node.directives:
        return True
    skip = get_directive_values(GraphQLSkipDirective, node, scope.variables)
    include = get_directive_values(GraphQLIncludeDirective, node, scope.variables)
    return not (skip and skip["if"]) and not (include and not include["if"])


def ask(scope: Scope, parent: GraphQLObjectType | GraphQLInterfaceType, node: FieldNode) -> FieldRequest:
    field = parent.fields[node.name.value]
    arguments = get_argument_values(field, node, scope.variables) if field.args else {}
    frozen = ((to_snake_case(name), freeze(value)) for name, value in arguments.items())
    return FieldRequest(python_name(field), tuple(sorted(frozen)))


def freeze(value: Any) -> Any:
    """An argument's value in one hashable spelling: objects as sorted pairs without nulls, words as text."""
    if isinstance(value, dict):
        return tuple(sorted((to_snake_case(name), freeze(item)) for name, item in value.items() if item is not None))
    if isinstance(value, list):
        return tuple(freeze(item) for item in value)
    return value.value if isinstance(value, Enum) else value


def to_snake_case(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


def python_name(field: Any) -> str:
    return declaration(field).python_name


def declaration(field: Any) -> StrawberryField:
    """How a field of the graph is declared."""
    declared: StrawberryField = field.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
    return declared
