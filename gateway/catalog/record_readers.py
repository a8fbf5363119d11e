"""Record readers: compiled functions from the raw JSON of an entity to its record, one per selection and layout."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.catalog.code_generation import CodeBuilder
from gateway.catalog.ids import Ref
from gateway.catalog.selection import EXISTS, FieldRequest, Selection
from gateway.errors import RegistryError
from gateway.registries.fields import (
    ABSENT,
    EntityLayout,
    Field,
    MemoizedConversion,
    Raw,
    as_boolean,
    as_object,
    as_text,
    number_or_error,
)
from gateway.registries.kind import Kind

Record = dict[Any, Any]
"""The requested fields of an entity: values, nested records, and an error for each value that could not be fetched.

Reading a field that was not requested raises KeyError; there are no defaults.
"""

RELATED: Final = {"registry", "model", "algorithm", "version", "versions"}
"""The fields that only resolvers supply. Readers supply ``latest_version``, which the tables describe."""

FROM_REFERENCE: Final = {"id", "native_id", "registry_name"}
"""The fields that the reference of an entity supplies."""

INLINE: Final[Mapping[Callable[[Any], Any], str]] = {
    as_boolean: "({value} if type({value} := {raw}) is bool else None)",
    as_object: "({value} if type({value} := {raw}) is dict else {convert}({value}))",
    as_text: "({value} if type({value} := {raw}) is str and {value} else"
    " None if {value} is None else {convert}({value}))",
}
"""Inline code for conversions that rarely change a value."""


@dataclass(frozen=True, slots=True)
class RecordReader:
    """A compiled reader.

    ``read(raw, ref)`` returns a new record with every field that the layout or the reference supplies directly.
    ``uses_ref`` is true if the record depends on the reference. ``rest`` are the requested fields that it does not
    read.
    """

    read: Callable[[Raw, Ref], Record]
    uses_ref: bool
    rest: Selection

    @classmethod
    def of(
        cls, selection: Selection, kind: Kind, entity: str, layout: EntityLayout | None, canonical: bool
    ) -> "RecordReader":
        """Return the reader for an entity in a layout, cached with the selection.

        ``layout`` is None before any answer. ``canonical`` is true if all references are canonical.
        """
        key = "reader", kind, entity, layout, canonical
        reader: RecordReader | None = selection.plans.get(key)
        if reader is None:
            reader = selection.plans[key] = compile_reader(selection, kind, entity, layout, canonical)
        return reader


def compile_reader(
    selection: Selection, kind: Kind, entity: str, layout: EntityLayout | None, canonical: bool
) -> RecordReader:
    builder = CodeBuilder()
    code = {"__typename": repr(entity)}
    rest: dict[FieldRequest, Selection] = {}
    for request, below in selection.items():
        name = request.field
        field = None if layout is None else layout.fields.get(name)
        if name == "registry_name":
            code[name] = "ref.registry"
        elif canonical and name == "id":
            code[name] = "str(ref)"
        elif canonical and name == "native_id":
            code[name] = "ref.keys[-1]"
        elif name in kind.absent[entity] - RELATED:
            code[name] = "None"
        elif request == EXISTS and layout is not None and layout.is_entity:
            code[name] = "True"
        elif name not in RELATED and not request.arguments and is_direct(field, below):
            assert field is not None
            code[name] = value_code(builder, field, below, "raw")
        else:
            rest[request] = below
    read = builder.function("raw, ref", f"return {{{pairs(code)}}}")
    return RecordReader(read, not FROM_REFERENCE.isdisjoint(code), selection.part(rest))


def pairs(code: Mapping[Any, str]) -> str:
    return ", ".join(f"{name!r}: {value}" for name, value in code.items())


def value_code(builder: CodeBuilder, field: Field, below: Selection, raw: str) -> str:
    """Return an expression for the value of a field, reduced to its sub-selection. ``raw`` names the raw object."""
    if field is ABSENT:
        return "None"
    if field.table is None:
        return converted_code(builder, field, raw)
    nested = {
        request.field: value_code(builder, field.table[request.field], inner, "raw") for request, inner in below.items()
    }
    read = builder.define("raw", f"return {{{pairs(nested)}}}")
    value = builder.name()
    return (
        f"(None if ({value} := {converted_code(builder, field, raw)}) is None else"
        f" [{read}(each) for each in {value}] if type({value}) is list else {read}({value}))"
    )


def converted_code(builder: CodeBuilder, field: Field, raw: str) -> str:
    """Return an expression for the converted value of a field, or for the error in place of a number."""
    if field.is_number:
        [key] = field.keys
        return f"{builder.constant(number_or_error)}({builder.constant(field.read)}({raw}), {raw}.get({key!r}))"
    if field.convert is None:
        return f"{builder.constant(field.read)}({raw})"
    [key] = field.keys
    raw_value, convert = f"{raw}.get({key!r})", field.convert
    if isinstance(convert, MemoizedConversion):
        value, text, other = builder.name(), builder.constant(convert.text), builder.constant(convert.other)
        return f"({text}({value}) if type({value} := {raw_value}) is str else {other}({value}))"
    form = INLINE.get(convert, "{convert}({raw})")
    return form.format(value=builder.name(), raw=raw_value, convert=builder.constant(convert))


def is_direct(field: Field | None, below: Selection) -> bool:
    """Whether the raw object contains the value of a field with its complete sub-selection."""
    if field is None or not field.is_direct:
        return False
    table = field.table
    return table is None or all(
        not request.arguments and is_direct(table.get(request.field), inner) for request, inner in below.items()
    )


def raise_failure(record: Record) -> None:
    """Raise the first failure in a record."""
    for value in record.values():
        if isinstance(value, RegistryError):
            raise value
        if isinstance(value, dict):
            raise_failure(value)
