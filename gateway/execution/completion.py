"""Answers of records field by field, with every error in its place: the cases that
`gateway.execution.projection` does not handle.

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
from graphql.execution.values import VariableValues
from graphql.pyutils import inspect, is_iterable

from gateway.execution.field_collection import TYPE_NAME, CollectedField

Keys = tuple[str | int, ...]


class Completion:
    """The state of completing one operation: its variables, and the errors so far, in the order of their fields."""

    def __init__(self, variables: VariableValues, errors: list[GraphQLError]) -> None:
        self.variables, self.errors = variables, errors

    def fields(self, chosen: Sequence[CollectedField], record: Any, path: Keys) -> dict[str, Any]:
        """The answer of one object."""
        return {one.key: self.field(one, record, (*path, one.key)) for one in chosen}

    def field(self, chosen: CollectedField, record: Any, path: Keys) -> Any:
        try:
            if chosen.name == TYPE_NAME:
                return chosen.parent.name
            return self.value(chosen.definition.type, chosen, record[chosen.ask(self.variables).key], path)
        except Exception as error:
            return self.failed(error, chosen.definition.type, chosen, path)

    def failed(self, error: Exception, expected: GraphQLOutputType, chosen: CollectedField, path: Keys) -> None:
        """Note an error where null may stand for it; raise it on where not."""
        located = located_error(error, chosen.nodes, path)
        if is_non_null_type(expected):
            raise located
        self.errors.append(located)

    def value(self, expected: GraphQLOutputType, chosen: CollectedField, value: Any, path: Keys) -> Any:
        """A value as its type wants it. Raises whatever is wrong with it."""
        if isinstance(value, Exception):
            raise value
        if is_non_null_type(expected):
            completed = self.value(expected.of_type, chosen, value, path)
            if completed is None:
                raise TypeError(f"Cannot return null for non-nullable field {chosen.parent}.{chosen.name}.")
            return completed
        if value is None:
            return None
        if is_list_type(expected):
            if not is_iterable(value):
                raise GraphQLError(
                    f"Expected Iterable, but did not find one for field '{chosen.parent}.{chosen.name}'."
                )
            return [self.item(expected.of_type, chosen, item, (*path, i)) for i, item in enumerate(value)]
        if is_leaf_type(expected):
            completed = expected.coerce_output_value(value)
            if completed is None or completed is Undefined:
                shown = f"`{inspect(expected)}.coerce_output_value({inspect(value)})`"
                raise TypeError(f"Expected {shown} to return non-nullable value, returned: {inspect(completed)}")
            return completed
        runtime = expected if is_object_type(expected) else chosen.choice.schema.type_map[value[TYPE_NAME]]
        assert is_object_type(runtime)
        if runtime.is_type_of is not None and not runtime.is_type_of(value, None):  # type: ignore[arg-type]
            raise GraphQLError(f"Expected value of type '{runtime}' but got: {inspect(value)}.", chosen.nodes)
        return self.fields(chosen.below(runtime.name), value, path)

    def item(self, expected: GraphQLOutputType, chosen: CollectedField, value: Any, path: Keys) -> Any:
        try:
            return self.value(expected, chosen, value, path)
        except Exception as error:
            return self.failed(error, expected, chosen, path)
