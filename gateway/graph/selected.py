"""From a GraphQL operation to what it asks: fragments opened, ``@skip`` and ``@include`` applied, aliases resolved.

Source: GraphQL specification, "Executing operations": CollectFields and MergeSelectionSets, as graphql-core has them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, cast

import strawberry
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    ValueNode,
    VariableNode,
    get_argument_values,
    get_named_type,
    is_abstract_type,
)
from graphql.execution.collect_fields import (
    FieldDetails,
    FieldDetailsList,
    FragmentDetails,
    GroupedFieldSet,
    collect_fields,
    collect_subfields,
)
from graphql.execution.values import VariableValues
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from gateway.catalog.selection import Ask, Selection

TYPE_NAME = "__typename"


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """What the selections of an operation are read with; of the variables, those that its directives name count."""

    schema: GraphQLSchema
    fragments: dict[str, FragmentDetails]
    operation: OperationDefinitionNode
    variables: VariableValues

    @classmethod
    def of(
        cls,
        schema: GraphQLSchema,
        fragments: Mapping[str, FragmentDefinitionNode],
        operation: OperationDefinitionNode,
        variables: VariableValues,
    ) -> "Scope":
        details = {name: FragmentDetails(definition) for name, definition in fragments.items()}
        return cls(schema, details, operation, variables)

    def roots(self, parent: GraphQLObjectType) -> list["Chosen"]:
        """The fields at the root. Raises `GraphQLError` for a directive whose variable has no value."""
        found = collect_fields(self.schema, self.fragments, self.variables, parent, self.operation)
        return self._chosen(parent, found.grouped_field_set)

    def below(self, parent: GraphQLObjectType, details: FieldDetailsList) -> list["Chosen"]:
        """The fields of an object that stands at some fields. Raises as `roots`."""
        found = collect_subfields(self.schema, self.fragments, self.variables, self.operation, parent, details)
        return self._chosen(parent, found.grouped_field_set)

    def _chosen(self, parent: GraphQLObjectType, grouped: GroupedFieldSet) -> list["Chosen"]:
        return [
            Chosen(self, key, details, parent, cast(GraphQLField, self.schema.get_field(parent, name_of(details))))
            for key, details in grouped.items()
        ]


@dataclass(eq=False)
class Chosen:
    """One field of an answer: its key there, all that the document says of it, its parent type and definition."""

    scope: Scope
    key: str
    details: FieldDetailsList
    parent: GraphQLObjectType
    definition: GraphQLField
    _below: dict[str, Sequence["Chosen"]] = field(default_factory=dict)
    _selections: dict[str, Selection] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return name_of(self.details)

    @property
    def nodes(self) -> list[FieldNode]:
        return [detail.node for detail in self.details]

    @cached_property
    def types(self) -> Sequence[GraphQLObjectType]:
        """The types of object that its value can have; none for a leaf."""
        named = get_named_type(self.definition.type)
        if isinstance(named, GraphQLObjectType):
            return [named]
        return self.scope.schema.get_possible_types(named) if is_abstract_type(named) else []

    def below(self, type_name: str) -> Sequence["Chosen"]:
        """The fields of its value, when that is an object of this type. Raises as `Scope.roots`."""
        if type_name not in self._below:
            parent = self.scope.schema.type_map[type_name]
            assert isinstance(parent, GraphQLObjectType)
            self._below[type_name] = self.scope.below(parent, self.details)
        return self._below[type_name]

    @cached_property
    def varies(self) -> bool:
        """Whether its arguments depend on variables."""
        return any(names_variable(argument.value) for argument in self.details[0].node.arguments or ())

    @cached_property
    def fixed(self) -> Ask:
        """What it asks, whatever the variables are."""
        return asked(self.definition, self.details[0].node, self.scope.variables)

    def ask(self, variables: VariableValues) -> Ask:
        """What it asks. Raises `GraphQLError` for an argument that its variable gives no fitting value."""
        return asked(self.definition, self.details[0].node, variables) if self.varies else self.fixed

    def selection(self, variables: VariableValues, type_name: str | None = None) -> Selection:
        """What is asked of its value; of an interface's value, as far as it concerns one type. Raises as `ask`."""
        [name] = [type_name] if type_name else [one.name for one in self.types]
        if name not in self._selections:
            if any(True for _ in varying(self.below(name))):
                return merged(self.below(name), variables)
            self._selections[name] = merged(self.below(name), variables)
        return self._selections[name]


def varying(fields: Iterable[Chosen]) -> Iterator[Chosen]:
    """Of some fields and all below them those whose arguments depend on variables."""
    for one in fields:
        if one.varies:
            yield one
        for runtime in one.types:
            yield from varying(one.below(runtime.name))


def merged(fields: Iterable[Chosen], variables: VariableValues) -> Selection:
    """What some fields ask of one object: those that differ only in their key are one."""
    found: dict[Ask, list[Chosen]] = {}
    for one in fields:
        if one.name != TYPE_NAME:
            below = found.setdefault(one.ask(variables), [])
            if len(one.types) == 1:
                below += one.below(one.types[0].name)
    return {ask: merged(below, variables) for ask, below in found.items()}


def name_of(details: FieldDetailsList) -> str:
    return details[0].node.name.value


def names_variable(node: ValueNode) -> bool:
    """Whether a value in a document holds a variable."""
    if isinstance(node, ListValueNode):
        return any(names_variable(item) for item in node.values)
    if isinstance(node, ObjectValueNode):
        return any(names_variable(item.value) for item in node.fields)
    return isinstance(node, VariableNode)


def current(info: strawberry.Info[Any, Any]) -> tuple[Chosen, VariableValues]:
    """The field that a resolver answers, and the operation's variables."""
    raw = info._raw_info
    # Strawberry hands resolvers only the variables' coerced values.
    variables = VariableValues({}, cast(dict[str, Any], raw.variable_values))
    scope = Scope.of(raw.schema, raw.fragments, raw.operation, variables)
    details = [FieldDetails(node, None) for node in raw.field_nodes]
    return Chosen(scope, str(raw.path.key), details, raw.parent_type, raw.parent_type.fields[raw.field_name]), variables


def asked(field: GraphQLField, node: FieldNode, variables: VariableValues) -> Ask:
    """A field with its arguments."""
    arguments = get_argument_values(field, node, variables) if field.args else {}
    frozen = ((to_snake_case(name), freeze(value)) for name, value in arguments.items())
    return Ask(python_name(field), tuple(sorted(frozen)))


def freeze(value: Any) -> Any:
    """An argument's value in one hashable spelling: objects as sorted pairs without nulls, words as text."""
    if isinstance(value, dict):
        return tuple(sorted((to_snake_case(name), freeze(item)) for name, item in value.items() if item is not None))
    if isinstance(value, list):
        return tuple(freeze(item) for item in value)
    return value.value if isinstance(value, Enum) else value


def to_snake_case(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


def python_name(field: GraphQLField) -> str:
    return declaration(field).python_name


def declaration(field: GraphQLField) -> StrawberryField:
    """How a field of the graph is declared."""
    declared: StrawberryField = field.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
    return declared
