"""How what is asked of an object is read from one form of it: a function, written once for all that come in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.catalog.code_generation import CodeBuilder
from gateway.catalog.ids import VERSIONS, Ref
from gateway.catalog.plan import filtering
from gateway.catalog.selection import DEFERRED, EXISTS, FieldRequest, Selection
from gateway.registries.fields import (
    ABSENT,
    EntityLayout,
    Field,
    MemoizedConversion,
    Raw,
    as_boolean,
    as_object,
    as_text,
)
from gateway.registries.kind import Kind

Record = dict[Any, Any]
"""An object as asked for: values by field, nested records, and errors where a value could not be had.

What was not asked for is not in it, so that reading it is an error and never a default.
"""

NAMED_ELSEWHERE: Final = {"registry", "model", "algorithm", "version"}
"""Fields whose objects can be named without an answer."""

ELSEWHERE: Final = NAMED_ELSEWHERE | {"versions"}
"""Fields that are never just read from an answer."""

REFERRING: Final = {"id", "native_id", "registry_name"}
"""Fields that the reference of an object tells."""

AT_ONCE: Final[Mapping[Callable[[Any], Any], str]] = {
    as_boolean: "({value} if type({value} := {said}) is bool else None)",
    as_object: "({value} if type({value} := {said}) is dict else {convert}({value}))",
    as_text: "({value} if type({value} := {said}) is str and {value} else"
    " None if {value} is None else {convert}({value}))",
}
"""Conversions that leave most values as they are, written out."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a selection is read: ``read`` gives a new record of an object from its raw form and its reference, with all
    that stands there as it is, or is known beforehand; ``refers`` says whether the reference makes a difference to
    that. ``rest`` is left to settle. Without a form, what is ``untold`` needs an answer, and no look at those that
    came."""

    read: Callable[[Raw, Ref], Record]
    refers: bool
    rest: Selection
    untold: Selection

    @classmethod
    def of(
        cls, selection: Selection, kind: Kind, entity: str, shape: EntityLayout | None, canonical: bool
    ) -> "Reading":
        """For objects of a type in a form, if one is known, by references that are ``canonical`` or may not be."""
        name = kind, entity, shape, canonical
        found: Reading | None = selection.known.get(name)
        if found is None:
            found = selection.known[name] = written(selection, kind, entity, shape, canonical)
        return found


def written(selection: Selection, kind: Kind, entity: str, shape: EntityLayout | None, canonical: bool) -> Reading:
    source = CodeBuilder()
    code = {"__typename": repr(entity)}
    rest: dict[FieldRequest, Selection] = {}
    untold: dict[FieldRequest, Selection] = {}
    for ask, below in selection.items():
        name = ask.field
        field = None if shape is None else shape.fields.get(name)
        if name == "registry_name":
            code[name] = "ref.registry"
        elif canonical and name == "id":
            code[name] = "str(ref)"
        elif canonical and name == "native_id":
            code[name] = "ref.keys[-1]"
        elif name in never_told(kind, entity):
            code[name] = "None"
        elif ask == EXISTS and shape is not None and shape.whole:
            code[name] = "True"
        elif name not in ELSEWHERE and not ask.arguments and field is not None and stands(field, below):
            code[name] = value(source, field, below, "raw")
        elif shape is None and needs_answer(kind, entity, ask):
            untold[ask] = below
        else:
            rest[ask] = below
    read = source.function("raw, ref", f"return {{{pairs(code)}}}")
    refers = not REFERRING.isdisjoint(code)
    return Reading(read, refers, selection.part(rest), selection.part(untold))


def never_told(kind: Kind, entity: str) -> frozenset[str]:
    """Fields that no answer about an object of this type tells, nor anything else."""
    return kind.absent[entity] - NAMED_ELSEWHERE


def needs_answer(kind: Kind, entity: str, ask: FieldRequest) -> bool:
    """Whether nothing can be said of a field as long as no answer came that tells of its object."""
    if ask.field == "versions":
        return filtering(kind, entity, ask) is None
    if ask.field == "version":
        return VERSIONS[entity] not in kind.named
    return ask.field not in ELSEWHERE and ask != DEFERRED


def pairs(code: Mapping[Any, str]) -> str:
    return ", ".join(f"{name!r}: {said}" for name, said in code.items())


def value(source: CodeBuilder, field: Field, below: Selection, raw: str) -> str:
    """An expression for the value of a field, cut down to what is asked of it, from the raw object of that name."""
    if field is ABSENT:
        return "None"
    if field.table is None:
        return converted(source, field, raw)
    inner = source.define("raw", f"return {{{pairs(nested(source, field.table, below))}}}")
    named = source.name()
    return (
        f"(None if ({named} := {converted(source, field, raw)}) is None else"
        f" [{inner}(each) for each in {named}] if type({named}) is list else {inner}({named}))"
    )


def nested(source: CodeBuilder, table: Mapping[str, Field], selection: Selection) -> Mapping[Any, str]:
    return {ask.field: value(source, table[ask.field], below, "raw") for ask, below in selection.items()}


def converted(source: CodeBuilder, field: Field, raw: str) -> str:
    """An expression for what a field reads."""
    if field.convert is None:
        return f"{source.constant(field.read)}({raw})"
    [key] = field.keys
    said, convert = f"{raw}.get({key!r})", field.convert
    if isinstance(convert, MemoizedConversion):
        value, text, other = source.name(), source.constant(convert.text), source.constant(convert.other)
        return f"({text}({value}) if type({value} := {said}) is str else {other}({value}))"
    form = AT_ONCE.get(convert, "{convert}({said})")
    return form.format(value=source.name(), said=said, convert=source.constant(convert))


def stands(told: Field | None, below: Selection) -> bool:
    """Whether the value of a field, and all that is asked of it, stands in the raw object itself."""
    if told is None or not told.stands:
        return False
    table = told.table
    return table is None or all(
        not ask.arguments and stands(table.get(ask.field), inner) for ask, inner in below.items()
    )
