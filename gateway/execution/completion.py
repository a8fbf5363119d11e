"""Value completion field by field, with error locations, for records that the compiled projection does not handle.

Source: GraphQL specification, "Executing fields", "Value completion" and "Handling execution errors".
"""

from collections.abc import Sequence
from typing import Any

from graphql import (
    GraphQLError,
    GraphQLOutputType,
    Undefined,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
    located_error,
)
from graphql.pyutils import inspect, is_iterable

from gateway.errors import GatewayError
from gateway.execution.field_collection import TYPE_NAME, CollectedField

Keys = tuple[str | int, ...]


class Completion:
    """Completes the values of one operation and collects its errors, in the order of their fields."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        self.errors = errors

    def fields(self, fields: Sequence[CollectedField], record: Any, path: Keys) -> dict[str, Any]:
        """Complete the fields of one object."""
        return {field.key: self.field(field, record, (*path, field.key)) for field in fields}

    def field(self, field: CollectedField, record: Any, path: Keys) -> Any:
        try:
            if field.name == TYPE_NAME:
                return field.parent.name
            return self.value(field.definition.type, field, record[field.request.key], path)
        except Exception as error:
            return self.failed(error, field.definition.type, field, path)

    def failed(self, error: Exception, expected: GraphQLOutputType, field: CollectedField, path: Keys) -> None:
        """Collect an error if the field is nullable, else raise it."""
        if isinstance(error, GatewayError):  # its frames would keep the request until a garbage collection
            error.__traceback__ = None
        located = located_error(error, field.nodes, path)
        if is_non_null_type(expected):
            raise located
        self.errors.append(located)

    def value(self, expected: GraphQLOutputType, field: CollectedField, value: Any, path: Keys) -> Any:
        """Complete a value for its type. Raises the error of an invalid value."""
        if isinstance(value, Exception):
            raise value
        if is_non_null_type(expected):
            completed = self.value(expected.of_type, field, value, path)
            if completed is None:
                raise TypeError(f"Cannot return null for non-nullable field {field.parent}.{field.name}.")
            return completed
        if value is None:
            return None
        if is_list_type(expected):
            if not is_iterable(value):
                raise GraphQLError(f"Expected Iterable, but did not find one for field '{field.parent}.{field.name}'.")
            return [self.item(expected.of_type, field, item, (*path, i)) for i, item in enumerate(value)]
        if is_leaf_type(expected):
            completed = expected.coerce_output_value(value)
            if completed is None or completed is Undefined:
                shown = f"`{inspect(expected)}.coerce_output_value({inspect(value)})`"
                raise TypeError(f"Expected {shown} to return non-nullable value, returned: {inspect(completed)}")
            return completed
        runtime = expected if is_object_type(expected) else field.collector.schema.type_map[value[TYPE_NAME]]
        assert is_object_type(runtime)
        if runtime.is_type_of is not None and not runtime.is_type_of(value, None):  # type: ignore[arg-type]
            raise GraphQLError(f"Expected value of type '{runtime}' but got: {inspect(value)}.", field.nodes)
        return self.fields(field.below(runtime.name), value, path)

    def item(self, expected: GraphQLOutputType, field: CollectedField, value: Any, path: Keys) -> Any:
        try:
            return self.value(expected, field, value, path)
        except Exception as error:
            return self.failed(error, expected, field, path)
