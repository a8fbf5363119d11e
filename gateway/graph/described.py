"""How fields of the graph are declared: a description each, and no resolver where a record holds the value."""

from typing import Any, Final

import strawberry
from strawberry.types.field import StrawberryField

from gateway.catalog.selection import LATER
from gateway.graph.selected import asked

MOMENTARY: Final = "momentary"
"""Marks a field whose value is of the moment."""
HELD: Final = "held"
"""Marks a resolver that does no more than `held`."""


def described(text: str, *directives: object) -> Any:
    """A field whose value the record holds under the field's own name."""
    return strawberry.field(description=text, directives=directives)


def momentary(text: str) -> Any:
    """As `described`, for a value that changes while the answers that it is made of stay the same."""
    return strawberry.field(description=text, metadata={MOMENTARY: True})


def given(text: str, **options: Any) -> Any:
    """A field of an input object, which may be left out when its type is nullable."""
    return strawberry.field(description=text, default=None, **options)


def argued(text: str, *directives: object) -> Any:
    """Declares a field with arguments, by a resolver that returns what is `held`."""
    return strawberry.field(description=text, directives=directives, metadata={HELD: True})


def held(record: Any, info: strawberry.Info[Any, Any]) -> Any:
    """The value of a field with arguments, which the record holds under the field and its arguments."""
    return read(record, asked(info).key)


def read(record: Any, key: Any) -> Any:
    """What a record holds; its loading, where that was to come later. Raises KeyError for what was not asked for."""
    return record[key] if key in record else record[LATER.field].load(key)


def in_record(declared: StrawberryField) -> bool:
    """Whether a record holds a field's value, under what the field asks, and nothing else is done to get it."""
    return declared.is_basic_field or (HELD in declared.metadata and not declared.extensions)
