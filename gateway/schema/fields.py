"""How the schema's fields are declared and read.

Each declaration has a description. A field needs no resolver if the record holds its value.
"""

from typing import Any

import strawberry

from gateway.execution.field_metadata import FROM_RECORD, VOLATILE, read_record
from gateway.execution.field_requests import current_request


def field(text: str, *directives: object) -> Any:
    """Declare a field that the record holds under the field's own name."""
    return strawberry.field(description=text, directives=directives)


def volatile_field(text: str) -> Any:
    """Declare a field as `field` does, for a value that can change while the upstream responses stay the same."""
    return strawberry.field(description=text, metadata={VOLATILE: True})


def input_field(text: str, **options: Any) -> Any:
    """Declare an optional field of an input type."""
    return strawberry.field(description=text, default=None, **options)


def field_with_arguments(text: str, *directives: object) -> Any:
    """Declare a field with arguments. Decorates a resolver that returns `resolve_from_record`."""
    return strawberry.field(description=text, directives=directives, metadata={FROM_RECORD: True})


def resolve_from_record(record: Any, info: strawberry.Info[Any, Any]) -> Any:
    """Return the value that a record holds for a field and its arguments."""
    return read_record(record, current_request(info).key)
