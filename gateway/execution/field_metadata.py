"""Metadata of the schema's fields that determines how the execution reads their values."""

from typing import Any, Final

from strawberry.types.field import StrawberryField

from gateway.catalog.selection import DEFERRED

VOLATILE: Final = "volatile"
"""Metadata key of a field whose value can change while the registries' answers stay the same."""

FROM_RECORD: Final = "from_record"
"""Metadata key of a field with arguments whose resolver only reads the record."""


def is_in_record(declared: StrawberryField) -> bool:
    """Whether a record contains the value of a field, so that it needs no resolver."""
    return declared.is_basic_field or (FROM_RECORD in declared.metadata and not declared.extensions)


def read_record(record: Any, key: Any) -> Any:
    """Return the value of a field, or an awaitable that loads a deferred one.

    Raises KeyError for a field that was not requested.
    """
    return record[key] if key in record else record[DEFERRED.field].load(key)
