"""Compiled projection: one generated Python function per selection, from records to response data.

A function returns the same data as executing the selection field by field. If a value has an error, it raises, and
`gateway.execution.completion` locates the errors. Response keys are the only text of a client in the generated code. As
`gateway.catalog.code_generation` requires, they are there as the `repr()` of a string.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, NoReturn

import orjson
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
from gateway.catalog.lists import INCOMPLETE
from gateway.execution.field_collection import ROWS, TYPE_NAME, CollectedField
from gateway.execution.response_size import ObjectCount, single_objects

Projector = Callable[[Any, "CountItems"], Any]
"""Converts the value of a field to response data. Calls the second argument for each list of objects."""

CountItems = Callable[[list[Any], int], list[Any]]
"""Counts the items of a list, with the number of objects per item, and returns the list. May raise."""

UNCHANGED: Final = {"Boolean": "bool", "DateTime": "str", "ID": "str", "Long": "int", "String": "str"}
"""The scalars that serialize values of one Python type unchanged, with that type. See `serializes_unchanged`."""

ROW_BYTES: Final = 500
"""The memory of an encoded row beside its JSON."""

numbers = count()


def unchanged(value: Any) -> Any:
    """The serializer of scalars whose values need no conversion."""
    return value


def is_of_named_type(cls: type, record: Any, info: Any) -> bool:
    """The ``is_type_of`` of types whose records contain their type name."""
    return bool(record[TYPE_NAME] == cls.__name__)


class UnexpectedValue(Exception):
    """A value that projection does not handle."""


def unexpected(value: Any) -> NoReturn:
    raise UnexpectedValue


@dataclass(frozen=True, slots=True, eq=False)
class EncodedRow:
    """A projected record as JSON, with the number of objects in its lists."""

    json: orjson.Fragment
    objects: int


class RowEncoder:
    """Projects and encodes the records of rows. Implements `gateway.catalog.prepared_rows.RowEncoder`."""

    def __init__(self, projector: Projector) -> None:
        self.projector, self.number = projector, next(numbers)

    def __call__(self, record: Any) -> tuple[Any, int]:
        """Return the encoded record, or a record with an error, which completion reports; and its memory in bytes."""
        count = ObjectCount(sys.maxsize)
        try:
            json = orjson.dumps(self.projector(record, count.items))
        except Exception:
            return record, ROW_BYTES
        return EncodedRow(orjson.Fragment(json), count.total), ROW_BYTES + len(json)


def encoded(row: EncodedRow, count: CountItems) -> orjson.Fragment:
    """Count the objects of an encoded row, and return its JSON."""
    if row.objects:
        count([row], row.objects)
    return row.json


ObjectProjectors = Mapping[tuple[CollectedField, str], Projector]
"""The projectors of objects, by field and type."""


class Projection:
    """The projector of a root field, and those of the objects in it."""

    def __init__(self, field: CollectedField) -> None:
        builder = ProjectionBuilder()
        value = builder.define("value, count", f"return {builder.value(field.definition.type, field, 'value')}")
        functions = builder.compiled()
        self.value: Projector = functions[value]
        self.objects: ObjectProjectors = {key: functions[name] for key, name in builder.objects.items()}


class ProjectionBuilder(CodeBuilder):
    """Builds the source code of projections. ``objects`` are the names of the functions for objects."""

    def __init__(self) -> None:
        super().__init__(unexpected=unexpected, EncodedRow=EncodedRow, encoded=encoded)
        self.objects: dict[tuple[CollectedField, str], str] = {}

    def value(self, expected: GraphQLOutputType, field: CollectedField, code: str, null: str = "None") -> str:
        """Return an expression that projects the value of ``code``. ``null`` is the expression for None."""
        if is_non_null_type(expected):
            return self.value(expected.of_type, field, code, "unexpected(None)")
        value = code if code.isidentifier() else self.name()
        read = code if value == code else f"({value} := {code})"
        otherwise = f"{null} if {value} is None else unexpected({value})"
        if is_leaf_type(expected):
            return self.leaf(expected, value, read, null)
        if is_list_type(expected):
            item = self.name()
            inner = self.value(expected.of_type, field, item)
            if field.name == ROWS[0]:
                inner = f"(encoded({item}, count) if type({item}) is EncodedRow else {inner})"
            each = max((single_objects(field, runtime.name) for runtime in field.types), default=0)
            items = f"count({value}, {each})" if each else value
            return f"([{inner} for {item} in {items}] if type({read}) is list else {otherwise})"
        if is_object_type(expected):
            function = self.object(expected, field)
            return f"({function}({value}, count) if type({read}) is dict else {otherwise})"
        functions = ", ".join(f"{runtime.name!r}: {self.object(runtime, field)}" for runtime in field.types)
        table = self.name()
        self.lines.append(f"{table} = {{{functions}}}")
        return f"({table}[{value}[{TYPE_NAME!r}]]({value}, count) if type({read}) is dict else {otherwise})"

    def object(self, runtime: GraphQLObjectType, field: CollectedField) -> str:
        """Define the function for objects of a type. Returns its name."""
        pairs = ", ".join(f"{inner.key!r}: {self.field(inner)}" for inner in field.below(runtime.name))
        checks = []
        if "pageInfo" in runtime.fields:  # the error of an incomplete page is located by completion
            checks.append(f"{INCOMPLETE!r} in record and unexpected(record)\n    ")
        if is_named(runtime):
            checks.append(f"record[{TYPE_NAME!r}] == {runtime.name!r} or unexpected(record)\n    ")
        elif runtime.is_type_of is not None:
            checks.append(f"{self.constant(runtime.is_type_of)}(record, None) or unexpected(record)\n    ")
        function = self.objects[field, runtime.name] = self.define(
            "record, count", f"{''.join(checks)}return {{{pairs}}}"
        )
        return function

    def field(self, field: CollectedField) -> str:
        if field.name == TYPE_NAME:
            return repr(field.parent.name)
        key = field.request.key
        name = repr(key) if isinstance(key, str) else self.constant(key)
        return self.value(field.definition.type, field, f"record[{name}]")

    def leaf(self, expected: GraphQLLeafType, value: str, read: str, null: str) -> str:
        if isinstance(expected, GraphQLEnumType):
            names = {member.value: expected.coerce_output_value(member.value) for member in expected.values.values()}
            return f"({null} if {read} is None else {self.constant(names)}[{value}])"
        coerced = f"{null} if {value} is None else {self.constant(strict(expected))}({value})"
        if serializes_unchanged(expected):
            return f"({value} if type({read}) is {UNCHANGED[expected.name]} else {coerced})"
        return f"({null} if {read} is None else {self.constant(strict(expected))}({value}))"


def is_named(runtime: GraphQLObjectType) -> bool:
    """Whether a type is recognized by the type name in its records, as are all types of this schema."""
    return getattr(runtime.is_type_of, "__func__", None) is is_of_named_type


def serializes_unchanged(expected: GraphQLLeafType) -> bool:
    """Whether a scalar is known to serialize values of one Python type unchanged."""
    own = expected.coerce_output_value is unchanged and expected.name in UNCHANGED
    return own or any(expected is scalar for scalar in (GraphQLBoolean, GraphQLID, GraphQLString))


def strict(expected: GraphQLLeafType) -> Callable[[Any], Any]:
    """Return the serialization of a scalar. It raises for an error in place of a value, and for a null result."""

    def coerced(value: Any) -> Any:
        if isinstance(value, Exception):
            unexpected(value)
        answer = expected.coerce_output_value(value)
        return unexpected(value) if answer is None else answer

    return coerced
