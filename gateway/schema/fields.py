"""How the schema's fields are declared and read.

Each declaration has a description. A field needs no resolver if the record holds its value.
"""

from typing import Any, Final

import strawberry
from strawberry.types.field import StrawberryField

from gateway.catalog.selection import DEFERRED
from gateway.execution.selection import asked

MOMENTARY: Final = "momentary"
"""Metadata key of a field whose value can change while the upstream responses stay the same."""
FROM_RECORD: Final = "from_record"
"""Metadata key of a field whose resolver only calls `resolve_from_record`."""


def field(text: str, *directives: object) -> Any:
    """Declare a field that the record holds under the field's own name."""
    return strawberry.field(description=text, directives=directives)


def volatile_field(text: str) -> Any:
    """Declare a field as `field` does, for a value that can change while the upstream responses stay the same."""
    return strawberry.field(description=text, metadata={MOMENTARY: True})


def input_field(text: str, **options: Any) -> Any:
    """Declare an optional field of an input type."""
    return strawberry.field(description=text, default=None, **options)


def field_with_arguments(text: str, *directives: object) -> Any:
    """Declare a field with arguments. Decorates a resolver that returns `resolve_from_record`."""
    return strawberry.field(description=text, directives=directives, metadata={FROM_RECORD: True})


def resolve_from_record(record: Any, info: strawberry.Info[Any, Any]) -> Any:
    """Return the value that a record holds for a field and its arguments."""
    return read(record, asked(info).key)


def read(record: Any, key: Any) -> Any:
    """Return the value under a key of a record, or an awaitable that loads a deferred value.

    Raises KeyError if the field was not fetched.
    """
    return record[key] if key in record else record[DEFERRED.field].load(key)


def in_record(declared: StrawberryField) -> bool:
    """Return whether resolving a field only reads the record."""
    return declared.is_basic_field or (FROM_RECORD in declared.metadata and not declared.extensions)
