"""The graph's own scalars: times, whole numbers of 64 bits, free JSON."""

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
    """A time with a zone, as text. Raises ValueError for anything else."""
    if not isinstance(value, str) or not ISO_8601.fullmatch(value):
        raise ValueError("A DateTime is ISO 8601 text with a zone, such as 2024-05-20T08:30:45Z.")
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("There is no such DateTime in the calendar or on the clock.") from None
    return value


def parse_long(value: Any) -> int:
    """A whole number of 64 bits. Raises ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise ValueError("A Long is a whole number of at most 64 bits.")
    return value


SCALARS: dict[object, Any] = {
    DateTime: strawberry.scalar(
        name="DateTime",
        description="A moment as ISO 8601 text in UTC, such as 2024-05-20T08:30:45Z; fractions where they are known.",
        serialize=unchanged,
        parse_value=parse_time,
        specified_by_url="https://scalars.graphql.org/andimarek/date-time.html",
    ),
    Long: strawberry.scalar(
        name="Long",
        description="A whole number of up to 64 bits, for counts that exceed Int.",
        serialize=unchanged,
        parse_value=parse_long,
    ),
}

FEDERATION_SCALARS: dict[object, Any] = {
    FederationAny: strawberry.scalar(
        name="_Any",
        description="A reference to an object: an object with its __typename and the fields of one of its keys.",
        serialize=lambda value: value,
        parse_value=lambda value: value,
    ),
    FieldSet: strawberry.scalar(
        name="federation__FieldSet",
        description="Fields of a type, written as a selection.",
        serialize=lambda value: value,
        parse_value=str,
    ),
}
"""Federation's scalars as its specification names them."""
