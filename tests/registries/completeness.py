"""What is still missing from a kind of registry, in words: for whoever adds the kind."""

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLEnumType, get_named_type

from gateway.registries.fields import ABSENT
from gateway.registries.kind import Kind
from gateway.schema.field_sources import supplied_fields
from tests.registries import samples
from tests.registries.samples import ENTITIES, TABLES, call_of, calls, checked_rows, file, layouts, rows, walk_fields

ROOT = Path(__file__).parent.parent.parent
TO_FILL_IN = "FILL IN"
"""Marks what `gateway scaffold` could not know. What to fill in is behind it."""

SHAPES: dict[str, type] = {
    "records": list,
    "requests": list,
    "filters": list,
    "errors": dict,
    "words": dict,
    "keys": dict,
}
"""The tables of expected results, and whether each is a list or an object."""
PARTS = {"errors": {"samples": list, "codes": list}, "keys": {"settings": dict, "secrets": list, "good": dict}}


def missing(kind: str) -> list[str]:
    """Return what is missing from a kind, or left to fill in, each as a sentence that begins with the file."""
    if problems := [*unreadable_files(kind)]:
        return [*problems, *to_fill_in(kind)]
    return [
        *wrong_rows(kind),
        *missing_samples(kind),
        *missing_rows(kind),
        *missing_words(kind),
        *missing_keys(kind),
        *undeclared_fields(kind),
        *incomplete_value_objects(kind),
        *contradictory_calls(kind),
        *to_fill_in(kind),
    ]


@cache
def are_readable(kind: str) -> bool:
    """Return whether all samples and tables of a kind can be read."""
    return not [*unreadable_files(kind)]


def unreadable_files(kind: str) -> Iterator[str]:
    """Yield the samples and tables that are missing, are no JSON, or have another form."""
    if not (samples.FOLDER / kind).is_dir():
        yield f"tests/fixtures/{kind}/: the folder is missing; it holds recorded answers and expected results"
        return
    for case in samples.cases(kind):
        if problem := unreadable(kind, case):
            yield problem
    for table, shape in SHAPES.items():
        case = f"expected/{table}"
        if problem := unreadable(kind, case):
            yield problem
            continue
        document = samples.expected(kind, table)
        if not isinstance(document, shape):
            yield f"{file(kind, case)}: this must be {'a list' if shape is list else 'an object'}"
            continue
        for part, inner in PARTS.get(table, {}).items():
            if not isinstance(document.get(part), inner):
                yield f'{file(kind, case)}: "{part}" must be {"a list" if inner is list else "an object"}'


def unreadable(kind: str, case: str) -> str | None:
    try:
        document = samples.sample(kind, case)
    except pytest.fail.Exception as error:
        return error.msg
    if case.startswith("error_") and not (
        isinstance(document, dict) and "status" in document and ("body" in document or "text" in document)
    ):
        return f"{file(kind, case)}: a recorded error is an object with status, headers, and body or text"
    return None


def wrong_rows(kind: str) -> Iterator[str]:
    """Yield what is wrong with single rows of the tables."""
    for table, part in (("records", ""), ("requests", ""), ("filters", ""), ("errors", "samples"), ("errors", "codes")):
        for number, (_, problem) in enumerate(checked_rows(kind, table, part), 1):
            if problem is not None:
                place = f"row {number} of {part}" if part else f"row {number}"
                yield f"{file(kind, f'expected/{table}')}: {place} {problem}"


def missing_samples(kind: str) -> Iterator[str]:
    """Yield the samples without an expectation, and say if no sample reports that an object does not exist."""
    named = {row["sample"] for row in rows(kind, "records") + rows(kind, "errors", "samples")}
    for case in samples.cases(kind):
        if case not in named:
            table = "errors" if case.startswith("error_") else "records"
            yield f"{file(kind, case)}: no row of expected/{table}.json says what this sample becomes"
    errors = {row["error"]: row["sample"] for row in rows(kind, "errors", "samples")}
    if any(call.key_positions for call in TABLES[kind].calls):
        recorded = next((error for error, case in errors.items() if case == "error_not_found"), None)
        if "NotFound" not in errors and recorded is not None:
            yield (
                f"{file(kind, 'expected/errors')}: error_not_found becomes {recorded}; it must become NotFound, by the "
                "registry's code for it"
            )
        elif "NotFound" not in errors:
            yield (
                f"{file(kind, 'expected/errors')}: no sample becomes NotFound; record the answer for an object that "
                f"does not exist as {file(kind, 'error_not_found')}, with status, headers and body, and add its row to "
                '"samples"'
            )
    elif not errors:
        yield (
            f"{file(kind, 'expected/errors')}: no sample is an error; record one, such as the answer to a wrong "
            f"token, as {file(kind, 'error_unauthorized')}, with status, headers and body, and add its row to "
            '"samples"'
        )


def missing_rows(kind: str) -> Iterator[str]:
    """Yield the calls, orders and filters without an expectation."""
    every_call = calls(TABLES[kind])
    for table, what in (("records", "what an answer of it becomes"), ("requests", "which request it sends")):
        covered = {call_of(TABLES[kind], row).name for row in rows(kind, table)}
        for name in dict.fromkeys(call.name for call in every_call):
            if name not in covered:
                yield f"{file(kind, f'expected/{table}')}: no row is about the call {name}: say {what}"
    ordered = set()
    for row in rows(kind, "requests"):
        order = samples.order_of(row)
        ordered.add((call_of(TABLES[kind], row).name, order.field, order.descending))
    filtered = {(row["call"], row["filter"]) for row in rows(kind, "filters")}
    for call in {call.name: call for call in every_call}.values():
        for field, descending in call.orders:
            if (call.name, field, descending) not in ordered:
                order = f"{field} {'descending' if descending else 'ascending'}"
                yield f'{file(kind, "expected/requests")}: no row has the order "{order}" of the call {call.name}'
        for name in call.filters:
            if (call.name, name) not in filtered:
                yield f"{file(kind, 'expected/filters')}: no row is about the filter {name} of the call {call.name}"


def enum_fields(kind: str) -> dict[str, list[tuple[Any, GraphQLEnumType]]]:
    """Return the enumeration fields of a kind: by path, the fields of its tables with their enumerations."""
    found: dict[str, list[tuple[Any, GraphQLEnumType]]] = {}
    for layout in layouts(TABLES[kind]):
        for path, _, field, declared in walk_fields(layout.entity, layout.fields):
            if declared is None or field is ABSENT:
                continue
            if isinstance(enum := get_named_type(declared.type), GraphQLEnumType):
                found.setdefault(".".join((layout.entity, *path)), []).append((field, enum))
    return found


def missing_words(kind: str) -> Iterator[str]:
    """Yield the enumerations whose native values are not listed."""
    words = samples.expected(kind, "words")
    converted = {path for path, entries in enum_fields(kind).items() if any(field.keys for field, _ in entries)}
    for path in sorted(converted - words.keys()):
        yield f"{file(kind, 'expected/words')}: {path} is missing: list the registry's spelling of each value"
    for path in sorted(words.keys() - converted):
        yield f"{file(kind, 'expected/words')}: {path} is no enumeration that a table of the kind reads"


def missing_keys(kind: str) -> Iterator[str]:
    """Yield the entities without a valid key, and settings that the kind does not accept."""
    keys = samples.expected(kind, "keys")
    for entity in ENTITIES:
        if not keys["good"].get(entity):
            yield f'{file(kind, "expected/keys")}: "good" needs a valid key of {entity}; "unused" if there is none'
    known = TABLES[kind].settings.__dataclass_fields__
    for name in keys["settings"].keys() - known.keys():
        yield f'{file(kind, "expected/keys")}: {TABLES[kind].settings.__name__} has no setting "{name}"'


def undeclared_fields(kind: str) -> Iterator[str]:
    """Yield the fields of the schema that no call supplies and that are not declared absent, and the reverse."""
    tables = TABLES[kind]
    for entity in ENTITIES:
        supplied, absent = supplied_fields(tables, entity), tables.absent.get(entity, frozenset())
        known = set(samples.schema_fields(entity))
        declared = absent | samples.COMPUTED | samples.RELATIONS[entity]
        where = f"{module(tables)}: {tables.name}.absent"
        if supplied and (unnamed := sorted(known - supplied - declared)):
            fields = ", ".join(f'"{field}"' for field in unnamed)
            yield f"{where} does not name these fields of {entity}, and no layout supplies them: {fields}"
        for field in sorted(supplied & absent):
            yield f"{where} names {entity}.{field}, which a layout supplies"
        for field in sorted(absent - known):
            yield f"{where} names {entity}.{field}, which the schema does not have"
        if absent and not supplied:
            yield f"{where} names fields of {entity}, which the kind does not have: leave it empty"
        for field in sorted(supplied - known):
            yield f"{module(tables)}: a layout of {entity} names {field}, which the schema does not have"


def incomplete_value_objects(kind: str) -> Iterator[str]:
    """Yield the value objects without a table that has every field of them, absent ones included.

    The query plan reads a value object from a single call.
    """
    tables: dict[tuple[str, ...], set[str]] = {}
    declared_fields: dict[tuple[str, ...], set[str]] = {}
    for layout in layouts(TABLES[kind]):
        for path, _, field, declared in walk_fields(layout.entity, layout.fields):
            if field.table is not None and declared is not None:
                place = (layout.entity, *path)
                declared_fields[place] = set(samples.schema_fields(get_named_type(declared.type).name))
                tables[place] = max(tables.get(place, set()), set(field.table), key=len)
    for place, table in tables.items():
        where = f"{module(TABLES[kind])}: the table of {'.'.join(place)}"
        if lacking := sorted(declared_fields[place] - table):
            yield f"{where} lacks {', '.join(lacking)}: name each one, as ABSENT if the registry never has it"
        for field in sorted(table - declared_fields[place]):
            yield f"{where} names {field}, which the schema does not have"


def contradictory_calls(kind: str) -> Iterator[str]:
    """Yield the calls whose request cannot be built, with the reason."""
    for call in calls(TABLES[kind]):
        where = f"{module(TABLES[kind])}: the call {call.name}"
        needed = {int(number) for number in re.findall(r"\{(\d)\}", call.path)}
        if needed - set(range(len(call.key_positions))):
            yield f"{where} has {{{max(needed)}}} in its path; key_positions must select a key for it"
            continue
        paging = set() if call.paging is None else {call.paging.number, call.paging.size}
        parameters = call.parameters(("1",) * len(call.key_positions))
        for name in sorted((paging & {*call.query, *parameters}) - {*call.joined}):
            yield f"{where} has {name} in its paging and elsewhere: leave it to paging"


def module(kind: Kind) -> str:
    """Return the path of the module of a kind's settings from the root of the repository."""
    return f"{kind.settings.__module__.replace('.', '/')}.py"


def modules(kind: Kind) -> list[Path]:
    """Return the modules of a kind: that of its settings, and those whose names begin with its name and ``_``."""
    own = Path(sys.modules[kind.settings.__module__].__file__ or "")
    return [own, *sorted(own.parent.glob(f"{own.stem}_*.py"))]


def to_fill_in(kind: str) -> Iterator[str]:
    """Yield what the modules and tables of a kind leave to fill in."""
    for path in [*modules(TABLES[kind]), *sorted((samples.FOLDER / kind / "expected").glob("*.json"))]:
        place = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for found in re.findall(rf"{TO_FILL_IN}: ([^\"]+)", line):
                yield f"{place}:{number}: fill in {found.strip()}"
