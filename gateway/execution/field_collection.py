"""The fields of an answer as a document chooses them: fragments opened, ``@skip`` and ``@include`` applied, and the
fields with one key merged.

Source: GraphQL specification, "Executing operations": CollectFields and MergeSelectionSets, as graphql-core has them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

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
    FieldDetailsList,
    FragmentDetails,
    GroupedFieldSet,
    collect_fields,
    collect_subfields,
)
from graphql.execution.values import VariableValues

from gateway.catalog.selection import FieldRequest, Selection, shared
from gateway.execution.selection import Scope, ask, collect

TYPE_NAME = "__typename"


@dataclass(frozen=True, slots=True, eq=False)
class FieldCollector:
    """How an operation chooses; of the variables, those that its directives name count."""

    schema: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]
    details: dict[str, FragmentDetails]
    operation: OperationDefinitionNode
    variables: VariableValues

    def roots(self, parent: GraphQLObjectType) -> list["CollectedField"]:
        """The fields at the root. Raises `GraphQLError` for a directive whose variable has no value."""
        found = collect_fields(self.schema, self.details, self.variables, parent, self.operation)
        return self._chosen(parent, found.grouped_field_set)

    def below(self, parent: GraphQLObjectType, details: FieldDetailsList) -> list["CollectedField"]:
        """The fields of an object that stands at some fields. Raises as `roots`."""
        found = collect_subfields(self.schema, self.details, self.variables, self.operation, parent, details)
        return self._chosen(parent, found.grouped_field_set)

    def _chosen(self, parent: GraphQLObjectType, grouped: GroupedFieldSet) -> list["CollectedField"]:
        return [
            CollectedField(
                self, key, details, parent, cast(GraphQLField, self.schema.get_field(parent, name_of(details)))
            )
            for key, details in grouped.items()
        ]

    def scope(self, variables: VariableValues) -> Scope:
        return Scope(self.schema, self.fragments, variables)


@dataclass(eq=False)
class CollectedField:
    """One field of an answer: its key there, all that the document says of it, its parent type and definition."""

    choice: FieldCollector
    key: str
    details: FieldDetailsList
    parent: GraphQLObjectType
    definition: GraphQLField
    _below: dict[str, Sequence["CollectedField"]] = field(default_factory=dict)
    _selections: dict[str, Selection] = field(default_factory=dict)

    @cached_property
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
        return self.choice.schema.get_possible_types(named) if is_abstract_type(named) else []

    def below(self, type_name: str) -> Sequence["CollectedField"]:
        """The fields of its value, when that is an object of this type. Raises as `FieldCollector.roots`."""
        if type_name not in self._below:
            self._below[type_name] = self.choice.below(self._object(type_name), self.details)
        return self._below[type_name]

    @cached_property
    def varies(self) -> bool:
        """Whether its arguments depend on variables."""
        return any(names_variable(argument.value) for argument in self.details[0].node.arguments or ())

    @cached_property
    def fixed(self) -> FieldRequest:
        """What it asks, whatever the variables are."""
        return ask(self.choice.scope(self.choice.variables), self.parent, self.details[0].node)

    def ask(self, variables: VariableValues) -> FieldRequest:
        """What it asks. Raises `GraphQLError` for an argument that its variable gives no fitting value."""
        return ask(self.choice.scope(variables), self.parent, self.details[0].node) if self.varies else self.fixed

    def arguments(self, variables: VariableValues) -> Mapping[str, Any]:
        """Its arguments as they were sent. Raises as `ask`."""
        return get_argument_values(self.definition, self.details[0].node, variables)

    def selection(self, variables: VariableValues, type_name: str | None = None) -> Selection:
        """What is asked of its value; of an interface's value, as far as it concerns one type. Raises as `ask`."""
        [name] = [type_name] if type_name else [one.name for one in self.types]
        if name not in self._selections:
            selection_sets = (node.selection_set for node in self.nodes)
            selection = shared(collect(self.choice.scope(variables), self._object(name), selection_sets))
            if any(True for _ in varying(self.below(name))):
                return selection
            self._selections[name] = selection
        return self._selections[name]

    def _object(self, type_name: str) -> GraphQLObjectType:
        named = self.choice.schema.type_map[type_name]
        assert isinstance(named, GraphQLObjectType)
        return named


def varying(fields: Iterable[CollectedField]) -> Iterator[CollectedField]:
    """Of some fields and all below them those whose arguments depend on variables."""
    for one in fields:
        if one.varies:
            yield one
        for runtime in one.types:
            yield from varying(one.below(runtime.name))


def name_of(details: FieldDetailsList) -> str:
    return details[0].node.name.value


def names_variable(node: ValueNode) -> bool:
    """Whether a value in a document holds a variable."""
    if isinstance(node, ListValueNode):
        return any(names_variable(item) for item in node.values)
    if isinstance(node, ObjectValueNode):
        return any(names_variable(item.value) for item in node.fields)
    return isinstance(node, VariableNode)
