"""How fields of the graph are declared: a description each, and no resolver where a record holds the value."""

from typing import Any

import strawberry

from gateway.graph.selected import asked


def described(text: str, *directives: object) -> Any:
    """A field whose value the record holds under the field's own name."""
    return strawberry.field(description=text, directives=directives)


def given(text: str, **options: Any) -> Any:
    """A field of an input object, which may be left out when its type is nullable."""
    return strawberry.field(description=text, default=None, **options)


def held(record: Any, info: strawberry.Info[Any, Any]) -> Any:
    """The value of a field with arguments, which the record holds under the field and its arguments."""
    return record[asked(info).key]
