"""Projection: Python functions, written for one selection, from records to answers that have no error in them.

A function gives either exactly what executing the selection field by field gives, or raises; then
`gateway.execution.completion` tells what is wrong. Nothing of a client's document stands in the source but the keys of
its answer, as constants.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

from graphql import (
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLID,
    GraphQLLeafType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLString,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)

from gateway.catalog.code_generation import CodeBuilder
from gateway.execution.field_collection import TYPE_NAME, CollectedField
from gateway.schema.scalars import as_it_is
from gateway.schema.types import Node

Projector = Callable[[Any, Sequence[Any]], Any]
"""From the value of a field, and the record keys of fields whose arguments vary, to its answer."""

UNCHANGED: Final = {"Boolean": "bool", "DateTime": "str", "ID": "str", "Long": "int", "String": "str"}
"""Scalars, and the Python type whose values they leave as they are, if it is what `leaves_unchanged` says."""


class Unforeseen(Exception):
    """A value that is not as projection assumes."""


def unforeseen(value: Any) -> NoReturn:
    raise Unforeseen


def projector(chosen: CollectedField, varying: Sequence[CollectedField]) -> Projector:
    """The function that answers a field; ``varying`` are the fields below whose keys it is given."""
    source = Answers(varying)
    function: Projector = source.function(
        "value, keys", f"return {source.value(chosen.definition.type, chosen, 'value')}"
    )
    return function


class Answers(CodeBuilder):
    """Source code of functions from records to answers."""

    def __init__(self, varying: Sequence[CollectedField]) -> None:
        super().__init__(unforeseen=unforeseen)
        self.varying = {id(one): place for place, one in enumerate(varying)}

    def value(self, expected: GraphQLOutputType, chosen: CollectedField, code: str, null: str = "None") -> str:
        """An expression for the answer of the value that ``code`` gives; ``null`` for what stands for None."""
        if is_non_null_type(expected):
            return self.value(expected.of_type, chosen, code, "unforeseen(None)")
        value = code if code.isidentifier() else self.name()
        said = code if value == code else f"({value} := {code})"
        otherwise = f"{null} if {value} is None else unforeseen({value})"
        if is_leaf_type(expected):
            return self.leaf(expected, value, said, null)
        if is_list_type(expected):
            item = self.name()
            inner = self.value(expected.of_type, chosen, item)
            return f"([{inner} for {item} in {value}] if type({said}) is list else {otherwise})"
        if is_object_type(expected):
            function = self.object(expected, chosen)
            return f"({function}({value}, keys) if type({said}) is dict else {otherwise})"
        functions = ", ".join(f"{one.name!r}: {self.object(one, chosen)}" for one in chosen.types)
        table = self.name()
        self.lines.append(f"{table} = {{{functions}}}")
        return f"({table}[{value}[{TYPE_NAME!r}]]({value}, keys) if type({said}) is dict else {otherwise})"

    def object(self, runtime: GraphQLObjectType, chosen: CollectedField) -> str:
        """The name of the function for an object of a type."""
        pairs = ", ".join(f"{one.key!r}: {self.field(one)}" for one in chosen.below(runtime.name))
        check = ""
        if tells_by_name(runtime):
            check = f"record[{TYPE_NAME!r}] == {runtime.name!r} or unforeseen(record)\n    "
        elif runtime.is_type_of is not None:
            check = f"{self.constant(runtime.is_type_of)}(record, None) or unforeseen(record)\n    "
        return self.define("record, keys", f"{check}return {{{pairs}}}")

    def field(self, chosen: CollectedField) -> str:
        if chosen.name == TYPE_NAME:
            return repr(chosen.parent.name)
        place = self.varying.get(id(chosen))
        key = chosen.fixed.key if place is None else None
        said = f"keys[{place}]" if key is None else repr(key) if isinstance(key, str) else self.constant(key)
        return self.value(chosen.definition.type, chosen, f"record[{said}]")

    def leaf(self, expected: GraphQLLeafType, value: str, said: str, null: str) -> str:
        if isinstance(expected, GraphQLEnumType):
            words = {word.value: expected.coerce_output_value(word.value) for word in expected.values.values()}
            return f"({null} if {said} is None else {self.constant(words)}[{value}])"
        coerced = f"{null} if {value} is None else {self.constant(strict(expected))}({value})"
        if leaves_unchanged(expected):
            return f"({value} if type({said}) is {UNCHANGED[expected.name]} else {coerced})"
        return f"({null} if {said} is None else {self.constant(strict(expected))}({value}))"


def tells_by_name(runtime: GraphQLObjectType) -> bool:
    """Whether records are of a type when they say so, which is known of the graph's own types."""
    return getattr(runtime.is_type_of, "__func__", None) is Node.is_type_of.__func__  # type: ignore[attr-defined]


def leaves_unchanged(expected: GraphQLLeafType) -> bool:
    """Whether a scalar is known to leave values of one Python type as they are."""
    own = expected.coerce_output_value is as_it_is and expected.name in UNCHANGED
    return own or any(expected is one for one in (GraphQLBoolean, GraphQLID, GraphQLString))


def strict(expected: GraphQLLeafType) -> Callable[[Any], Any]:
    """The scalar's own coercion, which takes no error for a value and none for an answer."""

    def coerced(value: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        answer = expected.coerce_output_value(value)
        return unforeseen(value) if answer is None else answer

    return coerced
