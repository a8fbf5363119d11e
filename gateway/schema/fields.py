"""How fields of the graph are declared: a description each, and no resolver where a record holds the value."""

from typing import Any, Final

import strawberry
from strawberry.types.field import StrawberryField

from gateway.catalog.selection import DEFERRED
from gateway.execution.selection import asked

MOMENTARY: Final = "momentary"
"""Marks a field whose value is of the moment."""
HELD: Final = "held"
"""Marks a resolver that does no more than `resolve_from_record`."""


def field(text: str, *directives: object) -> Any:
    """A field whose value the record holds under the field's own name."""
    return strawberry.field(description=text, directives=directives)


def volatile_field(text: str) -> Any:
    """As `field`, for a value that changes while the answers that it is made of stay the same."""
    return strawberry.field(description=text, metadata={MOMENTARY: True})


def input_field(text: str, **options: Any) -> Any:
    """A field of an input object, which may be left out when its type is nullable."""
    return strawberry.field(description=text, default=None, **options)


def field_with_arguments(text: str, *directives: object) -> Any:
    """Declares a field with arguments, by a resolver that returns what is `resolve_from_record`."""
    return strawberry.field(description=text, directives=directives, metadata={HELD: True})


def resolve_from_record(record: Any, info: strawberry.Info[Any, Any]) -> Any:
    """The value of a field with arguments, which the record holds under the field and its arguments."""
    return read(record, asked(info).key)


def read(record: Any, key: Any) -> Any:
    """What a record holds; its loading, where that was to come later. Raises KeyError for what was not asked for."""
    return record[key] if key in record else record[DEFERRED.field].load(key)


def in_record(declared: StrawberryField) -> bool:
    """Whether a record holds a field's value, under what the field asks, and nothing else is done to get it."""
    return declared.is_basic_field or (HELD in declared.metadata and not declared.extensions)
