"""graphql-core's executor over records: what comes before a field's value is worked out once, and not for each object.

graphql-core decides every answer: which fields are executed and when, what makes a value complete, where errors stand.
It would prepare each field of each object anew, though, for a resolver that does no more than read a record.
"""

from collections.abc import Awaitable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, cast

from graphql import (
    GraphQLError,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    TypeNameMetaFieldDef,
    get_named_type,
    is_abstract_type,
)
from graphql.execution.collect_fields import DeferUsage, FieldDetailsList, GroupedFieldSet
from graphql.pyutils import Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from gateway.execution.context import OperationContext
from gateway.execution.root_fields import ROOTS
from gateway.execution.selection import Scope, ask, declaration
from gateway.execution.ways import Held
from gateway.schema.fields import in_record, read


class Place(NamedTuple):
    """All that making a value complete asks of `GraphQLResolveInfo`, unless its type is abstract."""

    parent_type: GraphQLObjectType
    field_name: str


class Execution(StrawberryGraphQLCoreExecutionContext):
    """One operation that is executed; of its context it takes the ways of the document."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        context: OperationContext = self.context_value
        self.way = context.ways.of(self.operation, self.fragment_definitions, self.variable_values.coerced)
        self._relevant_sub_fields = self.way.subfields  # graphql-core would forget them with the execution

    def execute_collected_root_fields(
        self,
        root_type: GraphQLObjectType,
        root_value: Any,
        grouped_field_set: GroupedFieldSet,
        serially: bool,
        new_defer_usages: Sequence[DeferUsage],
    ) -> Any:
        """As graphql-core does it, with the same lists of fields each time: what is known of them goes by identity."""
        way = self.way
        if way.roots is None:
            way.roots = grouped_field_set, new_defer_usages
            way.alone = sum(details[0].node.name.value in ROOTS for details in grouped_field_set.values()) == 1
        fields, usages = way.roots
        return super().execute_collected_root_fields(root_type, root_value, fields, serially, usages)

    def execute_field(
        self,
        parent_type: GraphQLObjectType,
        source: Any,
        field_details_list: FieldDetailsList,
        path: Path,
        position_context: Any,
    ) -> Any:
        """As graphql-core does it, without arguments and a resolver for what records hold."""
        _, held = self.way.held.get(id(field_details_list)) or self._found(parent_type, field_details_list)
        if held is None:
            return super().execute_field(parent_type, source, field_details_list, path, position_context)
        value, return_type, info = held
        try:
            result = value(source)
            if self.is_awaitable(result):
                return self.complete_awaitable_value(
                    return_type, field_details_list, info, path, result, position_context
                )
            completed = self.complete_value(return_type, field_details_list, info, path, result, position_context)
            if self.is_awaitable(completed):
                return self._completed(completed, return_type, field_details_list, path)
        except Exception as error:
            self.handle_field_error(error, return_type, field_details_list, path)
            return None
        return completed

    async def _completed(
        self, completed: Awaitable[Any], return_type: GraphQLOutputType, details: FieldDetailsList, path: Path
    ) -> Any:
        try:
            return await completed
        except Exception as error:
            self.handle_field_error(error, return_type, details, path)
            return None

    def _found(self, parent_type: GraphQLObjectType, details: FieldDetailsList) -> tuple[FieldDetailsList, Held | None]:
        """What is known of a field from now on; the list is kept, so that its identity is nobody else's."""
        found = self.way.held[id(details)] = details, self._held(parent_type, details)
        return found

    def _held(self, parent_type: GraphQLObjectType, details: FieldDetailsList) -> Held | None:
        """None for a field that its resolver must tell, and for one whose arguments do not fit."""
        node = details[0].node
        field = self.schema.get_field(parent_type, node.name.value)
        if field is None or is_abstract_type(get_named_type(field.type)):
            return None
        info = cast(GraphQLResolveInfo[Any], Place(parent_type, node.name.value))
        if field is TypeNameMetaFieldDef:
            return Held(lambda _: parent_type.name, field.type, info)
        if field.extensions and in_record(declaration(field)):  # fields of introspection have none
            scope = Scope(self.schema, self.fragment_definitions, self.variable_values)
            with suppress(GraphQLError):
                return Held(partial(read, key=ask(scope, parent_type, node).key), field.type, info)
        return None
