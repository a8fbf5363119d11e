"""Value completion field by field, with error locations, for records that the compiled projection does not handle.

Objects without errors are projected.

Source: GraphQL specification, "Executing fields", "Value completion" and "Handling execution errors".
"""

from typing import Any

from graphql import (
    GraphQLError,
    GraphQLObjectType,
    GraphQLOutputType,
    Undefined,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
    located_error,
)
from graphql.pyutils import inspect, is_iterable

from gateway.catalog.lists import INCOMPLETE
from gateway.errors import GatewayError, RegistryBadValue, ResponseTooLarge
from gateway.execution.field_collection import TYPE_NAME, CollectedField
from gateway.execution.projection import EncodedRow, ObjectProjectors, encoded
from gateway.execution.request import OnError
from gateway.execution.response_size import ObjectCount, single_objects

Keys = tuple[str | int, ...]


class Completion:
    """Completes the value of a root field, collects its errors in the order of their fields, and counts its objects.

    ``on_error`` is what the request chose. With `OnError.ABORT` the first error is raised.
    """

    def __init__(
        self,
        errors: list[GraphQLError],
        count: ObjectCount,
        projectors: ObjectProjectors,
        on_error: OnError = OnError.PROPAGATE,
    ) -> None:
        self.errors, self.count, self.projectors, self.on_error = errors, count, projectors, on_error

    def object(self, field: CollectedField, runtime: GraphQLObjectType, record: Any, path: Keys) -> dict[str, Any]:
        """Complete the fields of an object that is the value of ``field``, or an item of it."""
        counted = self.count.total
        try:
            projected: dict[str, Any] = self.projectors[field, runtime.name](record, self.count.items)
        except ResponseTooLarge:
            raise
        except Exception:  # completion below reports the error
            self.count.total = counted
        else:
            self.count.add(single_objects(field, runtime.name))
            return projected
        self.count.add(1)
        below = field.below(runtime.name)
        return {inner.key: self.field(inner, record, (*path, inner.key)) for inner in below}

    def field(self, field: CollectedField, record: Any, path: Keys) -> Any:
        try:
            if field.name == TYPE_NAME:
                return field.parent.name
            return self.value(field.definition.type, field, record[field.request.key], path)
        except Exception as error:
            return self.failed(error, field.definition.type, field, path)

    def failed(self, error: Exception, expected: GraphQLOutputType, field: CollectedField, path: Keys) -> None:
        """Collect an error if the field may be null, else raise it. A response that is too large fails as a whole."""
        if isinstance(error, ResponseTooLarge) and len(path) > 1:
            raise error
        if isinstance(error, GatewayError):  # its frames would keep the request until a garbage collection
            error.__traceback__ = None
        located = located_error(error, None, path)
        if located.nodes is None:
            place = field.place
            located.nodes, located.source, located.positions = place.nodes, place.source, place.positions
            located.locations = place.locations
        may_be_null = self.on_error is OnError.NULL or not is_non_null_type(expected)
        if self.on_error is OnError.ABORT or not may_be_null:
            raise located
        self.errors.append(located)

    def value(self, expected: GraphQLOutputType, field: CollectedField, value: Any, path: Keys) -> Any:
        """Complete a value for its type. Raises the error of an invalid value."""
        if isinstance(value, Exception):
            # cached records share a bad value, and each raise would add to its traceback
            raise RegistryBadValue if isinstance(value, RegistryBadValue) else value
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
        if isinstance(value, EncodedRow):
            return encoded(value, self.count.items)
        if is_leaf_type(expected):
            completed = expected.coerce_output_value(value)
            if completed is None or completed is Undefined:
                shown = f"`{inspect(expected)}.coerce_output_value({inspect(value)})`"
                raise TypeError(f"Expected {shown} to return non-nullable value, returned: {inspect(completed)}")
            return completed
        runtime = expected if is_object_type(expected) else field.collector.schema.type_map[value[TYPE_NAME]]
        assert is_object_type(runtime)
        if isinstance(value, dict) and INCOMPLETE in value:
            incomplete = located_error(value[INCOMPLETE], field.nodes, path)
            if self.on_error is OnError.ABORT:
                raise incomplete
            self.errors.append(incomplete)
        if runtime.is_type_of is not None and not runtime.is_type_of(value, None):  # type: ignore[arg-type]
            raise GraphQLError(f"Expected value of type '{runtime}' but got: {inspect(value)}.", field.nodes)
        return self.object(field, runtime, value, path)

    def item(self, expected: GraphQLOutputType, field: CollectedField, value: Any, path: Keys) -> Any:
        try:
            return self.value(expected, field, value, path)
        except Exception as error:
            return self.failed(error, expected, field, path)
