"""Collected fields: the selected fields with fragments expanded, ``@skip`` and ``@include`` applied, duplicates merged.

Source: GraphQL specification, "Executing operations": CollectFields and MergeSelectionSets, by graphql-core.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLStreamDirective,
    OperationDefinitionNode,
    get_argument_values,
    get_directive_values,
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

from gateway.catalog.selection import DEFERRED, NO_FIELDS, STREAMED_ROWS, FieldRequest, Selection, intern
from gateway.execution.field_requests import RequestTemplate, field_request, is_varying

TYPE_NAME = "__typename"
ROWS = ("nodes", "edges")
"""The lists of a connection whose rows can be fetched one by one. The items of other lists are there with the list."""


@dataclass(frozen=True, slots=True, eq=False)
class FieldCollector:
    """Collects the fields of one operation, with the variables in its directives and planned arguments."""

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
    ) -> "FieldCollector":
        details = {name: FragmentDetails(definition) for name, definition in fragments.items()}
        return cls(schema, details, operation, variables)

    def root_fields(self, parent: GraphQLObjectType) -> "list[CollectedField]":
        """Return the root fields. Raises `GraphQLError` for a directive whose variable has no value."""
        collected = collect_fields(self.schema, self.fragments, self.variables, parent, self.operation)
        return self._fields(parent, collected.grouped_field_set)

    def sub_fields(self, parent: GraphQLObjectType, details: FieldDetailsList) -> "list[CollectedField]":
        """Return the fields of an object that is the value of ``details``. Raises the errors of `root_fields`."""
        collected = collect_subfields(self.schema, self.fragments, self.variables, self.operation, parent, details)
        return self._fields(parent, collected.grouped_field_set)

    def _fields(self, parent: GraphQLObjectType, grouped: GroupedFieldSet) -> "list[CollectedField]":
        def definition(details: FieldDetailsList) -> GraphQLField:
            return cast(GraphQLField, self.schema.get_field(parent, details[0].node.name.value))

        return [CollectedField(self, key, details, parent, definition(details)) for key, details in grouped.items()]


@dataclass(eq=False)
class CollectedField:
    """One field of a response: its response key, its nodes in the document, its parent type and its definition."""

    collector: FieldCollector
    key: str
    details: FieldDetailsList
    parent: GraphQLObjectType
    definition: GraphQLField
    _below: dict[str, Sequence["CollectedField"]] = dataclasses.field(default_factory=dict)
    _selections: dict[str, Selection] = dataclasses.field(default_factory=dict)

    @cached_property
    def name(self) -> str:
        return self.details[0].node.name.value

    @property
    def nodes(self) -> list[FieldNode]:
        return [detail.node for detail in self.details]

    @cached_property
    def place(self) -> GraphQLError:
        """An error at the nodes of the field. Its location is computed once; the others copy it."""
        return GraphQLError("", self.nodes)

    @cached_property
    def types(self) -> Sequence[GraphQLObjectType]:
        """The possible object types of the value; none for a leaf."""
        named = get_named_type(self.definition.type)
        if isinstance(named, GraphQLObjectType):
            return [named]
        return self.collector.schema.get_possible_types(named) if is_abstract_type(named) else []

    def below(self, type_name: str) -> Sequence["CollectedField"]:
        """Return the fields of a value of this type. Raises the errors of `FieldCollector.root_fields`."""
        if type_name not in self._below:
            self._below[type_name] = self.collector.sub_fields(self._object(type_name), self.details)
        return self._below[type_name]

    @cached_property
    def request(self) -> FieldRequest:
        """The request to the catalog, a template if the arguments depend on variables.

        Raises `GraphQLError` for an argument whose variable has an invalid value.
        """
        return field_request(self.definition, self.details[0].node, self.collector.variables)

    def bound_request(self, variables: VariableValues) -> FieldRequest:
        """Return the request with the values of variables. Raises the errors of `request`."""
        return self._template.bound(variables)

    @cached_property
    def _template(self) -> RequestTemplate:
        return RequestTemplate(self.definition, self.details[0].node)

    def arguments(self, variables: VariableValues) -> Mapping[str, Any]:
        """Return the coerced arguments. Raises the errors of `request`."""
        return get_argument_values(self.definition, self.details[0].node, variables)

    def templates(self) -> "Iterator[CollectedField]":
        """Yield the fields below this one whose requests are templates."""
        for runtime in self.types:
            for field in self.below(runtime.name):
                if is_varying(field.details[0].node):
                    yield field
                yield from field.templates()

    def selection(self, type_name: str | None = None) -> Selection:
        """Return the selection of the value; for an interface, that of one type. Raises the errors of `request`."""
        [name] = [type_name] if type_name else [runtime.name for runtime in self.types]
        if name not in self._selections:
            self._selections[name] = intern(selection_of([self], self._object(name)))
        return self._selections[name]

    def _object(self, type_name: str) -> GraphQLObjectType:
        named = self.collector.schema.type_map[type_name]
        assert isinstance(named, GraphQLObjectType)
        return named


def selection_of(fields: Sequence[CollectedField], runtime: GraphQLObjectType) -> Selection:
    """Return the merged selection of fields with the same request, for a value of one type.

    For an object with an id, fields that only deferred fragments select are nested below `DEFERRED`.
    """
    requests: dict[FieldRequest, list[CollectedField]] = {}
    deferred: dict[FieldRequest, bool] = {}
    has_id = any(interface.name == "Node" for interface in runtime.interfaces)
    for parent in fields:
        for field in parent.below(runtime.name):
            if field.name != TYPE_NAME:
                requests.setdefault(field.request, []).append(field)
                later = has_id and is_deferred(field, parent)
                deferred[field.request] = deferred.get(field.request, True) and later
    below = {request: value_selection(same) for request, same in requests.items()}
    now = {request: selection for request, selection in below.items() if not deferred[request]}
    later_fields = {request: selection for request, selection in below.items() if deferred[request]}
    return Selection({**now, DEFERRED: Selection(later_fields)} if later_fields else now)


def is_deferred(field: CollectedField, parent: CollectedField) -> bool:
    """Whether a field may be delivered later than its object."""
    usages = [detail.defer_usage for detail in parent.details]
    initial = [None] if None in usages else usages
    return all(detail.defer_usage not in initial for detail in field.details)


def value_selection(fields: Sequence[CollectedField]) -> Selection:
    """Return the merged selection of the value of fields with the same request."""
    first = fields[0]
    named = get_named_type(first.definition.type)
    if not isinstance(named, GraphQLObjectType):
        return NO_FIELDS
    selection = selection_of(fields, named)
    for node in (node for field in fields for node in field.nodes):
        variables = first.collector.variables
        has_rows = node.directives and first.name in ROWS
        streamed = get_directive_values(GraphQLStreamDirective, node, variables) if has_rows else None
        if streamed and streamed["if"]:
            rows = FieldRequest(STREAMED_ROWS, (("first", streamed["initialCount"]),))
            return Selection({**selection, rows: NO_FIELDS})
    return selection
