"""How fields of the graph are declared: a description each, and no resolver where a record holds the value."""

from typing import Any

import strawberry

from gateway.catalog.selection import LATER
from gateway.graph.selected import asked


def described(text: str, *directives: object) -> Any:
    """A field whose value the record holds under the field's own name."""
    return strawberry.field(description=text, directives=directives)


def given(text: str, **options: Any) -> Any:
    """A field of an input object, which may be left out when its type is nullable."""
    return strawberry.field(description=text, default=None, **options)


def held(record: Any, info: strawberry.Info[Any, Any]) -> Any:
    """The value of a field with arguments, which the record holds under the field and its arguments."""
    return read(record, asked(info).key)


def read(record: Any, key: Any) -> Any:
    """What a record holds; its loading, where that was to come later. Raises KeyError for what was not asked for."""
    return record[key] if key in record else record[LATER.field].load(key)
