"""How fields of the graph are declared: a description each, and no resolver where a record holds the value."""

from typing import Any

import strawberry

from gateway.execution.field_metadata import FROM_RECORD, VOLATILE, read_record
from gateway.execution.selection import current_request


def field(text: str, *directives: object) -> Any:
    """A field whose value the record holds under the field's own name."""
    return strawberry.field(description=text, directives=directives)


def volatile_field(text: str) -> Any:
    """As `field`, for a value that changes while the answers that it is made of stay the same."""
    return strawberry.field(description=text, metadata={VOLATILE: True})


def input_field(text: str, **options: Any) -> Any:
    """A field of an input object, which may be left out when its type is nullable."""
    return strawberry.field(description=text, default=None, **options)


def field_with_arguments(text: str, *directives: object) -> Any:
    """Declares a field with arguments, by a resolver that returns what is `resolve_from_record`."""
    return strawberry.field(description=text, directives=directives, metadata={FROM_RECORD: True})


def resolve_from_record(record: Any, info: strawberry.Info[Any, Any]) -> Any:
    """The value of a field with arguments, which the record holds under the field and its arguments."""
    return read_record(record, current_request(info).key)
