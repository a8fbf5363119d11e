"""Metadata by which the schema's fields tell the execution how their values are read."""

from typing import Any, Final

from strawberry.types.field import StrawberryField

from gateway.catalog.selection import DEFERRED

VOLATILE: Final = "volatile"
"""Metadata key of a field whose value can change while the registries' answers stay the same."""

FROM_RECORD: Final = "from_record"
"""Metadata key of a field with arguments whose resolver only reads the record."""


def is_in_record(declared: StrawberryField) -> bool:
    """Whether a record holds a field's value, so that no resolver has to run for it."""
    return declared.is_basic_field or (FROM_RECORD in declared.metadata and not declared.extensions)


def read_record(record: Any, key: Any) -> Any:
    """The value of a field; where it is deferred, an awaitable that loads it. Raises KeyError for a field that was not
    requested."""
    return record[key] if key in record else record[DEFERRED.field].load(key)
