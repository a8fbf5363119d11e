"""How the schema's fields are declared and read.

Each declaration has a description. A field needs no resolver if the record holds its value.
"""

from collections.abc import Awaitable, Generator
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, Final

import strawberry

from gateway.catalog.calls import Calls
from gateway.catalog.lists import INCOMPLETE
from gateway.execution.field_metadata import FROM_RECORD, VOLATILE, read_record
from gateway.execution.field_requests import current_request
from gateway.execution.strawberry_context import OperationContext

STRAWBERRY_ROW: Final = 5
"""The rows that the compiled projection handles in the time that Strawberry takes for one."""


def field(text: str, *directives: object) -> Any:
    """Declare a field that the record holds under the field's own name."""
    return strawberry.field(description=text, directives=directives)


def volatile_field(text: str, *directives: object) -> Any:
    """Declare a field as `field` does, for a value that can change while the upstream responses stay the same."""
    return strawberry.field(description=text, directives=directives, metadata={VOLATILE: True})


def input_field(text: str, **options: Any) -> Any:
    """Declare an optional field of an input type."""
    return strawberry.field(description=text, default=None, **options)


def field_with_arguments(text: str, *directives: object) -> Any:
    """Declare a field with arguments. Decorates a resolver that returns `resolve_from_record`."""
    return strawberry.field(description=text, directives=directives, metadata={FROM_RECORD: True})


def rows_field(text: str) -> Any:
    """Declare a field with the rows of a page. Where Strawberry resolves it, other tasks run between rows."""
    return strawberry.field(resolver=resolve_rows, description=text, metadata={FROM_RECORD: True})


def resolve_rows(root: strawberry.Parent[Any], info: strawberry.Info[Any, Any]) -> Any:
    """Return the rows that a record holds, each as an awaitable."""
    context: OperationContext = info.context
    return [CountedRow(context.execution, row) for row in resolve_from_record(root, info)]


@dataclass(frozen=True, slots=True)
class CountedRow:
    """A row of a page: await it to count it among the rows of its operation."""

    execution: Calls
    row: Any

    async def _counted(self) -> Any:
        await self.execution.count_rows(STRAWBERRY_ROW)
        return await self.row if isawaitable(self.row) else self.row

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._counted().__await__()


def resolve_from_record(record: Any, info: strawberry.Info[Any, Any]) -> Any:
    """Return the value that a record holds for a field and its arguments, or an awaitable of it.

    Reports the error of a list that has only a part of its rows.
    """
    value = read_record(record, current_request(info).key)
    return loaded(value, info) if isawaitable(value) else reported(value, info)


async def loaded(value: Awaitable[Any], info: strawberry.Info[Any, Any]) -> Any:
    return reported(await value, info)


def reported(value: Any, info: strawberry.Info[Any, Any]) -> Any:
    if isinstance(value, dict) and INCOMPLETE in value:
        context: OperationContext = info.context
        context.failures.append((info.path, value[INCOMPLETE]))
    return value
