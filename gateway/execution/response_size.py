"""The size of a response in objects: estimated from page sizes before execution, and counted during it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from graphql import get_nullable_type, is_list_type

from gateway.catalog.selection import FieldRequest
from gateway.errors import ResponseTooLarge
from gateway.execution.field_collection import ROWS, CollectedField

PAGE_SIZE: Final = "first"
"""The argument of a connection that sets the number of its rows."""


@dataclass(frozen=True, slots=True)
class FieldSize:
    """The estimated number of objects in the value of a field.

    ``page`` is the request whose page size bounds the items of a list, None for other fields: these count as one
    object. ``types`` are the fields with objects below it, for each type that the value may have.
    """

    page: FieldRequest | None
    types: Sequence[Sequence["FieldSize"]]

    @classmethod
    def of(cls, field: CollectedField, connection: FieldRequest | None = None) -> "FieldSize":
        """Return the size of a field with objects. ``connection`` is the request of its parent if that is one.

        Raises `GraphQLError` for a directive whose variable has no value.
        """
        page = connection if is_list(field) and field.name in ROWS else None
        own = field.request if PAGE_SIZE in field.definition.args else None
        types = [[cls.of(inner, own) for inner in field.below(runtime.name) if inner.types] for runtime in field.types]
        return cls(page, types)

    def objects(self, page_size: Callable[[FieldRequest], int]) -> int:
        """Return the largest number of objects, with the page size of each connection."""
        return (1 if self.page is None else page_size(self.page)) * self.each(page_size)

    def each(self, page_size: Callable[[FieldRequest], int]) -> int:
        """Return the largest number of objects in one item, the item included."""
        return 1 + max((sum([field.objects(page_size) for field in fields]) for fields in self.types), default=0)


def is_list(field: CollectedField) -> bool:
    return is_list_type(get_nullable_type(field.definition.type))


def single_objects(field: CollectedField, runtime: str) -> int:
    """Return the largest number of objects in one object of a type outside its lists, the object included."""
    return 1 + sum(
        max((single_objects(inner, below.name) for below in inner.types), default=0)
        for inner in field.below(runtime)
        if not is_list(inner)
    )


class ObjectCount:
    """Counts the objects in the lists of a response, up to a limit."""

    def __init__(self, limit: int) -> None:
        self.limit, self.total = limit, 0

    def items(self, items: list[Any], each: int) -> list[Any]:
        """Count the items of a list with ``each`` objects per item, and return the list. Raises `ResponseTooLarge`."""
        self.add(len(items) * each)
        return items

    def add(self, objects: int) -> None:
        """Count objects. Raises `ResponseTooLarge`."""
        self.total += objects
        if self.total > self.limit:
            raise ResponseTooLarge(self.total, self.limit)
