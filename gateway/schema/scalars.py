"""The scalars of the schema: times, 64-bit integers, free JSON, and those of Federation."""

import re
from datetime import datetime
from typing import Any, NewType

import strawberry
from strawberry.federation.schema import FederationAny
from strawberry.federation.types import FieldSet
from strawberry.scalars import JSON

from gateway.execution.projection import unchanged

DateTime = NewType("DateTime", str)
Long = NewType("Long", int)

__all__ = ["FEDERATION_SCALARS", "JSON", "SCALARS", "DateTime", "FederationAny", "Long"]

ISO_8601 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


def parse_time(value: Any) -> str:
    """Validate ISO 8601 text with a time zone and return it unchanged. Raises ValueError for other values."""
    if not isinstance(value, str) or not ISO_8601.fullmatch(value):
        raise ValueError("A DateTime must be ISO 8601 text with a time zone, such as 2024-05-20T08:30:45Z.")
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("The DateTime does not exist: the date or the time of day is out of range.") from None
    return value


def parse_long(value: Any) -> int:
    """Validate a signed 64-bit integer. Raises ValueError for other values."""
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise ValueError("A Long must be a whole number of at most 64 bits.")
    return value


SCALARS: dict[object, Any] = {
    DateTime: strawberry.scalar(
        name="DateTime",
        description="An instant as ISO 8601 text, such as `2024-05-20T08:30:45Z`. Responses are in UTC, with fractions "
        "of a second if the registry supplies them. Inputs need a time zone.",
        serialize=unchanged,
        parse_value=parse_time,
        specified_by_url="https://scalars.graphql.org/andimarek/date-time.html",
    ),
    Long: strawberry.scalar(
        name="Long",
        description="A signed 64-bit integer, for numbers that exceed `Int`.",
        serialize=unchanged,
        parse_value=parse_long,
    ),
}

FEDERATION_SCALARS: dict[object, Any] = {
    FederationAny: strawberry.scalar(
        name="_Any",
        description="A reference to an entity: an object with `__typename` and the fields of one of the entity's keys.",
        serialize=lambda value: value,
        parse_value=lambda value: value,
    ),
    FieldSet: strawberry.scalar(
        name="federation__FieldSet",
        description="A set of fields of a type, written as a selection.",
        serialize=lambda value: value,
        parse_value=str,
    ),
}
"""The scalars of Federation under the names of its specification."""
