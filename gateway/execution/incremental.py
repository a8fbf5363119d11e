"""Payloads of incremental delivery (``@defer`` and ``@stream``).

Source: the incremental delivery proposal of 2023 (``pending``, ``incremental``, ``completed``). Each payload also has
the ``path`` and ``label`` of the proposal of 2022, so that clients of both understand it; the path of list items is
that of the first of them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from graphql import InitialIncrementalExecutionResult
from strawberry.types import ExecutionResult

from gateway.execution.documents import relocate
from gateway.execution.error_codes import assign_error_code
from gateway.execution.strawberry_context import OperationContext


class IncrementalPayloads:
    """Formats the payloads of one operation, in their order."""

    def __init__(self, context: OperationContext) -> None:
        self.context = context
        self._pending: dict[str, Any] = {}
        self._items_sent: dict[str, int] = {}
        """The number of items sent of each streamed list, by the id of the list."""

    def format(self, part: Any) -> dict[str, Any]:
        """Format one payload as JSON-ready data. Its errors include the failures since the previous payload."""
        if isinstance(part, ExecutionResult | InitialIncrementalExecutionResult):
            relocate(part.errors or (), self.context.text)
        if isinstance(part, ExecutionResult):  # nothing was deferred
            errors = [*(part.errors or ()), *self.context.take_failures()]
            shown = {"errors": [error.formatted for error in errors]} if errors else {}
            return {"data": part.data, **shown, "hasNext": False}
        self._pending |= {pending.id: pending for pending in part.pending or ()}
        if isinstance(part, InitialIncrementalExecutionResult):
            part.errors = [*(part.errors or ()), *self.context.take_failures()] or None
            self._count_items(part.pending, [], part.data)
            return dict(part.formatted)
        for entry in (*(part.incremental or ()), *(part.completed or ())):
            relocate(entry.errors or (), self.context.text)
            for error in entry.errors or ():
                assign_error_code(error)
        if not part.incremental:
            return dict(part.formatted)
        part.incremental[0].errors = [*(part.incremental[0].errors or ()), *self.context.take_failures()] or None
        return {**part.formatted, "incremental": [self._with_path(entry, part.pending) for entry in part.incremental]}

    def _with_path(self, part: Any, announced: Iterable[Any] | None) -> dict[str, Any]:
        """Format a part of a payload, with its path and label."""
        formatted: dict[str, Any] = part.formatted
        pending = self._pending[part.id]
        path = [*pending.path, *(part.sub_path or ())]
        if "items" in formatted:
            first = self._items_sent[part.id]
            self._items_sent[part.id] += len(part.items)
            self._count_items(announced, path, dict(enumerate(part.items, first)))
            path.append(first)
        else:
            self._count_items(announced, path, part.data)
        label = {"label": pending.label} if pending.label else {}
        return {**formatted, "path": path, **label}

    def _count_items(self, pending: Iterable[Any] | None, path: Sequence[str | int], data: Any) -> None:
        """Count the items in ``data``, which is at ``path``, of each list that later payloads continue."""
        for streamed in pending or ():
            if streamed.path[: len(path)] == [*path]:
                items = value_at(data, streamed.path[len(path) :])
                if isinstance(items, list):
                    self._items_sent[streamed.id] = len(items)


def value_at(data: Any, path: Iterable[str | int]) -> Any:
    """Return the value at a path, None if there is none."""
    for step in path:
        try:
            data = data[step]
        except (LookupError, TypeError):
            return None
    return data
